from __future__ import annotations

from pathlib import Path

import pytest

from ich_pipeline.config import TrainingParams, load_params
from ich_pipeline.training.optimizer import schedule

PHANTOM = Path(__file__).parents[2] / "ich_pipeline" / "profiles" / "phantom.yaml"


def settings(kind: str) -> TrainingParams:
    return load_params(PHANTOM).training.model_copy(update={"schedule": kind, "warmup_fraction": 0.1})


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        ("constant", {0: 1 / 11, 4: 5 / 11, 9: 10 / 11, 10: 1.0, 99: 1.0}),
        ("step", {4: 5 / 11, 10: 1.0, 49: 1.0, 50: 0.1, 74: 0.1, 75: 0.01, 99: 0.01}),
        ("cosine", {9: 10 / 11, 10: 1.0, 55: 0.5, 40: 0.75, 70: 0.25}),
    ],
)
def test_learning_rate_by_hand(kind: str, expected: dict[int, float]) -> None:
    rate = schedule(100, 1.0, settings(kind))
    assert {step: float(rate(step)) for step in expected} == pytest.approx(expected, abs=1e-6)


def test_an_optimiser_made_later_that_counts_parts_goes_on_with_the_same_rates() -> None:
    rate = schedule(100, 1.0, settings("cosine"))
    later = schedule(100, 1.0, settings("cosine").model_copy(update={"accumulate": 3}), begun=20)
    assert [float(later(3 * k + part)) for k in (0, 7, 79) for part in range(3)] == [
        float(rate(step)) for step in (20, 27, 99) for _ in range(3)
    ]


def test_a_training_of_one_step_learns() -> None:
    assert float(schedule(1, 0.5, settings("cosine"))(0)) == 0.5
