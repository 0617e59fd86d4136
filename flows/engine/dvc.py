"""DVC as a command: the pipeline's only way to it, so that its lock file and cache stay DVC's own business."""

from __future__ import annotations

import json
import os
import queue
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Generator
from pathlib import Path
from typing import IO

from flows.engine.kept import kept

SITE_CACHE = Path(".dvc/tmp/site")
_PATIENCE = 60  # seconds that a stage has to remove what is half done once it was told to stop


def environment(extra: dict[str, str] | None = None) -> dict[str, str]:
    """The environment of a stage: this interpreter first in PATH, for ``python -m flows.<stage>``.

    DVC unpickles what lies in its site cache, by default in a folder that every user of the machine may write: here it is
    the project's own, as `make setup` tells DVC for who calls it by hand (``.dvc/config.local``).
    """
    here = str(Path(sys.executable).parent)
    own = {"PATH": here + os.pathsep + os.environ.get("PATH", ""), "DVC_SITE_CACHE_DIR": str(SITE_CACHE.absolute())}
    return {**os.environ, **own, **(extra or {})}


def dvc(*arguments: str) -> list[str]:
    """The command line of ``dvc``."""
    return [sys.executable, "-m", "dvc", *arguments]


def stage_names() -> list[str]:
    """All stages in the order of dvc.yaml, which is an order they can run in."""
    return _answer("stage", "list", "--name-only").split()


def stages_to_run() -> set[str]:
    """The stages that changed, and all that come after them; none where ``dvc repro`` has nothing to do.

    A stage after a changed one may turn out to have nothing to do, where that gives the same bytes again.
    """
    waiting = set(json.loads(_answer("status", "--json") or "{}"))
    if not waiting:
        return waiting
    arrows = re.findall(r'"([^"]+)" -> "([^"]+)"', _answer("dag", "--dot"))
    while after := {to for origin, to in arrows if origin in waiting} - waiting:
        waiting |= after
    return waiting


def _answer(*arguments: str) -> str:
    out = subprocess.run(dvc(*arguments), capture_output=True, text=True, env=environment())
    if out.returncode:
        raise DvcError(out.stderr.strip() or out.stdout.strip())
    return out.stdout


def lines(
    command: list[str],
    extra: dict[str, str] | None = None,
    heartbeat: float | None = None,
    folder: Path | None = None,
) -> Generator[str, None, None]:
    """Run a command and yield its output (stdout and stderr) line by line; :class:`DvcError` where it fails.

    It ends with this process, and so does the stage that it started: a run that was killed goes on writing nowhere.

    Args:
        command: what to run.
        extra: environment variables on top of :func:`environment`.
        heartbeat: seconds of silence after which an empty line is yielded, so that the caller can look elsewhere.
        folder: where it runs; here by default.
    """
    process = subprocess.Popen(
        kept(command, _PATIENCE),
        cwd=folder,
        env=environment(extra),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        start_new_session=True,  # Ctrl-C reaches this process alone, which then stops dvc and the stage
    )
    arrived: queue.SimpleQueue[str | None] = queue.SimpleQueue()
    reader = threading.Thread(target=_read, args=(process.stdout, arrived), daemon=True)
    reader.start()
    last, killed, mistake = "", "", False
    try:
        while True:
            try:
                line = arrived.get(timeout=heartbeat)
            except queue.Empty:
                yield ""
                continue
            if line is None:
                break
            mistake = mistake or line.endswith("exited with 2")
            killed = killed or _killed(line)
            if line.strip() and not _CHATTER.match(line):
                last = line.strip()
            yield line
    except BaseException:
        process.terminate()
        raise
    finally:
        process.wait()
        reader.join()
    if process.returncode:
        raise DvcError(killed or last, mistake or process.returncode == 2)


# What DVC says around a stage: never the reason why it failed.
_CHATTER = re.compile(r"\s*(> |Running stage|Updating lock|Verifying data|Stage '|ERROR: failed to reproduce)")
_SIGNAL = re.compile(r"failed to reproduce '(?P<stage>[^']+)'.*exited with -(?P<signal>\d+)")


def _killed(line: str) -> str:
    """A sentence where DVC's line says that a stage was ended by a signal; else empty."""
    found = _SIGNAL.search(line)
    if not found:
        return ""
    number = int(found["signal"])
    why = ", often for lack of memory" if number == signal.SIGKILL else ""
    return f"the stage {found['stage']} was killed (signal {number}{why}): run again; finished stages are kept."


def _read(stream: IO[str] | None, arrived: queue.SimpleQueue[str | None]) -> None:
    assert stream is not None
    with stream:
        for line in stream:
            arrived.put(line.rstrip("\n"))
    arrived.put(None)


class DvcError(Exception):
    """A dvc command failed; the message is its last line before DVC's own summary.

    ``mistake`` says that a stage ended with exit status 2: the user can mend it, and the message says how.
    """

    def __init__(self, message: str, mistake: bool = False) -> None:
        super().__init__(message)
        self.mistake = mistake
