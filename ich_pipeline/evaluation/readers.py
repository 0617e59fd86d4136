"""A system beside human readers on the same cases: points, differences, non-inferiority with a stated margin.

P values and intervals of decisions take cases as independent; those of areas are by patient. Nothing is adjusted for the
number of readers.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ich_pipeline.evaluation.agreement import cohen_kappa, mcnemar, paired_difference, two_by_two
from ich_pipeline.evaluation.curves import roc_curve
from ich_pipeline.evaluation.delong import auc_interval, delong, paired_test
from ich_pipeline.evaluation.proportions import wilson

MINIMUM = 2  # of positives and of negatives that a reader must have read


@dataclass(frozen=True)
class Decisions:
    """A system and the truth of one finding.

    Attributes:
        scores: to rank by, shape (rows,); -inf is what can never be called.
        called: the system's decisions, shape (rows,); None where it has none.
        truth: 0 and 1, shape (rows,).
        patients: whose each row is, shape (rows,).
    """

    scores: NDArray[np.float64]
    called: NDArray[np.bool_] | None
    truth: NDArray[np.integer]
    patients: NDArray[np.integer]

    def of(self, rows: NDArray[np.bool_]) -> Decisions:
        """Some of the rows."""
        called = None if self.called is None else self.called[rows]
        return Decisions(self.scores[rows], called, self.truth[rows], self.patients[rows])


def compare_readers(
    names: Sequence[str], reads: NDArray[np.int8], system: Decisions, margin: float, confidence: float
) -> list[dict[str, Any]]:
    """One entry a reader who decided on at least one row.

    Args:
        names: shape (readers,).
        reads: 1, 0, or -1 where there is no read, shape (rows, readers).
        system: rows with a truth.
        margin: how much lower the system's sensitivity or specificity may be and still be called non-inferior.
        confidence: of the two-sided intervals; the test of non-inferiority is one-sided at half of the rest.

    Returns:
        JSON values: ``reader``, ``n``, ``positives``, counts, ``sensitivity`` and ``specificity`` (Wilson), ``auc`` of the
        system, of the reader (one threshold: the mean of the two) and their ``difference`` (DeLong),
        ``system_sensitivity_at_this_specificity``, and, where the system decides, ``kappa``, ``mcnemar`` and
        ``noninferiority``. With too few positives or negatives: ``reason`` in the place of all figures.
    """
    entries = []
    for r, name in enumerate(names):
        read = reads[:, r] >= 0
        if read.any():
            entries.append({"reader": name, **_compare(reads[read, r] == 1, system.of(read), margin, confidence)})
    return entries


def _compare(reader: NDArray[np.bool_], system: Decisions, margin: float, confidence: float) -> dict[str, Any]:
    truth = system.truth == 1
    positives, negatives = int(truth.sum()), int((~truth).sum())
    entry: dict[str, Any] = {"n": len(truth), "positives": positives}
    if min(positives, negatives) < MINIMUM:
        return {
            **entry,
            "reason": f"{positives} positives and {negatives} negatives read: {MINIMUM} of each are needed",
        }
    hits, rejections = int((reader & truth).sum()), int((~reader & ~truth).sum())
    entry |= {
        "true_positives": hits,
        "false_negatives": positives - hits,
        "false_positives": negatives - rejections,
        "true_negatives": rejections,
        "sensitivity": _share(hits, positives, confidence),
        "specificity": _share(rejections, negatives, confidence),
        "auc": _areas(reader, system, confidence),
        "system_sensitivity_at_this_specificity": _sensitivity_at(system, rejections / negatives),
    }
    if system.called is None:
        return entry
    agreement = cohen_kappa(two_by_two(system.called, reader))
    groups = {"sensitivity": (truth, system.called, reader), "specificity": (~truth, ~system.called, ~reader)}
    entry |= {
        "kappa": {"value": _finite(agreement.value), **_bounds(agreement.interval(confidence))},
        "mcnemar": {name: _mcnemar(ours[of], theirs[of]) for name, (of, ours, theirs) in groups.items()},
        "noninferiority": {
            "margin": margin,
            **{
                name: _noninferiority(ours[of], theirs[of], margin, confidence)
                for name, (of, ours, theirs) in groups.items()
            },
        },
    }
    if len(np.unique(system.patients)) < len(system.patients):
        entry["note"] = "some patients have several cases: the tests of decisions take cases as independent"
    return entry


def _share(successes: int, trials: int, confidence: float) -> dict[str, Any]:
    return {"value": successes / trials, **_bounds(wilson(successes, trials, confidence)), "method": "wilson"}


def _areas(reader: NDArray[np.bool_], system: Decisions, confidence: float) -> dict[str, Any]:
    found = delong(np.stack([system.scores, reader.astype(np.float64)]), system.truth, system.patients)
    areas = {
        name: {
            "value": float(found.auc[i]),
            **_bounds(auc_interval(float(found.auc[i]), float(found.covariance[i, i]), confidence)),
        }
        for i, name in enumerate(("system", "reader"))
    }
    test = paired_test(system.scores, reader.astype(np.float64), system.truth, system.patients)
    difference = {"value": test.value, **_bounds(test.interval(confidence)), "p": _finite(test.p)}
    return {**areas, "difference": difference, "method": "delong"}


def _sensitivity_at(system: Decisions, specificity: float) -> float:
    """The highest sensitivity of a threshold whose specificity is no lower."""
    false, true = roc_curve(system.scores, system.truth)
    return float(true[false <= 1.0 - specificity + 1e-12].max())


def _mcnemar(ours: NDArray[np.bool_], theirs: NDArray[np.bool_]) -> dict[str, Any]:
    found = mcnemar(int((ours & ~theirs).sum()), int((theirs & ~ours).sum()))
    return {
        "system_alone_right": found.only_first,
        "reader_alone_right": found.only_second,
        "exact_p": found.exact,
        "mid_p": found.mid_p,
        "chi2": found.statistic,
        "chi2_p": found.chi2,
    }


def _noninferiority(
    ours: NDArray[np.bool_], theirs: NDArray[np.bool_], margin: float, confidence: float
) -> dict[str, Any]:
    difference = paired_difference(ours, theirs)
    low, high = difference.interval(confidence)
    return {
        "difference": difference.value,
        "low": low,
        "high": high,
        "p": difference.noninferiority_p(margin),
        "noninferior": low > -margin,
        "method": "tango",
    }


def _bounds(bounds: tuple[float, float] | None) -> dict[str, float | None]:
    low, high = bounds or (None, None)
    return {"low": low, "high": high}


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None
