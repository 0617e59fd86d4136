"""Tasks in processes: in order, and a task that kills or hangs its process takes nothing else down."""

from __future__ import annotations

import signal

import pytest

from ich_pipeline.workers.child import Crash, watching
from ich_pipeline.workers.parallel import process_count, run_tasks

DIES = "__import__('os')._exit(11)"
SEGFAULT = "__import__('os').kill(__import__('os').getpid(), 11)"


def task_in_steps(steps: dict[str, str]) -> list[str]:
    """Evaluates each step under its name; importable, so that a worker can run it."""
    done = []
    for name, code in steps.items():
        with watching(name, 1.0):
            eval(code)
        done.append(name)
    return done


@pytest.mark.parametrize("workers", [1, 3])
def test_results_come_in_order_and_the_killer_is_found(workers):
    tasks = ["1 + 1", "__import__('time').sleep(0.2) or 'slow'", DIES, "'after'", SEGFAULT, "'last'"]
    results = list(run_tasks(eval, tasks, workers))
    assert [r for r in results if not isinstance(r, Crash)] == [2, "slow", "after", "last"]
    crashes = {i: r for i, r in enumerate(results) if isinstance(r, Crash)}
    assert {i: (c.exitcode, c.timed_out) for i, c in crashes.items()} == {2: (11, False), 4: (-11, False)}


def test_a_crash_and_a_hang_name_what_they_were_at():
    # The loop inside the C function never lets a Python signal handler run.
    hang = "sum(range(10**15))"
    tasks = [{"a": "1", "b": SEGFAULT, "c": "1"}, {"d": "1", "e": hang}, {"f": "1"}, {"g": "1"}]
    results = list(run_tasks(task_in_steps, tasks, 2))
    assert results == [Crash("b", False, -11), Crash("e", True, -signal.SIGALRM), ["f"], ["g"]]


def test_watching_outside_a_worker_ends_nothing():
    with watching("x", 1e-6):
        sum(range(10**6))


def test_an_exception_is_raised_here():
    with pytest.raises(ZeroDivisionError):
        list(run_tasks(eval, ["1 / 0", "2"], 2))


def test_no_tasks_and_default_count():
    assert list(run_tasks(eval, [], 2)) == []
    assert process_count(3) == 3
    assert process_count(0) >= 1


def test_no_more_processes_than_tasks_and_many_tasks_in_order():
    assert list(run_tasks(abs, range(-100, 0), 2)) == list(range(100, 0, -1))
