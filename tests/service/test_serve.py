"""A real server on loopback with a registered version: answers, limits, another version under load, its end."""

from __future__ import annotations

import io
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
import zipfile
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

import httpx
import numpy as np
import psutil
import pytest
from typer.testing import CliRunner

from ich_pipeline.cli.main import app
from ich_pipeline.config import Params
from ich_pipeline.registry import versions
from ich_pipeline.service.server import PLACE
from tests.made.mutations import mutated
from tests.made.system import PATIENT_ID, PATIENT_NAME, Studies

NAME = "ich-ensemble"
LIMITS = ("--waiting", "2", "--max-mib", "4", "--max-files", "30", "--poll-seconds", "0.2")
HOME = re.compile(r"(?: ·)? <a href=\"index.html\">[oO]verview</a>")


@dataclass
class Server:
    """A running `ich serve`, and what it has written."""

    process: subprocess.Popen[str]
    address: str
    log: Path
    verify: str | bool = True

    def post(self, files: Sequence[Path | tuple[str, bytes]], **options) -> httpx.Response:
        """Send files as a form."""
        given = [(one.name, one.read_bytes()) if isinstance(one, Path) else one for one in files]
        return self.ask("POST", "/cases", files=[("files", one) for one in given], **options)

    def ask(self, method: str, path: str, **options) -> httpx.Response:
        return httpx.request(method, self.address + path, timeout=120, verify=self.verify, trust_env=False, **options)

    def processes(self) -> list[psutil.Process]:
        whole = psutil.Process(self.process.pid)
        return [whole, *whole.children(recursive=True)]

    def until(self, said: str, tell: str = "/healthz") -> dict:
        """What /healthz says once it says that."""
        end = time.monotonic() + 200
        while said not in (text := self.ask("GET", tell).text):
            assert time.monotonic() < end, text
            time.sleep(0.1)
        return json.loads(text)


def start(project: Path, *options: str, **environment: str) -> Server:
    log = project / f"serve-{time.monotonic_ns()}.log"
    with log.open("w") as err:
        process = subprocess.Popen(
            [sys.executable, "-m", "ich_pipeline.cli.main", "serve", "--port", "0", *options],
            cwd=project,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), **environment},
            stdout=subprocess.PIPE,
            stderr=err,
            text=True,
        )
    assert process.stdout is not None
    said = process.stdout.readline()
    assert " answers at " in said, log.read_text()
    return Server(process, said.split()[-1], log)


@pytest.fixture(scope="module")
def server(project: Path, registered: int) -> Iterator[Server]:
    found = start(project, *LIMITS)
    try:
        yield found
    finally:
        found.process.kill()
        found.process.wait()


@pytest.fixture(scope="module")
def predicted(registered: int, studies: Studies, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What `ich predict` writes of both studies."""
    out = tmp_path_factory.mktemp("predicted")
    done = CliRunner().invoke(app, ["predict", str(studies.folder), "--out", str(out)])
    assert done.exit_code == 0, done.stderr
    return out


def zipped(files: Sequence[Path]) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
        for path in files:
            archive.write(path, f"{PATIENT_NAME}/{path.name}")
    return stream.getvalue()


ZIP = {"Content-Type": "application/zip"}


def test_files_and_a_zip_give_what_predict_gives(server: Server, studies: Studies, predicted: Path) -> None:
    whole = predicted / "predictions.json"
    both = [*studies.files[0], *studies.files[1]]
    for answer in (server.post(both), server.ask("POST", "/cases", content=zipped(both), headers=ZIP)):
        assert answer.status_code == 200 and answer.content == whole.read_bytes(), answer.text[:500]
        assert answer.headers["ICH-Version"] == f"{NAME}/1" and answer.headers["Cache-Control"] == "no-store"
    page = server.post(studies.files[0], headers={"Accept": "text/html"})
    case = server.post(studies.files[0], params={"format": "json"}).json()["cases"][0]["case_id"]
    assert page.text == HOME.sub("", (predicted / f"{case}.html").read_text()) and page.headers["ICH-Version"]
    two = server.post(both, params={"format": "html"})
    assert two.status_code == 422 and "belong to 2 studies" in two.json()["detail"]


def test_what_it_says_of_itself(server: Server, params: Params) -> None:
    version = versions.live(NAME)
    found = server.ask("GET", "/version").json()
    assert (found["name"], found["version"], found["digest"]) == (NAME, 1, version.content)
    assert found["training_data"]["manufacturers"] == ["Philips", "SIEMENS"] and found["tests"] == version.tests != {}
    assert server.ask("GET", "/healthz").json() == {
        "status": "ok",
        "version": f"{NAME}/1",
        "refused": None,
        "registry": "answers",
        "cases": 0,
    }
    assert 'ich_requests_total{path="/cases",status="200"}' in server.ask("GET", "/metrics").text
    described = server.ask("GET", "/openapi.json").json()["paths"]["/cases"]["post"]
    assert set(described["requestBody"]["content"]) >= {"multipart/form-data", "application/zip"}
    assert {"200", "413", "422", "429", "503"} <= set(described["responses"])
    for process in server.processes():
        maps = Path(f"/proc/{process.pid}/maps").read_text()
        assert "tensorflow" not in maps, process.cmdline()
    assert "pandas" not in Path(f"/proc/{server.process.pid}/maps").read_text()


def test_what_cannot_be_read_is_a_sentence(server: Server, studies: Studies) -> None:
    text = ("notes.txt", b"not DICOM")
    broken = zipped(studies.files[0])[:-200]
    bomb = io.BytesIO()
    with zipfile.ZipFile(bomb, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a", bytes(20 << 20))
    one = studies.files[0][0]
    for wanted, words, answer in (
        (422, "holds no DICOM image (files looked at: 1)", server.post([text])),
        (422, "None of 1 studies could be read", server.post([one, text])),
        (422, "holds no file", server.ask("POST", "/cases", content=b"", headers=ZIP)),
        (422, "archive_broken", server.ask("POST", "/cases", content=broken, headers=ZIP)),
        (413, "expands too far", server.ask("POST", "/cases", content=bomb.getvalue(), headers=ZIP)),
        (413, "larger than 4,194,304 bytes", server.post([("a", bytes(5 << 20))])),
        (413, "more than 30 parts", server.post([text] * 31)),
        (
            415,
            "Content-Type is text/plain",
            server.ask("POST", "/cases", content=b"x", headers={"Content-Type": "text/plain"}),
        ),
        (422, "format: Input should be 'json' or 'html'", server.post([one], params={"format": "xml"})),
        (403, "programs on this machine alone", server.post([one], headers={"Origin": "https://example.org"})),
        (403, "programs on this machine alone", server.ask("GET", "/version", headers={"Host": "example.org"})),
        (405, "", server.ask("GET", "/cases")),
        (404, "", server.ask("GET", f"/{PATIENT_ID}")),
    ):
        assert answer.status_code == wanted and words in answer.json()["detail"], (wanted, words, answer.text)


def test_damaged_files_are_sentences_too(server: Server, studies: Studies) -> None:
    rng = np.random.default_rng(18)
    whole = [path.read_bytes() for path in studies.files[0]]
    found = []
    for number in range(12):
        files = [(str(n), mutated(data, number, rng) if n % 2 else data) for n, data in enumerate(whole)]
        answer = server.post(files)
        found.append(answer.status_code)
        assert answer.status_code == 200 or (answer.status_code == 422 and answer.json()["detail"].endswith("."))
    print("12 studies with damaged files:", found)


def test_a_full_queue_is_said(server: Server, studies: Studies) -> None:
    with ThreadPoolExecutor(8) as threads:
        found = list(threads.map(lambda _: server.post(studies.files[0]), range(8)))
    full = [one for one in found if one.status_code == 429]
    assert full and {one.status_code for one in found} == {200, 429}
    assert all(int(one.headers["Retry-After"]) >= 1 and "send this one again" in one.json()["detail"] for one in full)


def test_a_folder_that_cannot_be_made_costs_no_place_in_the_queue(server: Server, studies: Studies) -> None:
    (scratch,) = (server.log.parent / PLACE).iterdir()
    away = scratch.rename(server.log.parent / "away")
    try:
        refused = [server.post(studies.files[0][:1]).status_code for _ in range(5)]  # more than are read and may wait
    finally:
        away.rename(scratch)
    assert refused == [507] * 5
    assert server.post(studies.files[0]).status_code == 200


def test_memory_stays(server: Server, studies: Studies) -> None:
    sizes = []
    for number in range(20):
        form = "json" if number % 4 else "html"
        assert server.post(studies.files[number % 2], params={"format": form}).status_code == 200
        sizes.append(sum(p.memory_info().rss for p in server.processes()) >> 20)
    print(f"memory of all processes over 20 requests, MiB: {sizes}")
    assert sizes[-1] < sizes[4] * 1.3


@pytest.fixture(scope="module")
def second(server: Server, bundle: Path, params: Params, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Version 2, which decides otherwise, was evaluated, and lies damaged on the disk; its damaged file."""
    from ich_pipeline.ensemble.model import Ensemble
    from ich_pipeline.registry.register import register
    from ich_pipeline.serving.content import seal
    from tests.made.gate_cases import good_scores

    folder = tmp_path_factory.mktemp("second") / "bundle"
    shutil.copytree(bundle, folder)
    replace(Ensemble.load(folder / "ensemble.json"), decision="high_sensitivity").save(folder / "ensemble.json")
    versions.set_alias(NAME, versions.CHAMPION, 1)
    register(folder, seal(folder), params, {}, "# Card", scores=[replace(good_scores(), test_set="5" * 64)])
    place = versions.model_folder(versions.resolve("2", NAME)) / "artifacts/bundle/ensemble.json"
    place.with_suffix(".kept").write_bytes(place.read_bytes())
    place.write_bytes(place.read_bytes() + b" ")
    return place


def test_a_damaged_version_is_refused_and_a_whole_one_takes_over_under_load_and_back(
    server: Server, second: Path, studies: Studies, predicted: Path, tmp_path: Path
) -> None:
    versions.set_alias(NAME, versions.CHAMPION, 2)
    said = server.until("ensemble.json")
    assert said["version"] == f"{NAME}/1" and said["refused"]["version"] == f"{NAME}/2"
    assert f"{NAME} version 2 is refused: {NAME} version 2 is not what was registered" in server.log.read_text()
    assert server.post(studies.files[0]).headers["ICH-Version"] == f"{NAME}/1"
    second.with_suffix(".kept").replace(second)
    versions.set_alias(NAME, versions.CHAMPION, 1)
    server.until('"refused":null')

    expected = {f"{NAME}/1": predicted}
    over, found = threading.Event(), []

    def client(_: int) -> None:
        while not over.wait(0.5):
            found.append(server.post(studies.files[0]))

    def answered(more: int) -> int:
        """How many answers there were, once there are so many more of them."""
        began, end = len(found), time.monotonic() + 200
        while len(found) < began + more:
            assert time.monotonic() < end, f"{len(found) - began} of {more} answers"
            time.sleep(0.1)
        return began

    with ThreadPoolExecutor(2) as threads:
        running = threads.map(client, range(2))
        try:
            answered(1)
            versions.set_alias(NAME, versions.CHAMPION, 2)
            server.until(f"{NAME}/2")
            tests = server.ask("GET", "/version").json()["tests"]
            answered(3)  # two clients: what they had under way may be of version 1
            versions.set_alias(NAME, versions.CHAMPION, 1)
            server.until(f'"version":"{NAME}/1"')
            back = answered(4)
        finally:
            over.set()
        list(running)
    expected[f"{NAME}/2"] = tmp_path / "second"
    done = CliRunner().invoke(app, ["predict", str(studies.folder), "--out", str(tmp_path / "second"), "--model", "2"])
    assert done.exit_code == 0, done.stderr
    assert {one.status_code for one in found} == {200} and {one.headers["ICH-Version"] for one in found} == set(
        expected
    )
    for one in found:
        cases = json.loads((expected[one.headers["ICH-Version"]] / "predictions.json").read_text())["cases"]
        assert one.json()["cases"] == [c for c in cases if c["case_id"] == one.json()["cases"][0]["case_id"]]
        assert one.json()["model"] == one.headers["ICH-Version"].replace("/", " version ")
    assert tests == {"test_prospective": "5" * 64}
    of_tests = {one.headers["ICH-Version"][-1]: one.headers["ICH-Tests"] for one in found}
    assert of_tests["2"] == f"test_prospective={'5' * 64}" != of_tests["1"]
    order = [one.headers["ICH-Version"][-1] for one in found]
    print(f"{len(found)} requests while the version changed there and back:", order)
    assert order[0] == "1" and set(order[back + 2 :]) == {"1"}  # what they had under way may be of version 2
    assert len(server.processes()) == 3, "the second version is let go"


def test_its_log_names_nobody(server: Server, studies: Studies) -> None:
    said = server.log.read_text()
    assert re.search(rf"POST /cases 200 \d+\.\d+ s {NAME}/1 C\w{{24}}", said) and "GET other 404" in said
    assert not [text for text in (PATIENT_ID, PATIENT_NAME, "PLANTED", "2.25.7", ".dcm", "Traceback") if text in said]


def test_what_a_killed_server_left_is_gone_and_sigterm_finishes_what_runs(
    server: Server, studies: Studies, project: Path, tmp_path: Path
) -> None:
    key, cert = tmp_path / "key.pem", tmp_path / "cert.pem"
    make = "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN=localhost"
    names = ["-addext", "subjectAltName=IP:127.0.0.1", "-keyout", str(key), "-out", str(cert)]
    subprocess.run([*make.split(), *names], check=True, capture_output=True)

    with ThreadPoolExecutor(2) as threads:
        lost = threads.submit(server.post, studies.files[0])
        while not list(PLACE.glob("*/*/files/*")):
            assert not lost.done()
        [left] = PLACE.iterdir()
        assert {path.stat().st_mode & 0o077 for path in left.rglob("*")} == {0}
        family = server.processes()
        server.process.kill()
        with pytest.raises(httpx.TransportError):  # nobody takes that for an answer
            lost.result()
        _, alive = psutil.wait_procs(family, timeout=10)
        assert left.exists() and not [one for one in alive if one.status() != psutil.STATUS_ZOMBIE]

        token = "t" * 32
        again = start(project, *LIMITS, "--tls-cert", str(cert), "--tls-key", str(key), ICH_TOKEN=token)
        again.verify = str(cert)
        try:
            assert not left.exists() and again.address.startswith("https://127.0.0.1:")
            bearer = {"Authorization": f"Bearer {token}"}
            assert again.ask("GET", "/healthz").status_code == 200
            for wrong in ({}, {"Authorization": "Bearer wrong"}, {"Authorization": f"Basic {token}"}):
                assert again.post(studies.files[0], headers=wrong).status_code == 401
            running = threads.submit(again.post, studies.files[0], headers=bearer)
            while not list(PLACE.glob("*/*/files/*")):
                assert not running.done()
            again.process.send_signal(signal.SIGTERM)
            refused = again.ask("GET", "/version", headers=bearer)
            assert refused.status_code == 503 and refused.headers["Retry-After"] and running.result().status_code == 200
            assert again.process.wait(30) == 0 and not list(PLACE.iterdir())
        finally:
            again.process.kill()
