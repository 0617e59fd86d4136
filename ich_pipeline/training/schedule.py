"""The learning rate of every step, by Keras' own schedules."""

from __future__ import annotations

import math
from typing import Any

from ich_pipeline.config import TrainingParams
from ich_pipeline.training.backend import keras, ops

schedules: Any = keras.optimizers.schedules


def schedule(total: int, peak: float, training: TrainingParams, begun: int = 0) -> Any:
    """The schedule of a training of ``total`` steps, for an optimiser that is made ``begun`` steps after its start.

    Linear warm-up over ``warmup_fraction`` of the training; then ``cosine`` falls to zero, ``step`` to the factors of
    ``step_decay`` at their shares of the training, ``constant`` stays.
    """
    warmup = round(training.warmup_fraction * total)
    falls = training.schedule == "cosine"
    curve = schedules.CosineDecay(
        peak / (warmup + 1),  # the first step learns too
        max(total - warmup, 1),
        alpha=0.0 if falls else 1.0,
        warmup_target=peak if warmup else None,
        warmup_steps=warmup,
    )
    factors = None
    if training.schedule == "step":
        shares, values = zip(*training.step_decay, strict=True)
        factors = schedules.PiecewiseConstantDecay([math.ceil(share * total) - 1 for share in shares], [1.0, *values])
    return _OfTheTraining(curve, factors, begun, training.accumulate)


class _OfTheTraining(schedules.LearningRateSchedule):
    """Keras counts calls of one optimiser: parts of batches, and from 0 again after the frozen passes."""

    def __init__(self, curve: Any, factors: Any | None, begun: int, parts: int) -> None:
        self._curve, self._factors, self._begun, self._parts = curve, factors, begun, parts

    def __call__(self, calls: Any) -> Any:
        step = ops.floor_divide(calls, self._parts) + self._begun  # type: ignore[operator]
        rate = self._curve(step)
        return rate if self._factors is None else rate * self._factors(step)
