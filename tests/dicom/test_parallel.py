"""Tasks in processes: in order, and a task that kills its process takes nothing else down."""

from __future__ import annotations

import pytest

from ich_pipeline.dicom.parallel import Crash, process_count, run_tasks

DIES = "__import__('os')._exit(11)"


@pytest.mark.parametrize("workers", [1, 3])
def test_results_come_in_order_and_the_killer_is_found(workers):
    tasks = ["1 + 1", "__import__('time').sleep(0.2) or 'slow'", DIES, "'after'", DIES, "'last'"]
    results = list(run_tasks(eval, tasks, workers))
    assert [r for r in results if not isinstance(r, Crash)] == [2, "slow", "after", "last"]
    assert [i for i, r in enumerate(results) if isinstance(r, Crash)] == [2, 4]


def test_an_exception_is_raised_here():
    with pytest.raises(ZeroDivisionError):
        list(run_tasks(eval, ["1 / 0", "2"], 2))


def test_no_tasks_and_default_count():
    assert list(run_tasks(eval, [], 2)) == []
    assert process_count(3) == 3
    assert process_count(0) >= 1
