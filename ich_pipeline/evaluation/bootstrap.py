"""Percentile bootstrap by patient (Efron and Tibshirani 1993, ch. 13).

Slices of a patient, and cases of a patient, are not independent: patients are drawn, with all that they have. A replicate
is the number of times that each patient was drawn, so every metric is a weighted one and nothing is resorted.

Where all patients agree (20 of 20 found) every replicate is the same, and its interval of no width would claim
certainty: for a proportion the exact interval over patients (:mod:`.proportions`) stands in its place.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

# An interval from fewer of the replicates than this share would speak for a lucky part of them only.
MINIMUM_DEFINED = 0.5
# Weighted sums of equal patients differ by rounding only.
_NO_WIDTH = 1e-12


def draw_counts(patients: int, replicates: int, seed: int) -> NDArray[np.float64]:
    """How often each patient is drawn: shape (replicates, patients), every row sums to ``patients``."""
    generator, counts = np.random.default_rng(seed), np.empty((replicates, patients))
    for replicate in counts:  # one at a time: the draws themselves would take the counts' memory several times over
        replicate[:] = np.bincount(generator.integers(patients, size=patients), minlength=patients)
    return counts


def interval(replicates: NDArray[np.float64], confidence: float) -> tuple[float, float] | None:
    """Central percentile interval over the replicates in which the metric is defined.

    Args:
        replicates: the metric's replicates; NaN where it is not defined (no positive was drawn).
        confidence: 0.95 gives the 2.5th and 97.5th percentile.

    Returns:
        Low and high; None where fewer than half of the replicates are defined.
    """
    defined = replicates[~np.isnan(replicates)]
    if len(defined) < MINIMUM_DEFINED * len(replicates):
        return None
    tail = (1.0 - confidence) / 2.0
    low, high = np.quantile(defined, [tail, 1.0 - tail])
    return float(low), float(high)


def has_width(bounds: tuple[float, float]) -> bool:
    """Whether the replicates differed; an interval without width says nothing about the next patient."""
    return bounds[1] - bounds[0] > _NO_WIDTH
