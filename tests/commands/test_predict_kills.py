"""``ich predict`` killed at any moment: under OUT a whole result or none, nothing kept, nobody left, and the next run ends right."""

from __future__ import annotations

import os
import secrets
import shutil
import signal
import subprocess
import sys
import time
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from ich_pipeline.commands.predict import SCRATCH, STAGED, TABLES, publish
from tests.made.system import head, write_study

MARK = "ICH_KILL_TEST"
KEPT = {SCRATCH, STAGED, ".lock"}  # by a run that was killed, until the next
# 0: it had just ended. −2 is 130 to a shell: so Python ends where the signal came within an exec() of some library's import.
STOPPED = (130, -signal.SIGINT, 0)


def content(folder: Path) -> dict[str, bytes]:
    """What a user sees in a folder: hidden names are the run's own."""
    found = folder.iterdir() if folder.exists() else ()
    return {path.name: path.read_bytes() for path in found if not path.name.startswith(".")}


def alive(token: str) -> list[str]:
    """Command lines of processes that the marked run started, itself too."""
    found = []
    for place in Path("/proc").glob("[0-9]*"):
        try:
            if f"{MARK}={token}".encode() in (place / "environ").read_bytes():
                found.append((place / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace"))
        except OSError:  # it has ended, or is another user's
            continue
    return found


@dataclass
class Runs:
    """Runs of ``ich predict`` over a folder and a zip, in a project with a registered model."""

    project: Path
    sources: Sequence[Path]
    out: Path
    temporary: Path

    def start(self, token: str) -> subprocess.Popen[str]:
        environment = {
            **os.environ,
            MARK: token,
            "TMPDIR": str(self.temporary),
            "PYTHONPATH": os.pathsep.join(sys.path),
        }
        command = [
            sys.executable,
            "-m",
            "ich_pipeline.cli.main",
            "predict",
            *map(str, self.sources),
            "--out",
            str(self.out),
        ]
        return subprocess.Popen(
            command, cwd=self.project, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
        )

    def whole(self) -> tuple[dict[str, bytes], float, float]:
        """What an undisturbed run leaves in OUT, the seconds until it begins to read, and those until its end."""
        started = time.monotonic()
        process = self.start("whole")
        begun = self.reading(process) - started
        _, said = process.communicate(timeout=300)
        assert process.returncode == 0, said
        assert {path.name for path in self.out.iterdir()} == set(content(self.out)), "nothing hidden is left"
        return content(self.out), begun, time.monotonic() - started - begun

    def reading(self, process: subprocess.Popen[str]) -> float:
        """When it begins to read studies."""
        while not (self.out / STAGED).exists() and process.poll() is None:
            time.sleep(0.005)
        return time.monotonic()

    def stopped(self, seconds: float, reading: bool, received: signal.Signals) -> tuple[int, str]:
        """Exit status and what was said of a run that gets a signal so many seconds after it began, or began to read.

        All its processes have ended.
        """
        token = secrets.token_hex(8)
        process = self.start(token)
        if reading:
            self.reading(process)
        time.sleep(seconds)
        process.send_signal(received)
        _, said = process.communicate(timeout=300)
        end = time.monotonic() + 20
        while (left := alive(token)) and time.monotonic() < end:
            time.sleep(0.1)
        assert not left, f"{received.name} after {seconds:.2f} s left {left}"
        return process.returncode, said


@pytest.fixture
def runs(project: Path, registered: int, tmp_path: Path) -> Runs:
    """Four studies, of which two are in a zip."""
    plain = [write_study(tmp_path / "in" / f"{n}", head(n), f"{n}4") for n in (1, 2)]
    assert registered and all(plain)
    with zipfile.ZipFile(tmp_path / "in" / "packed.zip", "w") as archive:
        for number in (3, 4):
            for path in write_study(tmp_path / "packed", head(number), f"{number}4"):
                archive.write(path, path.name)
    (tmp_path / "temporary").mkdir()
    return Runs(project, [tmp_path / "in"], tmp_path / "out", tmp_path / "temporary")


@pytest.mark.long
@pytest.mark.parametrize("received", [signal.SIGKILL, signal.SIGTERM, signal.SIGHUP], ids=lambda s: s.name)
def test_at_any_moment_a_whole_result_or_none(runs: Runs, received: signal.Signals) -> None:
    expected, begins, lasts = runs.whole()
    rng = np.random.default_rng(int(received))
    loading, reading = rng.uniform(0.1, 1.0, 2) * begins, rng.uniform(0.0, 1.05, 4) * lasts
    ends = []
    older: dict[str, bytes] = {}
    for number, seconds in enumerate([*loading, *sorted(reading)]):
        shutil.rmtree(runs.out, ignore_errors=True)
        # Every other time of other studies: a table and a page that must not be taken for this run's.
        older = dict.fromkeys((*TABLES, "C0.html"), b"older") if number % 2 else {}
        for name, data in older.items():
            runs.out.mkdir(exist_ok=True)
            (runs.out / name).write_bytes(data)
        status, said = runs.stopped(seconds, number >= len(loading), received)
        found = content(runs.out)
        ends.append((number, round(seconds, 2), status, sorted(found)))
        assert "Traceback" not in said, said
        if found != older and found != {**older, **expected}:
            assert received is signal.SIGKILL and not set(TABLES) & set(found), ends
        hidden = {path.name for path in runs.out.iterdir()} - set(found) if runs.out.exists() else set()
        if received is signal.SIGKILL:
            assert hidden <= KEPT, (ends, hidden)
            continue
        # Before its first line and behind its last one the signal ends Python itself.
        assert status in STOPPED or (status == -received and found in (older, {**older, **expected})), (ends, said)
        assert not hidden and not list(runs.temporary.iterdir()), (ends, hidden)
        assert found or not runs.out.exists(), ends
    print(f"{received.name}: {begins:.1f} s until it reads, {lasts:.1f} s more", *ends, sep="\n")
    assert runs.whole()[0] == {**older, **expected}


@pytest.mark.parametrize("renames", [0, 1, 2, 3])
def test_a_kill_between_two_renames_leaves_no_table_beside_pages_of_another_run(tmp_path: Path, renames: int) -> None:
    out = tmp_path / "out"
    for folder, said in ((out, "older"), (out / STAGED, "new")):
        folder.mkdir()
        for name in (*TABLES, "C1.html", "C2.html"):
            (folder / name).write_text(said)
    child = os.fork()
    if child == 0:
        plain, done = Path.replace, []

        def replace(self: Path, target: Path) -> Path:
            if len(done) == renames:
                os.kill(os.getpid(), signal.SIGKILL)
            done.append(target)
            return plain(self, target)

        Path.replace = replace  # pyright: ignore[reportAttributeAccessIssue]
        publish(out / STAGED, out, ())
        os._exit(0)
    _, status = os.waitpid(child, 0)
    assert os.WTERMSIG(status) == signal.SIGKILL
    found = {name: data.decode() for name, data in content(out).items()}
    assert not {name: found[name] for name in TABLES if found.get(name) == "older"}
    assert "predictions.json" not in found and list(found.values()).count("new") == renames
