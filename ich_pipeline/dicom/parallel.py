"""Run tasks in processes and survive one that brings its process down (a decoder on hostile input may)."""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from typing import Any, TypeVar

T = TypeVar("T")
R = TypeVar("R")


class Crash:
    """Stands for the result of a task that ended its process."""


def process_count(workers: int) -> int:
    """``workers``, or one for each core this process may use where it is 0."""
    if workers:
        return workers
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def run_tasks(function: Callable[[T], R], tasks: Sequence[T], workers: int) -> Iterator[R | Crash]:
    """Yield ``function(task)`` for every task, in their order, whatever the number of processes.

    When a process dies nobody knows which task did it: those that are not done are then run one at a time, and the one
    that ends its process again yields a :class:`Crash`.

    Args:
        function: importable by name; its exceptions are raised here.
        tasks: must pickle.
        workers: processes, at least 1.
    """
    futures: dict[int, Future] = {}
    first_open = 0
    with _pool(min(workers, len(tasks)) or 1) as pool:
        try:
            for i, task in enumerate(tasks):
                futures[i] = pool.submit(function, task)
            for i in range(len(tasks)):
                result = futures[i].result()
                # Results can be large: the future must not keep a second reference until all are done.
                del futures[i]
                yield result
                first_open = i + 1
        except BrokenProcessPool:
            pass
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise
        else:
            return
    yield from _one_at_a_time(function, tasks, first_open, futures)


def _one_at_a_time(
    function: Callable[[T], R], tasks: Sequence[T], start: int, futures: dict[int, Future]
) -> Iterator[R | Crash]:
    pool = _pool(1)
    try:
        for i in range(start, len(tasks)):
            earlier = futures.pop(i, None)
            if earlier is not None and earlier.done() and not earlier.cancelled() and earlier.exception() is None:
                yield earlier.result()
                continue
            try:
                result: Any = pool.submit(function, tasks[i]).result()
            except BrokenProcessPool:
                pool.shutdown()
                pool = _pool(1)
                result = Crash()
            yield result
    finally:
        pool.shutdown(cancel_futures=True)


def _pool(workers: int) -> ProcessPoolExecutor:
    # Not fork: the parent may hold threads of other libraries.
    return ProcessPoolExecutor(workers, mp_context=multiprocessing.get_context("spawn"))
