"""The learning rate of every step."""

from __future__ import annotations

import math

from ich_pipeline.config import TrainingParams


def learning_rate(step: int, total: int, peak: float, training: TrainingParams) -> float:
    """The learning rate of a step (0-based) of ``total``.

    Linear warm-up over ``warmup_fraction`` of the training; then ``cosine`` falls to zero, ``step`` to the factors of
    ``step_decay`` at their shares of the training, ``constant`` stays.
    """
    warmup = round(training.warmup_fraction * total)
    if step < warmup:
        return peak * (step + 1) / warmup
    if training.schedule == "cosine":
        return peak * 0.5 * (1 + math.cos(math.pi * (step - warmup) / max(total - warmup, 1)))
    if training.schedule == "step":
        return peak * next((factor for share, factor in reversed(training.step_decay) if step >= share * total), 1.0)
    return peak
