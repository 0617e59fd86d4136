from __future__ import annotations

from pathlib import Path

import pytest

from ich_pipeline.config import TrainingParams, load_params
from ich_pipeline.training.schedule import learning_rate

PHANTOM = Path(__file__).parents[2] / "ich_pipeline" / "profiles" / "phantom.yaml"


def settings(schedule: str) -> TrainingParams:
    return load_params(PHANTOM).training.model_copy(update={"schedule": schedule, "warmup_fraction": 0.1})


@pytest.mark.parametrize(
    ("schedule", "expected"),
    [
        ("constant", {0: 0.1, 4: 0.5, 9: 1.0, 10: 1.0, 99: 1.0}),
        ("step", {9: 1.0, 49: 1.0, 50: 0.1, 74: 0.1, 75: 0.01, 99: 0.01}),
        ("cosine", {9: 1.0, 10: 1.0, 55: 0.5, 40: 0.75, 70: 0.25}),
    ],
)
def test_learning_rate_by_hand(schedule: str, expected: dict[int, float]) -> None:
    found = {step: learning_rate(step, 100, 1.0, settings(schedule)) for step in expected}
    assert found == pytest.approx(expected)


def test_a_training_of_one_step_learns() -> None:
    assert learning_rate(0, 1, 0.5, settings("cosine")) == 0.5
