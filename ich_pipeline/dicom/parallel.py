"""Run tasks in processes; a process that dies, or is stopped because it hangs, takes only its own task with it.

A task says what it works on by :func:`watching`, so that the caller learns which file brought it down.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import pickle
import signal
import traceback
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from typing import Any, TypeVar

T = TypeVar("T")
R = TypeVar("R")

AHEAD = 4  # tasks a worker may be in front of the oldest open one: what waits to be yielded stays in memory

# The line to the parent; None outside a worker of this module.
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


def process_count(workers: int) -> int:
    """``workers``, or one for each core this process may use where it is 0."""
    if workers:
        return workers
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@contextlib.contextmanager
def watching(name: str, seconds: float) -> Iterator[None]:
    """Within a worker: what is inside belongs to ``name`` and ends the process when it takes longer than ``seconds``.

    The kernel ends it, so that a decoder which never returns to Python is stopped as well. Elsewhere than in a worker of
    :func:`run_tasks` nothing happens: nobody would notice the end of the process.
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


def run_tasks(function: Callable[[T], R], tasks: Sequence[T], workers: int) -> Iterator[R | Crash]:
    """Yield ``function(task)`` for every task, in their order, whatever the number of processes.

    A task that ends its process yields a :class:`Crash`; the others are not touched by it.

    Args:
        function: importable by name; its exceptions are raised here.
        tasks: must pickle.
        workers: processes, at least 1.
    """
    pool = [_Worker(function) for _ in range(min(workers, len(tasks)))]
    results: dict[int, R | Crash] = {}
    given = yielded = 0
    try:
        while yielded < len(tasks):
            for worker in pool:
                if worker.task is None and given < min(len(tasks), yielded + AHEAD * len(pool)):
                    worker.give(given, tasks[given])
                    given += 1
            ready = wait([w.line for w in pool if w.task is not None])
            for worker in pool:
                if worker.line in ready:
                    results |= worker.answer()
            while yielded in results:
                yield results.pop(yielded)
                yielded += 1
    finally:
        for worker in pool:
            worker.stop()


@dataclass
class _Worker:
    """The parent's side of one process, started when it gets its first task and again after it died."""

    function: Callable[[Any], Any]
    task: int | None = None
    at: str | None = None
    line: Connection = field(init=False)
    process: BaseProcess | None = field(default=None, init=False)

    def give(self, number: int, task: Any) -> None:
        if self.process is None:
            self._start()
        self.task = number
        with contextlib.suppress(BrokenPipeError):  # died between two tasks: found when its answer is read
            self.line.send(task)

    def answer(self) -> dict[int, Any]:
        """The result of the task if it is done; the process may also have said what it is at, or have died."""
        assert self.task is not None
        try:
            kind, value = self.line.recv()
        except (EOFError, OSError):
            return {self._finish(): self._crash()}
        if kind == "at":
            self.at = value
            return {}
        if kind == "error":
            raise value
        return {self._finish(): value}

    def stop(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.join()
            self.line.close()
            self.process = None

    def _start(self) -> None:
        # Not fork: the parent may hold threads of other libraries.
        context = multiprocessing.get_context("spawn")
        self.line, theirs = context.Pipe()
        self.process = context.Process(target=_serve, args=(theirs, self.function), daemon=True)
        self.process.start()
        theirs.close()

    def _finish(self) -> int:
        assert self.task is not None
        number, self.task = self.task, None
        return number

    def _crash(self) -> Crash:
        assert self.process is not None
        self.process.join()
        code, at = self.process.exitcode, self.at
        self.at = None
        self.stop()
        return Crash(at, code == -signal.SIGALRM, code)


def _serve(line: Connection, function: Callable[[Any], Any]) -> None:
    """A worker's life: a task in, its result out, until the parent goes."""
    global _line
    _line = line
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent is interrupted as well and stops its workers
    while True:
        try:
            task = line.recv()
        except (EOFError, OSError):
            return
        try:
            answer = ("done", function(task))
        except Exception as error:
            error.add_note("in a worker process:\n" + traceback.format_exc())
            answer = ("error", _portable(error))
        line.send(answer)


def _portable(error: Exception) -> Exception:
    """The exception itself where it survives the way to the parent."""
    try:
        pickle.loads(pickle.dumps(error))
    except Exception:
        return RuntimeError(f"{type(error).__name__}: {error}")
    return error
