"""Parts of a command's time: each for itself, nothing where nobody asks."""

from __future__ import annotations

import time

import pytest

from ich_pipeline.core.stopwatch import part, peak_mib, timed


def test_a_part_within_a_part_counts_for_itself() -> None:
    with timed() as watch:
        with part("outer"):
            time.sleep(0.02)
            with part("inner"):
                time.sleep(0.05)
            time.sleep(0.02)
        with part("inner"):
            time.sleep(0.05)
    assert list(watch.seconds) == ["outer", "inner"]
    assert watch.seconds["outer"] == pytest.approx(0.04, abs=0.03) and watch.seconds["inner"] >= 0.1
    with part("nobody asks"):
        pass
    assert "nobody asks" not in watch.seconds


def test_an_error_ends_its_part() -> None:
    with timed() as watch:
        with pytest.raises(ValueError), part("fails"):
            raise ValueError
        with part("next"):
            time.sleep(0.01)
    assert watch.seconds["fails"] < 0.01 <= watch.seconds["next"]


def test_memory_is_in_mib() -> None:
    assert 10 < peak_mib() < 100_000
