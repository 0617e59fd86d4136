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
# Counts (replicates × patients) that may be held as float64: 512 MB.
LARGE = 2**26
# Elements that are converted at a time: 32 MB of float64.
_CHUNK = 4_000_000
# Weighted sums of equal patients differ by rounding only.
_NO_WIDTH = 1e-12

Counts = NDArray[np.float64] | NDArray[np.uint8]


def draw_counts(patients: int, replicates: int, seed: int) -> Counts:
    """How often each patient is drawn: shape (replicates, patients), every row sums to ``patients``.

    Few are kept as float64, which needs no conversion; more than ``LARGE`` as bytes: multiply them by :func:`drawn_sums`.
    """
    # A byte is enough: of more than 255 patients, one is drawn 256 times with a chance of 1 in 256!.
    large, shape = patients * replicates > LARGE, (replicates, patients)
    counts = np.empty(shape, dtype=np.uint8) if large else np.empty(shape)
    generator = np.random.default_rng(seed)
    for replicate in counts:  # one at a time: the draws themselves would take the counts' memory several times over
        replicate[:] = np.bincount(generator.integers(patients, size=patients), minlength=patients)
    return counts


def drawn_sums(counts: Counts, values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Sum over the patients of each replicate: ``values`` (patients, ...) to (replicates, ...)."""
    if counts.dtype == np.float64:
        return counts @ values
    step = max(1, _CHUNK // counts.shape[1])
    return np.concatenate([counts[i : i + step].astype(np.float64) @ values for i in range(0, len(counts), step)])


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
