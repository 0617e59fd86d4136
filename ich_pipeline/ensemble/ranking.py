"""AUC and average precision from one sort, for any number of weightings at once.

A bootstrap replicate is a weighting of the slices (how often each one's patient was drawn), so a thousand replicates
need one sort and a few cumulative sums. The definitions are scikit-learn's (``roc_auc_score``,
``average_precision_score``: ties form one step; no interpolation of precision).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

_Measure = Callable[[NDArray[np.float64], NDArray[np.float64]], NDArray[np.float64]]

# One patient's slices tell nothing of the next patient: a finding in fewer has no part in a mean over findings.
MINIMUM_POSITIVE_PATIENTS = 2
JACKKNIFE_GROUPS = 500
# Elements of the largest temporary (weightings × slices): 32 MB of float64.
_CHUNK = 4_000_000


class Ranked:
    """Scores of one label, sorted once.

    Args:
        scores: shape (n,), higher is more suspicious.
        truth: shape (n,), 0 or 1.
    """

    def __init__(self, scores: ArrayLike, truth: ArrayLike) -> None:
        values = np.asarray(scores, dtype=np.float64)
        self._order = np.argsort(-values, kind="stable")
        ordered = values[self._order]
        # Last position of every run of equal scores.
        self._ends = (
            np.flatnonzero(np.append(ordered[1:] != ordered[:-1], True)) if len(ordered) else np.array([], dtype=int)
        )
        self._positive = np.asarray(truth, dtype=np.float64)[self._order]
        self.thresholds: NDArray[np.float64] = ordered[self._ends]

    def counts(self, weights: NDArray[np.floating] | None = None) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Weighted true and false positives at every distinct threshold, from the highest down.

        Args:
            weights: shape (replicates, n), or (n,); None weighs every slice 1.

        Returns:
            Two arrays of shape (replicates, thresholds), or (thresholds,).
        """
        if weights is None:
            ordered = np.ones(len(self._order))
        else:
            ordered = np.asarray(weights, dtype=np.float64)[..., self._order]
        true = np.cumsum(ordered * self._positive, axis=-1)[..., self._ends]
        false = np.cumsum(ordered * (1.0 - self._positive), axis=-1)[..., self._ends]
        return true, false

    def auc(self, weights: NDArray[np.floating] | None = None) -> NDArray[np.float64]:
        """Area under the ROC curve; NaN where one class has no weight. Shape () or (replicates,)."""
        return self._chunked(_auc, weights)

    def average_precision(self, weights: NDArray[np.floating] | None = None) -> NDArray[np.float64]:
        """Average precision; NaN where no positive has weight. Shape () or (replicates,)."""
        return self._chunked(_average_precision, weights)

    def measures(self, names: Sequence[str], weights: NDArray[np.floating] | None = None) -> NDArray[np.float64]:
        """Some of ``auc`` and ``ap`` (average precision) from one count: shape (names,) or (replicates, names)."""
        return self._chunked(lambda *counts: np.stack([_MEASURES[name](*counts) for name in names], axis=-1), weights)

    def _chunked(self, measure: _Measure, weights: NDArray[np.floating] | None) -> NDArray[np.float64]:
        if weights is None or weights.ndim == 1:
            return measure(*self.counts(weights))
        rows = max(1, _CHUNK // max(1, len(self._order)))
        return np.concatenate([measure(*self.counts(weights[i : i + rows])) for i in range(0, len(weights), rows)])


def _auc(true: NDArray[np.float64], false: NDArray[np.float64]) -> NDArray[np.float64]:
    before = np.concatenate([np.zeros_like(true[..., :1]), true[..., :-1]], axis=-1)
    steps = np.diff(false, axis=-1, prepend=0.0)
    area = (steps * (true + before)).sum(axis=-1) / 2.0
    with np.errstate(divide="ignore", invalid="ignore"):
        return area / (true[..., -1] * false[..., -1])


def _average_precision(true: NDArray[np.float64], false: NDArray[np.float64]) -> NDArray[np.float64]:
    called = true + false
    # Before the first weighted slice nothing is called: that step has no true positives either.
    precision = np.divide(true, called, out=np.zeros_like(true), where=called > 0)
    with np.errstate(divide="ignore", invalid="ignore"):
        return (np.diff(true, axis=-1, prepend=0.0) * precision).sum(axis=-1) / true[..., -1]


_MEASURES: Mapping[str, _Measure] = {"auc": _auc, "ap": _average_precision}


def estimable(truth: NDArray[np.integer], patients: NDArray[np.integer]) -> NDArray[np.bool_]:
    """Which labels have positives in at least :data:`MINIMUM_POSITIVE_PATIENTS` patients.

    Args:
        truth: 0 and 1, shape (slices, labels).
        patients: patient of each slice, shape (slices,).

    Returns:
        Shape (labels,).
    """
    return np.array([len(np.unique(patients[column == 1])) >= MINIMUM_POSITIVE_PATIENTS for column in truth.T])


def mean_average_precision(
    scores: NDArray[np.floating],
    truth: NDArray[np.integer],
    patients: NDArray[np.integer],
    weights: NDArray[np.floating] | None = None,
) -> NDArray[np.float64]:
    """Unweighted mean of the average precision over the :func:`estimable` columns; NaN where none is.

    Args:
        scores: shape (slices, subtypes).
        truth: 0 and 1, the same shape.
        patients: patient of each slice, shape (slices,).
        weights: shape (replicates, slices); None weighs every slice 1. Which columns count does not depend on them; in a
            replicate, those that have a positive left.

    Returns:
        Shape () or (replicates,).
    """
    used = np.flatnonzero(estimable(truth, patients))
    each = [Ranked(scores[:, k], truth[:, k]).average_precision(weights) for k in used]
    if not each:
        return np.full(() if weights is None else len(weights), np.nan)
    return np.mean(each, axis=0) if weights is None else np.nanmean(each, axis=0)


def jackknife_weights(patients: NDArray[np.integer]) -> NDArray[np.float64]:
    """Weights (replicates, rows), each leaving out one patient, or one of :data:`JACKKNIFE_GROUPS` groups of more patients.

    Args:
        patients: patient of each row, shape (rows,).
    """
    group = np.unique(patients, return_inverse=True)[1] % JACKKNIFE_GROUPS
    return (np.arange(int(group.max()) + 1)[:, None] != group).astype(np.float64)


def jackknife_error(differences: NDArray[np.float64]) -> float:
    """Standard error of a difference from those of the replicates of :func:`jackknife_weights`; NaN where one is."""
    count = len(differences)
    return float(np.sqrt((count - 1) / count * ((differences - differences.mean()) ** 2).sum()))
