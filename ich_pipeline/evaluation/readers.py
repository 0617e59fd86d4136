"""A system beside human readers on the same cases: points, differences, non-inferiority with a stated margin.

P values and intervals of decisions take cases as independent; those of areas are by patient. Nothing is adjusted for the
number of readers.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ich_pipeline.evaluation.agreement import cohen_kappa, two_by_two
from ich_pipeline.evaluation.curves import roc_curve
from ich_pipeline.evaluation.delong import auc_interval, delong, paired_test
from ich_pipeline.evaluation.paired import (
    bounds,
    dependent,
    finite,
    mcnemar_entry,
    right_calls,
    share,
    tango_entry,
    too_few,
)


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
    reason = too_few(truth, "read")
    if reason:
        return {**entry, "reason": reason}
    hits, rejections = int((reader & truth).sum()), int((~reader & ~truth).sum())
    entry |= {
        "true_positives": hits,
        "false_negatives": positives - hits,
        "false_positives": negatives - rejections,
        "true_negatives": rejections,
        "sensitivity": share(hits, positives, confidence),
        "specificity": share(rejections, negatives, confidence),
        "auc": _areas(reader, system, confidence),
        "system_sensitivity_at_this_specificity": _sensitivity_at(system, rejections / negatives),
    }
    if system.called is None:
        return entry
    agreement = cohen_kappa(two_by_two(system.called, reader))
    groups = right_calls(system.called, reader, truth)
    entry |= {
        "kappa": {"value": finite(agreement.value), **bounds(agreement.interval(confidence))},
        "mcnemar": {name: mcnemar_entry(*right, ("system", "reader")) for name, right in groups.items()},
        "noninferiority": {
            "margin": margin,
            **{name: _noninferiority(*right, margin, confidence) for name, right in groups.items()},
        },
    }
    return entry | dependent(system.patients, "cases")


def _areas(reader: NDArray[np.bool_], system: Decisions, confidence: float) -> dict[str, Any]:
    found = delong(np.stack([system.scores, reader.astype(np.float64)]), system.truth, system.patients)
    areas = {
        name: {
            "value": float(found.auc[i]),
            **bounds(auc_interval(float(found.auc[i]), float(found.covariance[i, i]), confidence)),
        }
        for i, name in enumerate(("system", "reader"))
    }
    test = paired_test(system.scores, reader.astype(np.float64), system.truth, system.patients)
    difference = {"value": test.value, **bounds(test.interval(confidence)), "p": finite(test.p)}
    return {**areas, "difference": difference, "method": "delong"}


def _sensitivity_at(system: Decisions, specificity: float) -> float:
    """The highest sensitivity of a threshold whose specificity is no lower."""
    false, true = roc_curve(system.scores, system.truth)
    return float(true[false <= 1.0 - specificity + 1e-12].max())


def _noninferiority(
    ours: NDArray[np.bool_], theirs: NDArray[np.bool_], margin: float, confidence: float
) -> dict[str, Any]:
    difference, entry = tango_entry(ours, theirs, confidence)
    return {
        "difference": entry.pop("value"),
        **entry,
        "p": difference.noninferiority_p(margin),
        "noninferior": entry["low"] > -margin,
    }
