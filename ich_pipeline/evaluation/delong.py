"""AUC with its variance by placement values: DeLong, DeLong and Clarke-Pearson 1988, computed as Sun and Xu 2014 do.

The placement of a positive is the share of negatives that score below it (ties count half); the AUC is their mean. With
clusters (several rows of one patient) the covariance is Obuchowski's (1997), which is DeLong's where every cluster has
one row.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.stats import norm, rankdata


@dataclass(frozen=True)
class DeLong:
    """AUCs of scores on the same rows.

    Attributes:
        auc: shape (tests,).
        covariance: shape (tests, tests); NaN where fewer than two clusters have a positive, or a negative.
    """

    auc: NDArray[np.float64]
    covariance: NDArray[np.float64]


@dataclass(frozen=True)
class Difference:
    """First minus second AUC; ``p`` two-sided by the normal distribution. NaN where the variance is not positive."""

    value: float
    standard_error: float
    z: float
    p: float

    def interval(self, confidence: float) -> tuple[float, float] | None:
        """Symmetric interval of the difference; None where there is no variance."""
        if not self.standard_error > 0:
            return None
        half = float(norm.isf((1.0 - confidence) / 2.0)) * self.standard_error
        return self.value - half, self.value + half


def placements(scores: ArrayLike, truth: ArrayLike) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Placement values of the positives among the negatives, and of the negatives among the positives.

    Args:
        scores: shape (n,), higher is more suspicious; -inf is allowed.
        truth: shape (n,), 0 and 1, both there.

    Returns:
        Shapes (positives,) and (negatives,), in the order of the rows.
    """
    values, positive = np.asarray(scores, dtype=np.float64), np.asarray(truth) == 1
    ranks = rankdata(values)  # mid-ranks: ties share
    m, n = int(positive.sum()), int((~positive).sum())
    of_positives = (ranks[positive] - rankdata(values[positive])) / n
    of_negatives = 1.0 - (ranks[~positive] - rankdata(values[~positive])) / m
    return of_positives, of_negatives


def delong(scores: ArrayLike, truth: ArrayLike, clusters: ArrayLike | None = None) -> DeLong:
    """AUCs and their covariance.

    Args:
        scores: shape (n,) or (tests, n).
        truth: shape (n,), 0 and 1, both there.
        clusters: whose each row is (patient), shape (n,); None: every row is a cluster of its own.
    """
    tests = np.atleast_2d(np.asarray(scores, dtype=np.float64))
    positive = np.asarray(truth) == 1
    placed = [placements(row, positive) for row in tests]
    x, y = np.stack([p for p, _ in placed]), np.stack([q for _, q in placed])
    auc = x.mean(axis=1)
    who = np.arange(positive.size) if clusters is None else np.unique(np.asarray(clusters), return_inverse=True)[1]
    count = int(who.max()) + 1
    # What each cluster adds to the deviation of the sums of placements from their expectation.
    a = _by_cluster(x - auc[:, None], who[positive], count)
    b = _by_cluster(y - auc[:, None], who[~positive], count)
    m, n = x.shape[1], y.shape[1]
    with_positive, with_negative = len(np.unique(who[positive])), len(np.unique(who[~positive]))
    if min(with_positive, with_negative) < 2:
        return DeLong(auc, np.full((len(tests), len(tests)), np.nan))
    cross = count / (count - 1) * (a @ b.T) / (m * n)
    covariance = (
        with_positive / (with_positive - 1) * (a @ a.T) / m**2
        + with_negative / (with_negative - 1) * (b @ b.T) / n**2
        + cross
        + cross.T
    )
    return DeLong(auc, covariance)


def auc_interval(auc: float, variance: float, confidence: float) -> tuple[float, float] | None:
    """``auc ± z · standard error``, cut to 0..1; None where the variance is not positive (a perfect curve has none)."""
    if not variance > 0:
        return None
    half = float(norm.isf((1.0 - confidence) / 2.0)) * math.sqrt(variance)
    return max(auc - half, 0.0), min(auc + half, 1.0)


def paired_test(first: ArrayLike, second: ArrayLike, truth: ArrayLike, clusters: ArrayLike | None = None) -> Difference:
    """Two scores of the same rows: is the difference of their AUCs zero?

    Args:
        first, second: shape (n,). A reader's decisions (0 and 1) are scores as well: their AUC is the mean of
            sensitivity and specificity.
        truth, clusters: as for :func:`delong`.
    """
    found = delong(np.stack([np.asarray(first, np.float64), np.asarray(second, np.float64)]), truth, clusters)
    contrast = np.array([1.0, -1.0])
    return _difference(float(found.auc @ contrast), float(contrast @ found.covariance @ contrast))


def _difference(value: float, variance: float) -> Difference:
    # Equal scores leave a variance of rounding errors only.
    if not variance > 1e-18:
        return Difference(value, math.nan, math.nan, math.nan)
    error = math.sqrt(variance)
    return Difference(value, error, value / error, float(2.0 * norm.sf(abs(value / error))))


def _by_cluster(values: NDArray[np.float64], who: NDArray[np.integer], count: int) -> NDArray[np.float64]:
    """Sums of the columns of each cluster: (tests, rows) to (tests, clusters)."""
    return np.stack([np.bincount(who, weights=row, minlength=count) for row in values]).astype(np.float64)
