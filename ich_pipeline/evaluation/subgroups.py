"""Case figures of "any" in subgroups: scanner, slice thickness, age band, sex, lesion size. Read them as descriptions.

Bands are of fixed edges (params: ``evaluation.subgroups``), never of this test's quantiles. A subgroup with too few
positive or negative patients has no figure but a reason.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ich_pipeline.config import SubgroupParams
from ich_pipeline.dicom.makers import maker
from ich_pipeline.evaluation.cohort import TestCohort
from ich_pipeline.evaluation.metrics import Level, label_metrics
from ich_pipeline.tables.ages import age_years
from ich_pipeline.tables.masks import Masks

FIGURES = ("auc", "sensitivity", "specificity")
UNKNOWN = "not stated"


def case_facts(case_ids: Sequence[str], series: pd.DataFrame, slices: pd.DataFrame, masks: Masks) -> pd.DataFrame:
    """What the headers and masks say of each case.

    Args:
        case_ids: cases in the order wanted.
        series: the series table of ingest.
        slices: SOPInstanceUID and case_id of the cases' slices.
        masks: lesions; empty where the data has none.

    Returns:
        Index ``case_id``; Manufacturer (one spelling a maker), sex (both empty where not stated), thickness_mm, age_years, lesion_ml (NaN where
        not stated; lesion_ml also where the case has no mask).
    """
    chosen = series[series["chosen"]].drop_duplicates("case_id").set_index("case_id").reindex(list(case_ids))
    pixel_ml = chosen["row_spacing_mm"] * chosen["column_spacing_mm"] * chosen["spacing_mm"] / 1000.0
    return pd.DataFrame(
        {
            "Manufacturer": chosen["Manufacturer"].fillna("").map(maker).astype(str),
            "sex": chosen["PatientSex"].fillna("").astype(str),
            "thickness_mm": chosen["SliceThickness"].astype(float),
            "age_years": chosen["PatientAge"].fillna("").map(age_years).astype(float),
            "lesion_ml": _lesion_pixels(slices, masks).reindex(chosen.index) * pixel_ml,
        }
    )


def subgroup_rows(cohort: TestCohort, facts: pd.DataFrame, params: SubgroupParams) -> pd.DataFrame:
    """One row a subgroup.

    Args:
        cohort: the test.
        facts: of :func:`case_facts`, one row a labelled case, in the cohort's order.
        params: edges and the least number of patients.

    Returns:
        Columns ``variable``, ``group``, ``cases``, ``patients``, ``positives`` (cases), each of :data:`FIGURES` with
        ``_low`` and ``_high`` (intervals by patient), ``reason``. Sensitivity and specificity are those of the case
        decision. Lesion size divides the positives only: the negatives are the same in each of its rows.
    """
    positive = cohort.case_truth[:, 0] == 1
    rows: list[dict[str, Any]] = [_row(cohort, "all", "all cases", np.ones(len(positive), bool), params)]
    for variable, column in (("Manufacturer", "Manufacturer"), ("sex", "sex")):
        values = facts[column].to_numpy(str)
        for value in sorted(set(values), key=lambda v: (v == "", v)):
            rows.append(_row(cohort, variable, value or UNKNOWN, values == value, params))
    for variable, edges, unit in (
        ("slice thickness", params.thickness_mm, "mm"),
        ("age", params.age_years, "years"),
        ("lesion size", params.lesion_ml, "mL"),
    ):
        values = facts[{"slice thickness": "thickness_mm", "age": "age_years", "lesion size": "lesion_ml"}[variable]]
        for name, members in bands(values.to_numpy(float), edges, unit).items():
            if variable == "lesion size":
                if name == UNKNOWN:
                    name = "without a mask"
                if not (members & positive).any():
                    continue
                members = (members & positive) | ~positive
            rows.append(_row(cohort, variable, name, members, params))
    return pd.DataFrame(rows)


def bands(values: NDArray[np.float64], edges: Sequence[float], unit: str) -> dict[str, NDArray[np.bool_]]:
    """Members of each band that has one; a value at an edge is in the band above it. NaN is a band of its own."""
    found = {}
    for low, high in zip((-math.inf, *edges), (*edges, math.inf), strict=True):
        members = (values >= low) & (values < high)
        if members.any():
            name = (
                f"below {high:g}"
                if low == -math.inf
                else f"{low:g} and above"
                if high == math.inf
                else f"{low:g} to below {high:g}"
            )
            found[f"{name} {unit}"] = members
    if np.isnan(values).any():
        found[UNKNOWN] = np.isnan(values)
    return found


def _row(
    cohort: TestCohort, variable: str, group: str, members: NDArray[np.bool_], params: SubgroupParams
) -> dict[str, Any]:
    truth, patients = cohort.case_truth[members, 0], cohort.cases.patients[members]
    row: dict[str, Any] = {
        "variable": variable,
        "group": group,
        "cases": int(members.sum()),
        "patients": len(np.unique(patients)),
        "positives": int(truth.sum()),
    }
    few = {
        name: f"{found} patients with a {name} case, {params.minimum_patients} are needed"
        for name, value in (("positive", 1), ("negative", 0))
        if (found := len(np.unique(patients[truth == value]))) < params.minimum_patients
    }
    needs = {"auc": ("positive", "negative"), "sensitivity": ("positive",), "specificity": ("negative",)}
    entries = _figures(cohort, members) if len(few) < 2 else {}
    reasons = []
    for name in FIGURES:
        missing = next((few[c] for c in needs[name] if c in few), None)
        entry: Mapping[str, Any] = {"value": None, "low": None, "high": None} if missing else entries[name]
        row |= {name: entry["value"], f"{name}_low": entry["low"], f"{name}_high": entry["high"]}
        reasons += [f"{name}: {reason}"] if (reason := missing or entry.get("reason")) else []
    return {**row, "reason": "; ".join(reasons)}


def _figures(cohort: TestCohort, members: NDArray[np.bool_]) -> dict[str, dict[str, Any]]:
    ensemble, cases = cohort.ensemble, cohort.cases
    eligible = None if cases.eligible is None else cases.eligible[members]
    level = Level(cases.patients[members], cases.counts, eligible, cases.not_probabilities)
    scores = cohort.reading.case_scores[cohort.labelled_cases][members, 0]
    point = ensemble.case_points[ensemble.labels.any][ensemble.decision]
    found = label_metrics(scores, cohort.case_truth[members, 0], {"decision": point}, level)
    keys = {"auc": "auc", "sensitivity": "sensitivity@decision", "specificity": "specificity@decision"}
    return {name: found[key].to_json(cohort.params.confidence) for name, key in keys.items()}


def _lesion_pixels(slices: pd.DataFrame, masks: Masks) -> pd.Series:
    """Pixels of all lesions of a case, overlapping ones once; cases without a mask are missing."""
    pixels: dict[str, int] = {}
    for uid, case in zip(slices["SOPInstanceUID"], slices["case_id"], strict=True):
        if uid in masks:
            union = np.logical_or.reduce(list(masks[uid].values()))
            pixels[case] = pixels.get(case, 0) + int(union.sum())
    return pd.Series(pixels, dtype=float)
