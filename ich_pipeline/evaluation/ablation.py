"""The ablation: single window → multi-window → + slice interpolation → ensemble, on one test cohort.

Every row is measured on the same slices with the same bootstrap draws, so the gain over the row before it is a paired
difference. ``ensemble`` is the system's final score, as the metrics report it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ich_pipeline.evaluation.cohort import RankingSummary, TestCohort, ranking_summary
from ich_pipeline.evaluation.metrics import Estimate

STEPS = ("single window", "multi-window", "+ slice interpolation", "ensemble")


@dataclass(frozen=True)
class _Before:
    """The row that a gain is over."""

    name: str
    summary: RankingSummary


def ablation_rows(cohort: TestCohort, single_window: Mapping[str, NDArray[np.floating]]) -> pd.DataFrame:
    """One row for each architecture and step, and one for the ensemble.

    Args:
        cohort: with a reading that was made ``everywhere``.
        single_window: by architecture, probabilities (slices, labels) of the network with a single window, degree 0.

    Returns:
        Columns ``architecture``, ``step``, ``gain_over``, then ``mean_ap``, ``mean_ap_low``, ``mean_ap_high``, the same
        for ``auc_any``, and the gains (``mean_ap_gain``, …) over the row that ``gain_over`` names: the step before, and
        for the ensemble the last step of the first architecture in ``single_window``. That one is named before the test
        is read; the best on this test would be chosen by its labels. Empty where the data cannot give a figure;
        ``reason`` says why.
    """
    rows: list[dict[str, Any]] = []
    last: dict[str, _Before] = {}
    for name, single in single_window.items():
        scores = (single, cohort.reading.original[name], cohort.reading.interpolated[name])
        before: _Before | None = None
        for step, each in zip(STEPS[:3], scores, strict=True):
            summary = ranking_summary(each[cohort.labelled], cohort.truth, cohort.slices)
            rows.append(_row(name, step, summary, before, cohort.params.confidence))
            before = last[name] = _Before(f"{name}, {step}", summary)
    summary = ranking_summary(cohort.reading.final[cohort.labelled], cohort.truth, cohort.slices)
    rows.append(_row("ensemble", STEPS[3], summary, next(iter(last.values()), None), cohort.params.confidence))
    return pd.DataFrame(rows)


def _row(
    architecture: str, step: str, summary: RankingSummary, before: _Before | None, confidence: float
) -> dict[str, Any]:
    row: dict[str, Any] = {"architecture": architecture, "step": step, "gain_over": before.name if before else ""}
    reasons = []
    for key in ("mean_ap", "auc_any"):
        estimate: Estimate = getattr(summary, key)
        for name, found in ((key, estimate), (f"{key}_gain", _gain(estimate, before and getattr(before.summary, key)))):
            entry = found.to_json(confidence) if found else {"value": None, "low": None, "high": None}
            row |= {name: entry["value"], f"{name}_low": entry["low"], f"{name}_high": entry["high"]}
            reasons += [f"{name}: {entry['reason']}"] if entry.get("reason") else []
    return {**row, "reason": "; ".join(reasons)}


def _gain(after: Estimate, before: Estimate | None) -> Estimate | None:
    if before is None:
        return None
    if after.value is None or before.value is None:
        return Estimate(None, reason=after.reason or before.reason)
    if after.replicates is None or before.replicates is None:
        return Estimate(after.value - before.value, reason=after.reason or before.reason)
    return Estimate(after.value - before.value, after.replicates - before.replicates)
