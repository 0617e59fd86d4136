"""The ablation: single window → multi-window → with slice interpolation → ensemble, on one test cohort.

A network with a sequence head has a row for it as well. The head reads slices without interpolation, so its gain is over
the network alone, "multi-window".

A baseline (a reader without a trained network) has a row before all others, with the system's gain over it.

Every row is measured on the same slices with the same bootstrap draws, so the gain over the row before it is a paired
difference; the gain in AUC has DeLong's paired test beside it, by patient. ``ensemble`` is the system's final score, as
the metrics report it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ich_pipeline.evaluation.baselines import baseline_rows
from ich_pipeline.evaluation.cohort import RankingSummary, TestCohort, ranking_summary
from ich_pipeline.evaluation.delong import paired_test
from ich_pipeline.evaluation.metrics import Estimate
from ich_pipeline.sequence.member import architecture_of, has_head

STEPS = ("single window", "multi-window", "with slice interpolation", "ensemble")
SEQUENCE = "with sequence head"


@dataclass(frozen=True)
class _Measured:
    """Scores of one row; a gain is over such a one."""

    name: str
    of_any: NDArray[np.floating]  # labelled slices
    summary: RankingSummary

    @classmethod
    def of(cls, name: str, scores: NDArray[np.floating], cohort: TestCohort) -> _Measured:
        kept = scores[cohort.labelled]
        return cls(name, kept[:, 0], ranking_summary(kept, cohort.truth, cohort.slices))


def ablation_rows(
    cohort: TestCohort,
    single_window: Mapping[str, NDArray[np.floating]],
    baselines: Mapping[str, Mapping[str, Any]] | None = None,
) -> pd.DataFrame:
    """One row for each baseline, for each architecture and step, for each sequence head, and for the ensemble.

    Args:
        cohort: with a reading that was made ``everywhere``.
        single_window: by architecture, probabilities (slices, labels) of the network with a single window, degree 0.
        baselines: the test's block of metrics.json (:func:`~.baselines.baselines_of_test`).

    Returns:
        Columns ``architecture``, ``step``, ``gain_over``, then ``mean_ap``, ``mean_ap_low``, ``mean_ap_high``, the same
        for ``auc_any``, and the gains (``mean_ap_gain``, …) over the row that ``gain_over`` names: the step before, for a
        sequence head the network alone, and for the ensemble the interpolated step of the first architecture in
        ``single_window``. That one is named before the test is read; the best on this test would be chosen by its labels.
        ``auc_any_gain_p``: DeLong, two-sided. Baselines have more columns (:func:`~.baselines.baseline_rows`), no gain, and in them the
        ensemble's gain over them. Empty where the data cannot give a figure; ``reason`` says why.
    """
    rows = baseline_rows(baselines or {})
    last: dict[str, _Measured] = {}
    alone: dict[str, _Measured] = {}
    for name, single in single_window.items():
        scores = (single, cohort.reading.original[name], cohort.reading.interpolated[name])
        before: _Measured | None = None
        for step, each in zip(STEPS[:3], scores, strict=True):
            measured = _Measured.of(f"{name}, {step}", each, cohort)
            rows.append(_row(name, step, measured, before, cohort))
            before = last[name] = measured
            if step == STEPS[1]:
                alone[name] = measured
    for member in filter(has_head, cohort.reading.original):
        name = architecture_of(member)
        if name not in alone:
            alone[name] = _Measured.of(f"{name}, {STEPS[1]}", cohort.reading.original[name], cohort)
            rows.append(_row(name, STEPS[1], alone[name], None, cohort))
        measured = _Measured.of(f"{name}, {SEQUENCE}", cohort.reading.original[member], cohort)
        rows.append(_row(name, SEQUENCE, measured, alone[name], cohort))
    final = _Measured.of("ensemble", cohort.reading.final, cohort)
    rows.append(_row("ensemble", STEPS[3], final, next(iter(last.values()), None), cohort))
    return pd.DataFrame(rows, columns=list(dict.fromkeys(key for row in reversed(rows) for key in row)))


def _row(
    architecture: str, step: str, measured: _Measured, before: _Measured | None, cohort: TestCohort
) -> dict[str, Any]:
    confidence = cohort.params.confidence
    summary = measured.summary
    row: dict[str, Any] = {"architecture": architecture, "step": step, "gain_over": before.name if before else ""}
    reasons = []
    for key in ("mean_ap", "auc_any"):
        estimate: Estimate = getattr(summary, key)
        gain = estimate.gain_over(getattr(before.summary, key)) if before else None
        for name, found in ((key, estimate), (f"{key}_gain", gain)):
            entry = found.to_json(confidence) if found else {"value": None, "low": None, "high": None}
            row |= {name: entry["value"], f"{name}_low": entry["low"], f"{name}_high": entry["high"]}
            reasons += [f"{name}: {entry['reason']}"] if entry.get("reason") else []
    p = None
    if before is not None and row["auc_any_gain"] is not None:
        p = paired_test(measured.of_any, before.of_any, cohort.truth[:, 0], cohort.slices.patients).p
    return {**row, "auc_any_gain_p": p, "reason": "; ".join(reasons)}
