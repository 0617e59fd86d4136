"""Where tasks run: in processes of this machine (here), or on a cluster (:mod:`ich_pipeline.workers.cluster`).

A process that dies, or is stopped because it hangs, takes only its own task with it
(:mod:`ich_pipeline.workers.child`).
"""

from __future__ import annotations

import os
import weakref
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from importlib import import_module
from multiprocessing.connection import wait
from pathlib import Path
from typing import Any, Protocol, TypeVar

from ich_pipeline.workers.child import Child, Crash

T = TypeVar("T")
R = TypeVar("R")

AHEAD = 4  # tasks a worker may be in front of the oldest open one: what waits to be yielded stays in memory


class Runner(Protocol):
    """Runs tasks somewhere, with the same results everywhere."""

    @property
    def parallel(self) -> bool:
        """Do several tasks run at a time? Else a caller may as well do light work itself."""
        ...

    def prepare(self, folder: Path, sample: Path) -> None:
        """Once, before the first task: ``folder`` is the run's own, ``sample`` one of the files that tasks read.

        Raises:
            InputError: the tasks could not work there.
        """
        ...

    def run(self, function: Callable[[T], R], tasks: Sequence[T]) -> Iterator[R | Crash]:
        """Yield ``function(task)`` for every task, in their order; a :class:`Crash` for one that ended its process.

        Args:
            function: importable by name, or a ``functools.partial`` of such; its exceptions are raised here.
            tasks: must pickle.
        """
        ...


@dataclass(frozen=True)
class Processes:
    """Processes of this machine; ``workers`` 0 is one a core."""

    workers: int

    @property
    def parallel(self) -> bool:
        return process_count(self.workers) > 1

    def prepare(self, folder: Path, sample: Path) -> None:
        """Nothing: they see what this process sees."""

    def run(self, function: Callable[[T], R], tasks: Sequence[T]) -> Iterator[R | Crash]:
        return run_tasks(function, tasks, process_count(self.workers))


class OneProcess:
    """One process of this machine that stays for the next tasks, since it takes seconds to start; it ends with this object.

    What libraries print in it goes nowhere.
    """

    parallel = False

    def __init__(self) -> None:
        self._child = Child(silent=True)
        weakref.finalize(self, self._child.stop)

    def prepare(self, folder: Path, sample: Path) -> None:
        """Nothing: it sees what this process sees."""

    @classmethod
    def importing(cls, module: str) -> OneProcess:
        """A process that gets ready for the work of a module: its imports and ours take seconds each, side by side."""
        process = cls()
        process.begin(_import, module)
        return process

    def begin(self, function: Callable[[T], R], task: T) -> None:
        """Start the process with a task whose result :meth:`finish` waits for."""
        self._child.give(function, task)

    def finish(self) -> Any:
        """The result of the task that was begun, or a :class:`Crash`; exceptions are raised."""
        try:
            while (answer := self._child.answer()) is None:
                pass
        except Exception:
            raise
        except BaseException:  # interrupted: its answer would be taken for that of the next task
            self._child.stop()
            raise
        return answer[0]

    def run(self, function: Callable[[T], R], tasks: Sequence[T]) -> Iterator[R | Crash]:
        for task in tasks:
            self.begin(function, task)
            yield self.finish()


def _import(module: str) -> None:
    import_module(module)


def process_count(workers: int) -> int:
    """``workers``, or one for each core this process may use where it is 0."""
    if workers:
        return workers
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def run_tasks(function: Callable[[T], R], tasks: Sequence[T], workers: int) -> Iterator[R | Crash]:
    """Yield ``function(task)`` for every task, in their order, whatever the number of processes.

    A task that ends its process yields a :class:`Crash`; the others are not touched by it.

    Args:
        function: importable by name; its exceptions are raised here.
        tasks: must pickle.
        workers: processes, at least 1.
    """
    idle = [Child() for _ in range(min(workers, len(tasks)))]
    limit = AHEAD * len(idle)
    busy: dict[Child, int] = {}
    results: dict[int, R | Crash] = {}
    given = yielded = 0
    try:
        while yielded < len(tasks):
            while idle and given < min(len(tasks), yielded + limit):
                child = idle.pop()
                busy[child] = given
                child.give(function, tasks[given])
                given += 1
            ready = wait([child.line for child in busy])
            for child in [child for child in busy if child.line in ready]:
                answer = child.answer()
                if answer is not None:
                    results[busy.pop(child)] = answer[0]
                    idle.append(child)
            while yielded in results:
                yield results.pop(yielded)
                yielded += 1
    finally:
        for child in (*idle, *busy):
            child.stop()
