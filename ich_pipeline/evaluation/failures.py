"""The cases that the system gets wrong, worst first."""

from __future__ import annotations

import numpy as np
import pandas as pd

from ich_pipeline.evaluation.cohort import TestCohort

COLUMNS = ("kind", "case_id", "score", "threshold", "let_through", "findings")


def case_failures(cohort: TestCohort, cases: pd.DataFrame) -> pd.DataFrame:
    """Misses from the lowest score of "any" up, then false alarms from the highest down.

    Args:
        cohort: the test.
        cases: its case table (:func:`~ich_pipeline.evaluation.tables.case_table`).

    Returns:
        :data:`COLUMNS`: ``kind`` (``false negative``, ``false positive``), ``score`` and ``threshold`` of the case
        decision, ``let_through`` (0: the first reading stopped it, whatever its score), ``findings`` (true subtypes).
    """
    labels = cohort.labels
    point = cohort.ensemble.case_points[labels.any][cohort.ensemble.decision]
    truth, called = cases[f"truth_{labels.any}"].to_numpy() == 1, cases["decision"].to_numpy(bool)
    scores = cases[f"final_{labels.any}"].to_numpy(np.float64)
    # A case that was stopped was not even read twice: no score speaks against that.
    severity = np.where(cases["let_through"].to_numpy(bool), scores, scores - 1.0)
    rows = []
    for kind, wrong, order in (
        ("false negative", truth & ~called, severity),
        ("false positive", ~truth & called, -scores),
    ):
        members = np.flatnonzero(wrong)
        for i in members[np.argsort(order[members], kind="stable")]:
            present = [name for name in labels.subtypes if cases[f"truth_{name}"].iloc[i] == 1]
            row = (kind, cases["case_id"].iloc[i], scores[i], point.threshold, int(cases["let_through"].iloc[i]))
            rows.append((*row, " ".join(present)))
    return pd.DataFrame(rows, columns=list(COLUMNS))
