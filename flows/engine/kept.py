"""``python -m flows.engine.kept SECONDS COMMAND…``: runs what ends when this process's stdin does, whatever ended its writer.

The end of a pipe is what no way of dying can prevent, ``kill -9`` included; so ``make ui`` leaves no server behind, and
``make repro`` no stage that goes on writing beside the next run.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import select
import signal
import subprocess
import sys
from collections.abc import Sequence

import psutil

LOOK_SECONDS = 0.1  # between two looks whether the command has ended
_PR_SET_CHILD_SUBREAPER = 36


def kept(command: Sequence[str], patience: int = 5) -> list[str]:
    """The command line that runs another one so; its caller gives it a pipe as stdin, and never writes there.

    Args:
        command: what runs.
        patience: seconds that it has to end after SIGTERM, before it is killed.
    """
    return [sys.executable, "-m", "flows.engine.kept", str(patience), *command]


def main(command: Sequence[str], patience: int) -> int:
    """Run the command until it ends, stdin ends, or SIGTERM comes; returns its exit status."""
    _keep_orphans()
    for received in (signal.SIGINT, signal.SIGHUP):  # a terminal sends them to all: whoever holds stdin decides
        signal.signal(received, signal.SIG_IGN)
    stopping: list[int] = []
    signal.signal(signal.SIGTERM, lambda signum, frame: stopping.append(signum))
    process = subprocess.Popen(command, stdin=subprocess.DEVNULL)
    while process.poll() is None and not stopping:
        ready, _, _ = select.select([0], [], [], LOOK_SECONDS)
        if ready and not os.read(0, 1024):
            break
    _end_all(patience)
    return process.wait()


def _keep_orphans() -> None:
    """Children of the command that outlive it become this process's (Linux), so that they are found and ended too."""
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def _end_all(patience: int) -> None:
    """End every process below this one, by force where it does not go by itself."""
    family = psutil.Process().children(recursive=True)
    for process in family:
        with contextlib.suppress(psutil.Error):
            process.terminate()
    psutil.wait_procs(family, timeout=patience)
    for process in psutil.Process().children(recursive=True):
        with contextlib.suppress(psutil.Error):
            process.kill()


if __name__ == "__main__":
    sys.exit(main(sys.argv[2:], int(sys.argv[1])))
