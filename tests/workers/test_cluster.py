"""The ingest on a real Dask cluster of two workers: the bytes of the local run, whatever dies on the way."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import psutil
import pytest
from typer.testing import CliRunner

from ich_pipeline.cli import main as cli
from ich_pipeline.config import IngestParams
from ich_pipeline.core.errors import Fault, InputError
from ich_pipeline.ingest.ingest import ingest
from ich_pipeline.workers import cluster as cluster_module
from ich_pipeline.workers.cluster import AHEAD, Cluster, connected
from ich_pipeline.workers.cluster_piece import Answer, Piece, Place, Sealed, environment, ingest_piece
from ich_pipeline.workers.parallel import run_tasks
from tests.made.cluster import PYTHONPATH, LocalCluster, local_cluster

WAIT = 240.0


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalCluster]:
    """A cluster of two workers that stays as it is."""
    with local_cluster(tmp_path_factory.mktemp("dask")) as running:
        yield running


@pytest.fixture
def own(tmp_path: Path) -> Iterator[LocalCluster]:
    """A cluster of two workers to do harm to."""
    with local_cluster(tmp_path / "dask") as running:
        yield running


@pytest.fixture(autouse=True)
def deadly(monkeypatch: pytest.MonkeyPatch) -> None:
    """Children of local runs meet the same deadly files as those of the workers."""
    monkeypatch.setenv("PYTHONPATH", PYTHONPATH)


@pytest.fixture
def export(tmp_path: Path, save_series: Callable[..., list[Path]]) -> Callable[..., Path]:
    """Write studies of five slices; ``words`` go into names of files, study by study."""

    def write(studies: int, words: dict[int, str]) -> Path:
        for number in range(studies):
            folder = tmp_path / "DOE^JOHN" / f"{number}"
            paths = save_series(folder, 5, patient=f"PAT{number:03d}", study=f"study {number}")
            if number in words:
                paths[2].rename(folder / f"IM_{words[number]}")
        (tmp_path / "DOE^JOHN" / "note.txt").write_text("no image, but long enough to be looked at")
        return tmp_path / "DOE^JOHN"

    return write


def tree(folder: Path) -> dict[str, bytes]:
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def run_on(running: LocalCluster, source: Path, out: Path, params: IngestParams) -> dict[str, int]:
    with connected(running.address) as client:
        report = ingest(source, out, params, runner=Cluster(client, running.address))
    return {str(reason): int(count) for reason, count in report.account["reason"].value_counts().items()}


def run_here(source: Path, out: Path, params: IngestParams) -> None:
    ingest(source, out, params.model_copy(update={"workers": 2}))


def impatient(params: IngestParams) -> IngestParams:
    return params.model_copy(update={"pixels": params.pixels.model_copy(update={"seconds_per_file": 3.0})})


def test_the_bytes_and_the_account_of_the_local_run_with_a_file_that_kills_its_process(
    two, export, tmp_path, ingest_params
):
    source = export(3, {1: "kills"})
    counts = run_on(two, source, tmp_path / "dask_out", ingest_params)
    assert counts == {"used": 14, "decoder_crashed": 1, "not_dicom": 1}
    run_here(source, tmp_path / "here_out", ingest_params)
    assert tree(tmp_path / "dask_out") == tree(tmp_path / "here_out")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["DOE^JOHN", "dask_out", "here_out"]
    assert all(worker.poll() is None for worker in two.processes.values())
    logs = two.logs()
    for identifier in ("PAT00", "Secret", "DOE", "2.25.", "IM_", "decoder_crashed"):
        assert identifier not in logs


@pytest.mark.long
@pytest.mark.parametrize("headers", [False, True])
def test_a_file_that_hangs_as_well_and_headers_on_the_cluster(
    two, export, tmp_path, ingest_params, monkeypatch, headers
):
    if headers:
        monkeypatch.setattr("ich_pipeline.ingest.scan.PARALLEL_FROM", 1)
        monkeypatch.setattr("ich_pipeline.ingest.scan.CHUNK", 7)
    source = export(8, {2: "kills", 5: "hangs"})
    counts = run_on(two, source, tmp_path / "dask_out", impatient(ingest_params))
    assert counts == {"used": 38, "decoder_crashed": 1, "timed_out": 1, "not_dicom": 1}
    run_here(source, tmp_path / "here_out", impatient(ingest_params))
    assert tree(tmp_path / "dask_out") == tree(tmp_path / "here_out")


class Counting(Cluster):
    """Notes how many pieces are with the cluster or waiting to be yielded."""

    submitted = yielded = most = 0

    def _submit(self, piece):
        self.submitted += 1
        self.most = max(self.most, self.submitted - self.yielded)
        return super()._submit(piece)


def test_results_are_in_order_and_few_tasks_are_open_at_a_time(two, tmp_path):
    (tmp_path / "sample").touch()
    tasks = ["__import__('time').sleep(0.2) or 0", *map(str, range(1, 40)), "__import__('os')._exit(11)", "41"]
    with connected(two.address) as client:
        runner = Counting(client, two.address)
        runner.prepare(tmp_path, tmp_path / "sample")
        results = []
        for result in runner.run(eval, tasks):
            results.append(result)
            runner.yielded += 1
        with pytest.raises(ZeroDivisionError):
            list(runner.run(eval, ["1", "1 / 0"]))
    assert results == list(run_tasks(eval, tasks, 2))
    assert results[:40] == list(range(40)) and results[40].exitcode == 11
    assert runner.submitted == len(tasks) + 2
    assert runner.most <= AHEAD * 2


@pytest.mark.long  # what it says; the bytes of a cluster are compared above
def test_the_command_reads_on_a_cluster_and_says_what_is_wrong_with_one(
    two, export, tmp_path, project_root, ingest_params, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    source = export(2, {})
    (tmp_path / "params.yaml").write_text((project_root / "ich_pipeline/profiles/phantom.yaml").read_text())

    def ich(out: str, **environment: str) -> tuple[int, str, str]:
        done = CliRunner().invoke(cli.app, ["ingest", source.name, "--out", out], env={"COLUMNS": "200", **environment})
        return done.exit_code, done.stdout, done.stderr

    assert ich("here")[0] == 0
    status, out, err = ich("there", ICH_DASK=two.address)
    assert (status, err) == (0, "") and "11 files: 10 used" in out
    assert tree(tmp_path / "here") == tree(tmp_path / "there")

    monkeypatch.setattr(cluster_module, "environment", lambda: {**environment(), "numpy": "0.1"})
    status, out, err = ich("out", ICH_DASK=two.address)
    assert (status, out) == (2, "")
    assert "has numpy 2" in err and err.count("\n") == 1
    monkeypatch.setattr(cluster_module, "CONNECT_SECONDS", 1.0)
    for address, words in [
        ("nonsense", "no Dask scheduler answers at 'nonsense'"),
        ("tcp://127.0.0.1:9", "no Dask scheduler answers at 'tcp://127.0.0.1:9'"),
    ]:
        status, out, err = ich("out", ICH_DASK=address)
        assert (status, out) == (2, ""), err
        assert words in err and err.count("\n") == 1, err
    assert sorted(p.name for p in tmp_path.iterdir()) == ["DOE^JOHN", "here", "params.yaml", "there"]


def test_a_worker_says_what_it_lacks(tmp_path):
    (tmp_path / "token").touch()
    (tmp_path / "sample").write_bytes(b"123")
    place = Place(environment(), str(tmp_path), str(tmp_path / "token"), str(tmp_path / "sample"), 3, 0.0)
    assert place.lacks() is None
    assert replace(place, sample_bytes=4).lacks() == "does not see the files of the source"
    assert (
        replace(place, directory=str(tmp_path / "x")).lacks()
        == f"does not see {tmp_path}/x, where this run was started"
    )
    assert (
        replace(place, token=str(tmp_path / "x" / "y")).lacks() == f"does not see {tmp_path}/x, where this run writes"
    )
    found = replace(place, environment={**environment(), "pydicom": "9"}).lacks()
    assert found is not None and found.startswith("has pydicom ") and found.endswith("where this run has 9")
    piece = Piece(replace(place, sample_bytes=4), b"", ())
    answer = ingest_piece(Sealed(piece)).open()
    assert answer == Answer(lacks="does not see the files of the source")
    assert "sample" not in repr(Sealed(piece))


def test_a_network_folder_may_show_late(tmp_path):
    place = Place(environment(), str(tmp_path), str(tmp_path / "token"), str(tmp_path / "token"), 0, WAIT)
    later = threading.Timer(0.3, (tmp_path / "token").touch)
    later.start()
    assert place.lacks() is None
    later.join()


def children_of_workers(running: LocalCluster) -> list[psutil.Process]:
    found = []
    for process in running.processes.values():
        for child in psutil.Process(process.pid).children(recursive=True):
            if any("ich_pipeline.workers.child" in argument for argument in child.cmdline()):
                found.append(child)
    return found


def until(condition: Callable[[], object], what: str) -> None:
    limit = time.monotonic() + WAIT
    while not condition():
        assert time.monotonic() < limit, what
        time.sleep(0.05)


def start(source: Path, out: Path, address: str) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "ich_pipeline.cli.main", "ingest", str(source), "--out", str(out), "--force"]
    return subprocess.Popen([*command, "--dask", address], cwd=out.parent, stdout=subprocess.DEVNULL)


def staged(out: Path) -> list[Path]:
    """Volumes that workers have written in the run that is going on."""
    partial = out.with_name(f".{out.name}.partial")
    return [*partial.glob("volumes/*"), *partial.glob(".staging/*.b2nd")]


@pytest.mark.long
def test_a_worker_that_is_killed_loses_nothing(own, export, tmp_path, ingest_params):
    source = export(12, dict.fromkeys(range(12), "slow") | {4: "slow_kills"})
    out = tmp_path / "dask_out"
    counts: list[dict[str, int]] = []
    run = threading.Thread(target=lambda: counts.append(run_on(own, source, out, ingest_params)))
    run.start()
    until(lambda: len(staged(out)) >= 3, "nothing is written")
    children = children_of_workers(own)
    assert children
    own.kill("w0")
    run.join(WAIT)
    assert counts == [{"used": 59, "decoder_crashed": 1, "not_dicom": 1}]
    assert len(children_of_workers(own)) < len(children), "a child of the killed worker goes on"
    run_here(source, tmp_path / "here_out", ingest_params)
    assert tree(out) == tree(tmp_path / "here_out")


@pytest.mark.long
def test_a_run_that_is_killed_and_started_again_ends_with_the_same_bytes(own, export, tmp_path, ingest_params):
    source = export(10, dict.fromkeys(range(10), "slow"))
    out = tmp_path / "dask_out"
    (tmp_path / "params.yaml").write_text(
        (Path(__file__).parents[2] / "ich_pipeline" / "profiles" / "phantom.yaml").read_text()
    )
    for least in (1, 4):
        run = start(source, out, own.address)
        until(lambda least=least: len(staged(out)) >= least, "nothing is written")
        run.send_signal(signal.SIGKILL)
        run.wait()
        assert not out.exists()
    assert start(source, out, own.address).wait() == 0
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path)
        assert CliRunner().invoke(cli.app, ["ingest", str(source), "--out", "here_out"]).exit_code == 0
    assert tree(out) == tree(tmp_path / "here_out")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["DOE^JOHN", "dask", "dask_out", "here_out", "params.yaml"]


@pytest.mark.long
@pytest.mark.parametrize(
    ("names", "words"), [(("w0", "w1"), "had no worker for 3 seconds"), (("scheduler",), "failed \\(")]
)
def test_a_cluster_that_goes_ends_the_run_with_a_sentence(
    own, export, tmp_path, ingest_params, monkeypatch, names, words
):
    monkeypatch.setattr(cluster_module, "NO_WORKER_SECONDS", 3.0)
    source = export(12, dict.fromkeys(range(12), "slow"))
    out = tmp_path / "out"

    def harm() -> None:
        until(lambda: len(staged(out)) >= 2, "nothing is written")
        for name in names:
            own.kill(name)

    thread = threading.Thread(target=harm)
    thread.start()
    with pytest.raises(Fault, match=words):
        run_on(own, source, out, ingest_params)
    thread.join()
    assert sorted(p.name for p in tmp_path.iterdir()) == ["DOE^JOHN", "dask"]


@pytest.mark.long
def test_a_piece_that_kills_workers_is_given_up(own, tmp_path):
    (tmp_path / "sample").touch()
    with connected(own.address) as client:
        runner = Cluster(client, own.address)
        runner.prepare(tmp_path, tmp_path / "sample")
        with pytest.raises(Fault, match=r"4 workers of the Dask cluster at .* died over the same piece"):
            list(runner.run(eval, ["1", "__import__('os').kill(__import__('os').getppid(), 9)"]))


@pytest.mark.long
def test_a_worker_that_joins_unfit_is_named(own, export, tmp_path, ingest_params, monkeypatch):
    """One that has the project but does not see the same source: its folder is another file system's."""
    source = export(2, {})
    with connected(own.address) as client:
        runner = Cluster(client, own.address, shown_seconds=0.0)
        (tmp_path / "run").mkdir()
        runner.prepare(tmp_path / "run", source / "note.txt")
        (source / "note.txt").write_text("grown")
        with pytest.raises(InputError, match="a worker does not see the files of the source"):
            list(runner.run(eval, ["1", "2"]))


def test_without_dask_there_is_one_sentence(monkeypatch):
    monkeypatch.setitem(sys.modules, "distributed", None)
    with pytest.raises(InputError, match="Dask is not installed"), connected("tcp://127.0.0.1:9"):
        pass
