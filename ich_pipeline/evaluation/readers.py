"""A system beside human readers on the same cases: points, differences, non-inferiority with a stated margin.

P values and intervals of decisions take cases as independent; those of areas are by patient. Nothing is adjusted for the
number of readers.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ich_pipeline.core.errors import InputError
from ich_pipeline.dicom.identity import case_id
from ich_pipeline.evaluation.agreement import cohen_kappa, two_by_two
from ich_pipeline.evaluation.cohort import TestCohort
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
from ich_pipeline.tables.reader_tables import MISSING, Reads


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


def readers_of_test(
    reads: Reads | None, cohort: TestCohort, case_ids: Sequence[str], others: Collection[str]
) -> dict[str, Any]:
    """Compare at the operating point of the case decision.

    Args:
        reads: of ``data/readers.csv``, cases by case_id or StudyInstanceUID; None where nobody read.
        cohort: the test.
        case_ids: of its labelled cases, in order.
        others: case_ids of the other cohorts, and of this one's cases without labels.

    Returns:
        ``labels`` (label to entries of :func:`~ich_pipeline.evaluation.readers.compare_readers`) and ``cases``: how many of
        the table's cases are ``in_this_test``, ``not_evaluated_here``, ``unknown``.

    Raises:
        InputError: the table names a finding that is no label, or a case by both its names with two decisions.
    """
    if reads is None:
        return {"labels": {}, "cases": {"in_this_test": 0, "not_evaluated_here": 0, "unknown": 0}}
    strangers = [name for name in reads.labels if name not in cohort.labels.columns]
    if strangers:
        raise InputError(
            f"data/readers.csv, column label: {strangers[0]!r} is none of {', '.join(cohort.labels.columns)}: mend it."
        )
    places = {name: i for i, name in enumerate(case_ids)}
    aligned = np.full((len(case_ids), len(reads.readers), len(reads.labels)), MISSING, dtype=np.int8)
    inside, elsewhere, unknown = set(), set(), set()
    for named, decided in zip(reads.cases, reads.reads, strict=True):
        name = named if named in places or named in others else case_id(named)
        if name not in places:
            (elsewhere if name in others else unknown).add(name)
            continue
        inside.add(name)
        row, given = aligned[places[name]], decided != MISSING
        if (given & (row != MISSING)).any():
            raise InputError(
                f"data/readers.csv: a reader decided twice on case {name}, once by its case_id and once by its "
                "StudyInstanceUID: keep one row."
            )
        row[given] = decided[given]
    account = {"in_this_test": len(inside), "not_evaluated_here": len(elsewhere), "unknown": len(unknown)}
    params = cohort.params
    entries = {
        name: compare_readers(
            reads.readers, aligned[:, :, k], _decisions(cohort, name), params.noninferiority_margin, params.confidence
        )
        for k, name in enumerate(reads.labels)
    }
    return {"labels": {name: found for name, found in entries.items() if found}, "cases": account}


def _decisions(cohort: TestCohort, label: str) -> Decisions:
    column, ensemble = cohort.labels.index(label), cohort.ensemble
    scores = cohort.cases.ranking(cohort.reading.case_scores[cohort.labelled_cases][:, column])
    threshold = ensemble.case_points[label][ensemble.decision].threshold
    called = None if threshold is None else scores >= threshold
    return Decisions(scores, called, cohort.case_truth[:, column], cohort.cases.patients)
