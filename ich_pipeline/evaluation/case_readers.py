"""The system beside the readers of ``data/readers.csv`` on a test's cases."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

import numpy as np

from ich_pipeline.core.errors import InputError
from ich_pipeline.dicom.identity import case_id
from ich_pipeline.evaluation.cohort import TestCohort
from ich_pipeline.evaluation.readers import Decisions, compare_readers
from ich_pipeline.tables.reader_tables import MISSING, Reads


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
