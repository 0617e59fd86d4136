"""The system beside baselines on the same rows: paired differences, by patient. A positive difference favours the system."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ich_pipeline.evaluation.cohort import TestCohort, ranking_summary
from ich_pipeline.evaluation.delong import paired_test
from ich_pipeline.evaluation.metrics import Estimate, Level, ranking_metrics

FIGURES = ("slice_auc_any", "mean_ap", "case_auc_any")
DIFFERENCE = "difference"
STEP = "baseline"  # of the ablation
COLUMNS = {"mean_ap": "mean_ap", "slice_auc_any": "auc_any", "case_auc_any": "case_auc_any"}  # figure to column there


@dataclass(frozen=True)
class Ranked:
    """Scores of one reader on a test's rows.

    Attributes:
        slices: (labelled slices, labels), label 0 being "any".
        cases: of "any", (labelled cases,).
        of_slices, of_cases: whose the rows are, with the same draws for every reader.
    """

    slices: NDArray[np.floating]
    cases: NDArray[np.floating]
    of_slices: Level
    of_cases: Level

    def estimates(self, truth: NDArray[np.integer], case_truth: NDArray[np.integer]) -> dict[str, Estimate]:
        """By :data:`FIGURES`."""
        summary = ranking_summary(self.slices, truth, self.of_slices)
        of_cases = ranking_metrics(np.asarray(self.cases, np.float64), case_truth, self.of_cases, ["auc"])
        return {"slice_auc_any": summary.auc_any, "mean_ap": summary.mean_ap, "case_auc_any": of_cases["auc"]}


def compare(
    system: Ranked,
    others: Mapping[str, Ranked],
    truth: NDArray[np.integer],
    case_truth: NDArray[np.integer],
    confidence: float,
) -> dict[str, dict[str, Any]]:
    """Figures of each baseline, and the system's less the baseline's.

    Args:
        truth: (labelled slices, labels).
        case_truth: of "any", (labelled cases,).

    Returns:
        JSON values: by baseline the entries of :data:`FIGURES`, and ``difference`` with the same keys, each with ``value``, ``low`` and
        ``high``, those of an area also with DeLong's two-sided ``p`` (by patient).
    """
    ours = system.estimates(truth, case_truth) if others else {}
    found = {}
    for name, other in others.items():
        theirs = other.estimates(truth, case_truth)
        gains = {key: ours[key].gain_over(theirs[key]).to_json(confidence) for key in FIGURES}
        for key, first, second, of, level in (
            ("slice_auc_any", system.slices[:, 0], other.slices[:, 0], truth[:, 0], "of_slices"),
            ("case_auc_any", system.cases, other.cases, case_truth, "of_cases"),
        ):
            a, b = getattr(system, level), getattr(other, level)
            gains[key]["p"] = _p(a.ranking(first), b.ranking(second), of, a.patients, gains[key]["value"])
        found[name] = {**{key: theirs[key].to_json(confidence) for key in FIGURES}, DIFFERENCE: gains}
    return found


def _p(
    first: NDArray[np.floating],
    second: NDArray[np.floating],
    truth: NDArray[np.integer],
    patients: NDArray[np.integer],
    difference: float | None,
) -> float | None:
    if difference is None:
        return None
    p = paired_test(first, second, truth, patients).p
    return p if np.isfinite(p) else None


def baselines_of_test(cohort: TestCohort) -> dict[str, dict[str, Any]]:
    """The block ``baselines`` of a test's metrics.json: :func:`compare`, with ``title`` and ``how`` of each.

    A baseline's cases are scored by the ensemble's rule; it has no first reading that could hold a case back.
    """
    kept, labelled = cohort.labelled_cases, cohort.labelled
    free = Level(cohort.cases.patients, cohort.counts)
    others = {
        b.name: Ranked(
            b.scores[labelled],
            cohort.baseline_cases[b.name][kept, 0],
            cohort.slices,
            free,
        )
        for b in cohort.baselines
    }
    reading = cohort.reading
    system = Ranked(reading.final[labelled], reading.case_scores[kept, 0], cohort.slices, cohort.cases)
    found = compare(system, others, cohort.truth, cohort.case_truth[:, 0], cohort.params.confidence)
    return {b.name: {"title": b.title, "how": b.how, **found[b.name]} for b in cohort.baselines}


def baseline_rows(block: Mapping[str, Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Rows of the ablation, one a baseline, from the block of metrics.json.

    Its own ``mean_ap``, ``auc_any`` (slices) and ``case_auc_any``; the system's less its own as ``system_gain_<figure>``, with ``_low``,
    ``_high`` and, of areas, ``_p``.
    """
    return [_row(found) for found in block.values()]


def _row(found: Mapping[str, Any]) -> dict[str, Any]:
    row: dict[str, Any] = {"architecture": found["title"], "step": STEP, "gain_over": ""}
    reasons = []
    for key, column in COLUMNS.items():
        for name, entry in ((column, found[key]), (f"system_gain_{column}", found[DIFFERENCE][key])):
            row |= {name: entry["value"], f"{name}_low": entry["low"], f"{name}_high": entry["high"]}
            reasons += [f"{name}: {entry['reason']}"] if entry.get("reason") else []
        if "p" in found[DIFFERENCE][key]:
            row[f"system_gain_{column}_p"] = found[DIFFERENCE][key]["p"]
    return {**row, "reason": "; ".join(reasons)}
