"""Tables of a test cohort: predictions a slice, predictions a case, failures, and the headline figures as text."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ich_pipeline.evaluation.cohort import TestCohort


def slice_table(cohort: TestCohort, slices: pd.DataFrame) -> pd.DataFrame:
    """One row a slice.

    Args:
        slices: SOPInstanceUID, case_id, patient_key of all slices that were read.

    Returns:
        These, then ``first_<label>``, ``second_<label>``, ``final_<label>`` (calibrated; ``second`` in all slices, also
        in those that keep their first score), ``reread``, ``truth_<label>`` (empty for a slice without labels);
        ``disagreement_<label>`` of the ensemble's members, where it has more than one; ``baseline_<name>_<label>`` of every
        baseline.
    """
    columns: dict[str, Any] = {name: slices[name].to_numpy() for name in ("SOPInstanceUID", "case_id", "patient_key")}
    for reading in ("first", "second", "final"):
        scores = getattr(cohort.reading, reading)
        columns |= {f"{reading}_{name}": scores[:, k] for k, name in enumerate(cohort.labels.columns)}
    columns["reread"] = cohort.reading.reread
    for k, name in enumerate(cohort.labels.columns):
        truth = pd.array([pd.NA] * len(slices), dtype="Int8")
        truth[cohort.labelled] = cohort.truth[:, k]
        columns[f"truth_{name}"] = truth.astype("int8") if cohort.labelled.all() else truth
    if cohort.reading.disagreement is not None:
        columns |= _by_label(cohort, "disagreement", cohort.reading.disagreement.slices)
    for baseline in cohort.baselines:
        columns |= _by_label(cohort, baseline_prefix(baseline.name), baseline.scores)
    return pd.DataFrame(columns)


def case_table(cohort: TestCohort, slices: pd.DataFrame) -> pd.DataFrame:
    """One row a case with a labelled slice.

    Columns ``case_id``, ``patient_key``, ``first_<label>`` and ``final_<label>`` (case scores), ``let_through`` (the
    first reading found a suspicious slice), ``decision``, ``set_<label>`` (the conformal set in one word),
    ``disagreement_<label>`` and ``baseline_<name>_<label>`` as in :func:`slice_table`, ``truth_<label>``.
    """
    kept = cohort.labelled_cases
    firsts = pd.DataFrame({"case": cohort.case_index, **{c: slices[c].to_numpy() for c in ("case_id", "patient_key")}})
    of_case = firsts.drop_duplicates("case").sort_values("case")[["case_id", "patient_key"]].reset_index(drop=True)
    columns: dict[str, Any] = {}
    for reading, scores in (("first", cohort.reading.first_case_scores), ("final", cohort.reading.case_scores)):
        columns |= {f"{reading}_{name}": scores[:, k] for k, name in enumerate(cohort.labels.columns)}
    columns |= {"let_through": cohort.reading.let_through, "decision": cohort.reading.decisions}
    known = cohort.ensemble.uncertainty
    if known is not None:
        columns |= {
            f"set_{name}": known.cases[name].words(cohort.reading.case_scores[:, k])
            for k, name in enumerate(cohort.labels.columns)
        }
    if cohort.reading.disagreement is not None:
        columns |= _by_label(cohort, "disagreement", cohort.reading.disagreement.cases)
    for name, scores in cohort.baseline_cases.items():
        columns |= _by_label(cohort, baseline_prefix(name), scores)
    table = pd.concat([of_case, pd.DataFrame(columns)], axis=1).loc[kept].reset_index(drop=True)
    return table.assign(**{f"truth_{name}": cohort.case_truth[:, k] for k, name in enumerate(cohort.labels.columns)})


def baseline_prefix(name: str) -> str:
    """What the columns of a baseline's scores begin with."""
    return f"baseline_{name}"


def _by_label(cohort: TestCohort, prefix: str, values: NDArray[np.float64]) -> dict[str, NDArray[np.float64]]:
    return {f"{prefix}_{name}": values[:, k] for k, name in enumerate(cohort.labels.columns)}


def key_figures(metrics: Mapping[str, Any], level: str) -> pd.DataFrame:
    """Label × n, positives, prevalence, AUC, average precision, with intervals as text, for people."""
    rows = []
    for label, found in metrics[level].items():
        rows.append(
            {
                "label": label,
                "positives": ""
                if label == "mean"
                else f"{found['positives']['value']:.0f} of {found['n']['value']:.0f}",
                "prevalence": as_text(found["prevalence"]),
                "AUC": as_text(found["auc"]),
                "AP": as_text(found["ap"]),
            }
        )
    return pd.DataFrame(rows)


def as_text(entry: Mapping[str, Any]) -> str:
    """``0.912 (0.880–0.941)``, the value alone where it has no interval, or the reason."""
    if entry["value"] is None or np.isnan(entry["value"]):
        return f"not estimable: {entry['reason']}"
    if entry["low"] is None:
        return f"{entry['value']:.3f}"
    return f"{entry['value']:.3f} ({entry['low']:.3f}–{entry['high']:.3f})"


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
