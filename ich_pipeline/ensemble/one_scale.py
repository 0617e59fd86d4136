"""One scale for the answers of systems that were fitted apart, as those of the folds of a cross-validation.

Each system's log-odds are moved and stretched by mean and spread of what it says out of sample of the patients it was calibrated
on; no label is read for it. Without this, a fold whose held-out patients have much of a finding is calibrated on patients with
little of it, and so ranks its own positives below the negatives of other folds (Parker, Günter and Bedo 2007, stratification
bias); and the case scores of folds with other rules are no numbers of one kind.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import expit

from ich_pipeline.ensemble.calibration import logit

SMALLEST_SPREAD = 1e-6  # of log-odds; a system that says the same of everyone is moved only


@dataclass(frozen=True)
class Scale:
    """Mean and spread of a system's log-odds of one label."""

    mean: float
    spread: float

    @classmethod
    def of(cls, scores: ArrayLike) -> Scale:
        """From scores in 0..1, shape (rows,)."""
        log_odds = logit(scores)
        spread = float(log_odds.std())
        return cls(float(log_odds.mean()), spread if spread > SMALLEST_SPREAD else 1.0)

    def __call__(self, scores: ArrayLike) -> NDArray[np.float64]:
        """Scores in 0..1 as scores on the common scale, in 0..1 and in the same order; any shape."""
        return expit((logit(scores) - self.mean) / self.spread)

    def to_json(self) -> dict[str, float]:
        """Two numbers."""
        return {"mean": self.mean, "spread": self.spread}

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Scale:
        """Inverse of :meth:`to_json`."""
        return cls(value["mean"], value["spread"])
