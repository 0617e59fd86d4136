"""The learning rate of every step."""

from __future__ import annotations

import math

from ich_pipeline.config import TrainingParams

STEP_DECAY = ((0.75, 0.01), (0.5, 0.1))  # from this share of the training on, this factor


def learning_rate(step: int, total: int, peak: float, training: TrainingParams) -> float:
    """The learning rate of a step (0-based) of ``total``.

    Linear warm-up over ``warmup_fraction`` of the training; then ``cosine`` falls to zero, ``step`` to a tenth at half
    and to a hundredth at three quarters of the training, ``constant`` stays.
    """
    warmup = round(training.warmup_fraction * total)
    if step < warmup:
        return peak * (step + 1) / warmup
    if training.schedule == "cosine":
        return peak * 0.5 * (1 + math.cos(math.pi * (step - warmup) / max(total - warmup, 1)))
    if training.schedule == "step":
        return peak * next((factor for share, factor in STEP_DECAY if step >= share * total), 1.0)
    return peak
