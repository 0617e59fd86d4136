"""A process that does tasks for another one, one after the other; what ends it takes one task with it.

A task says what it works on by :func:`watching`, so that the caller learns which file brought the process down.
"""

from __future__ import annotations

import contextlib
import os
import pickle
import select
import signal
import subprocess
import sys
import threading
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from multiprocessing import Pipe
from multiprocessing.connection import Connection
from typing import Any

# Not by multiprocessing: its children may have none themselves where they are daemons, as the workers of Dask are.
_COMMAND = (
    "import sys; from multiprocessing.connection import Connection; line = Connection(int(sys.argv[1])); "
    "sys.path[:] = line.recv(); from ich_pipeline.workers.child import serve; serve(line)"
)

# The line to the parent; None outside a process of this module.
_line: Connection | None = None


@dataclass(frozen=True)
class Crash:
    """Stands for the result of a task that ended its process.

    Attributes:
        at: what :func:`watching` named last, None where the process was at nothing.
        timed_out: the time limit of :func:`watching` ended it.
        exitcode: of the process; negative for a signal.
    """

    at: str | None = None
    timed_out: bool = False
    exitcode: int | None = None


@contextlib.contextmanager
def watching(name: str, seconds: float) -> Iterator[None]:
    """Within a child: what is inside belongs to ``name`` and ends the process when it takes longer than ``seconds``.

    The kernel ends it, so that a decoder which never returns to Python is stopped as well. Elsewhere nothing happens:
    nobody would notice the end of the process.
    """
    if _line is None:
        yield
        return
    _line.send(("at", name))
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        _line.send(("at", None))


class Child:
    """The parent's side of one process, started when it gets its first task and again after it died.

    The process ends with its parent: one that went on would write into the folder of the run that is started next.
    """

    def __init__(self, silent: bool = False) -> None:
        """``silent``: what libraries print in the process, which may name a patient, goes nowhere."""
        self._silent = silent
        self._process: subprocess.Popen[bytes] | None = None
        self._at: str | None = None
        self.line: Connection

    def give(self, function: Callable[[Any], Any], task: Any) -> None:
        """Begin ``function(task)``; both must pickle, the function by its name."""
        if self._process is None:
            self._start()
        with contextlib.suppress(BrokenPipeError):  # died between two tasks: found when its answer is read
            self.line.send_bytes(pickle.dumps((function, task)))

    def answer(self) -> tuple[Any] | None:
        """The result, or a :class:`Crash`, within a tuple; None where the process only said what it is at.

        Waits for the process to say something. An exception of the function is raised.
        """
        try:
            kind, value = self.line.recv()
        except (EOFError, OSError):
            return (self._crash(),)
        if kind == "at":
            self._at = value
            return None
        if kind == "error":
            raise value
        return (value,)

    def stop(self) -> None:
        """End the process, whatever it is at."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self.line.close()
            self._process = None

    def _start(self) -> None:
        self.line, theirs = Pipe()
        output = subprocess.DEVNULL if self._silent else None
        self._process = subprocess.Popen(
            [sys.executable, "-c", _COMMAND, str(theirs.fileno())],
            pass_fds=[theirs.fileno()],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
        )
        theirs.close()
        with contextlib.suppress(BrokenPipeError):
            self.line.send(sys.path)

    def _crash(self) -> Crash:
        assert self._process is not None
        code, at = self._process.wait(), self._at
        self._at = None
        self.stop()
        return Crash(at, code == -signal.SIGALRM, code)


def serve(line: Connection) -> None:
    """The process's life: a task in, its result out, until the parent goes."""
    global _line
    _line = line
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    for received in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(received, signal.SIG_IGN)  # the parent is stopped as well and stops its children
    threading.Thread(target=_end_with_parent, args=(line.fileno(),), name="end with parent", daemon=True).start()
    while True:
        try:
            message = line.recv_bytes()
        except (EOFError, OSError):
            return
        try:
            function, task = pickle.loads(message)
            answer = ("done", function(task))
        except Exception as error:
            error.add_note("in a worker process:\n" + traceback.format_exc())
            answer = ("error", _portable(error))
        line.send(answer)


def _end_with_parent(fileno: int) -> None:
    parent = select.poll()
    parent.register(fileno, 0)  # tells nothing but that the other side is closed
    parent.poll()
    os._exit(1)


def _portable(error: Exception) -> Exception:
    """The exception itself where it survives the way to the parent."""
    try:
        pickle.loads(pickle.dumps(error))
    except Exception:
        return RuntimeError(f"{type(error).__name__}: {error}")
    return error
