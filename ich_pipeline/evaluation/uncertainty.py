"""Whether the conformal sets cover as often as they say on a test cohort, and whether disagreement tells errors.

Coverage is counted as it is promised: one row a patient and class, drawn as in calibration, so rows are independent and
Clopper-Pearson's interval is exact. A set that is right on average need not be right after *this* calibration: with
``n`` calibration patients, of which ``k`` lie beyond the limit, the count among ``m`` new ones is Beta-Binomial with
``a = n + 1 - k`` and ``b = k`` (Marques 2023, arXiv 2303.02770). ``expected`` holds its central interval.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import betabinom

from ich_pipeline.ensemble.calibration import logit
from ich_pipeline.ensemble.conformal import (
    ABSENT,
    NEITHER,
    PRESENT,
    UNDECIDED,
    WORDS,
    ConformalLabel,
    excluded,
    one_a_patient,
)
from ich_pipeline.ensemble.operating_points import OperatingPoint
from ich_pipeline.ensemble.ranking import Ranked
from ich_pipeline.ensemble.uncertainty import ONE_MEMBER, Disagreement, Uncertainty, disagreement
from ich_pipeline.evaluation.cohort import TestCohort
from ich_pipeline.evaluation.metrics import Estimate, Level
from ich_pipeline.evaluation.proportions import clopper_pearson
from ich_pipeline.sequence.member import has_head


@dataclass(frozen=True)
class _Rows:
    """One level of a test: final scores (rows, labels), truth, names and patients of the rows, what is called positive."""

    scores: NDArray[np.float64]
    truth: NDArray[np.integer]
    names: Sequence[str]
    level: Level
    eligible: NDArray[np.bool_]


def uncertainty_of_test(cohort: TestCohort, slice_names: Sequence[str], case_names: Sequence[str]) -> dict[str, Any]:
    """The content of ``uncertainty.json``.

    Args:
        cohort: with a reading that was made ``everywhere``.
        slice_names: SOPInstanceUID of each labelled slice.
        case_names: case_id of each labelled case.

    Returns:
        ``coverage`` asked for; ``case`` and ``slice``, by label the figures of :func:`_coverage`; ``disagreement`` of the
        ensemble's members and of all trained networks, by level and label those of :func:`_tells_errors`, or ``reason``.
    """
    known = cohort.ensemble.uncertainty
    if known is None:
        raise ValueError("the ensemble knows nothing of certainty")
    levels = {"case": _cases(cohort, case_names), "slice": _slices(cohort, slice_names)}
    limits = {"case": known.cases, "slice": known.slices}
    labels = cohort.labels.columns
    found: dict[str, Any] = {"coverage": known.coverage}
    for name, rows in levels.items():
        found[name] = {
            label: _coverage(rows, k, limits[name][label], known.coverage, cohort) for k, label in enumerate(labels)
        }
    found["disagreement"] = {
        "members": _disagreement(cohort, levels, cohort.ensemble.members, cohort.reading.disagreement),
        "all": _disagreement(cohort, levels, _trained(known), of_all(cohort, known)),
    }
    return found


def of_all(cohort: TestCohort, known: Uncertainty) -> Disagreement | None:
    """Of all trained networks, also of those that the ensemble does not use."""
    reading = cohort.reading
    rule = cohort.ensemble.case_score
    return disagreement(known, reading.original, _trained(known), rule, cohort.case_index, cohort.neighbours)


def _trained(known: Uncertainty) -> tuple[str, ...]:
    """The networks without sequence heads: a head repeats its network's opinion."""
    return tuple(name for name in known.networks if not has_head(name))


def headline(found: dict[str, Any], level: str, label: str) -> dict[str, dict[str, Any]]:
    """The entries of metrics.json: coverage of each class, shares of undecided and of empty sets, what disagreement tells."""
    of = found[level][label]
    missing = {"value": None, "low": None, "high": None, "reason": of.get("reason")}
    entries = {
        f"conformal_{name}": of.get(name, missing)
        for name in ("coverage_present", "coverage_absent", "undecided", "neither")
    }
    tells = found["disagreement"]["all"]
    entries["disagreement_auc"] = (
        {**missing, "reason": tells["reason"]} if "reason" in tells else tells[level][label]["auc"]
    )
    return entries


def _cases(cohort: TestCohort, names: Sequence[str]) -> _Rows:
    kept = cohort.labelled_cases
    eligible = cohort.cases.eligible
    assert eligible is not None
    level = Level(cohort.cases.patients, cohort.counts)
    return _Rows(cohort.reading.case_scores[kept], cohort.case_truth, names, level, eligible)


def _slices(cohort: TestCohort, names: Sequence[str]) -> _Rows:
    scores = cohort.reading.final[cohort.labelled]
    return _Rows(scores, cohort.truth, names, cohort.slices, np.ones(len(scores), dtype=bool))


def _coverage(rows: _Rows, k: int, limits: ConformalLabel, coverage: float, cohort: TestCohort) -> dict[str, Any]:
    """One label: ``coverage_absent`` and ``coverage_present``, ``sets`` (counts), shares ``undecided`` and ``neither``.

    A coverage has ``value``, ``low``, ``high`` (Clopper-Pearson), ``covered``, ``patients``, ``calibration_patients`` and
    ``expected`` (low and high shares that exchangeable patients would give). ``reason`` stands alone where there are no
    sets.
    """
    if limits.reason is not None:
        return {"reason": limits.reason}
    scores, truth = rows.scores[:, k], rows.truth[:, k]
    confidence = cohort.params.confidence
    words = limits.words(scores)
    found: dict[str, Any] = {"sets": {word: int((words == word).sum()) for word in WORDS}}
    classes = ((ABSENT, 0, limits.negatives), (PRESENT, 1, limits.positives))
    for (word, y, calibrated), holds in zip(classes, limits.holds(scores), strict=True):
        picked = one_a_patient(rows.names, rows.level.patients, truth == y)
        found[f"coverage_{word}"] = _count(int(holds[picked].sum()), len(picked), calibrated, coverage, confidence)
    for word in (UNDECIDED, NEITHER):
        found[word] = _share(words == word, rows.level).to_json(confidence)
    return found


def _count(covered: int, patients: int, calibrated: int, coverage: float, confidence: float) -> dict[str, Any]:
    entry: dict[str, Any] = {"covered": covered, "patients": patients, "calibration_patients": calibrated}
    if patients == 0:
        return {"value": None, "low": None, "high": None, "reason": "no patient of the class in this test", **entry}
    low, high = clopper_pearson(covered, patients, confidence)
    beyond = excluded(calibrated, coverage)
    tail = (1 - confidence) / 2
    expected = betabinom(patients, calibrated + 1 - beyond, beyond).ppf([tail, 1 - tail]) / patients
    return {
        "value": covered / patients,
        "low": low,
        "high": high,
        "method": "clopper-pearson",
        "expected": {"low": float(expected[0]), "high": float(expected[1])},
        **entry,
    }


def _share(which: NDArray[np.bool_], level: Level) -> Estimate:
    """Share of the rows, with replicates by patient."""
    top, bottom = level.by_patient(which.astype(np.float64)), level.by_patient(np.ones(len(which)))
    with np.errstate(invalid="ignore"):  # a replicate in which nobody with a labelled row was drawn
        replicates = level.drawn(top) / level.drawn(bottom)
    return Estimate(float(which.mean()), replicates, patients=int((bottom > 0).sum()))


def _disagreement(
    cohort: TestCohort, levels: dict[str, _Rows], names: Sequence[str], found: Disagreement | None
) -> dict[str, Any]:
    if found is None:
        return {"networks": list(names), "reason": ONE_MEMBER}
    spread = {"case": found.cases[cohort.labelled_cases], "slice": found.slices[cohort.labelled]}
    points = {"case": cohort.ensemble.case_points, "slice": cohort.ensemble.slice_points}
    return {
        "networks": list(names),
        **{
            level: {
                label: _tells_errors(
                    rows, k, spread[level][:, k], points[level][label][cohort.ensemble.decision], cohort
                )
                for k, label in enumerate(cohort.labels.columns)
            }
            for level, rows in levels.items()
        },
    }


def _tells_errors(
    rows: _Rows, k: int, spread: NDArray[np.float64], point: OperatingPoint, cohort: TestCohort
) -> dict[str, Any]:
    """One label: means over right and wrong decisions, ``auc`` of the spread for errors, of ``nearness`` beside it.

    Nearness of the score to the threshold (in log-odds) costs nothing; ``gain`` is the paired difference of the two areas.
    """
    confidence = cohort.params.confidence
    if point.threshold is None:
        nothing = Estimate(None, reason=f"no threshold: {point.reason}").to_json(confidence)
        return {"errors": None, "right": None, "wrong": None, **dict.fromkeys(("auc", "nearness", "gain"), nothing)}
    called = rows.eligible & (rows.scores[:, k] >= point.threshold)
    wrong = called != (rows.truth[:, k] == 1)
    areas = {
        "auc": _area(spread, wrong, rows.level),
        "nearness": _area(-np.abs(logit(rows.scores[:, k]) - logit(point.threshold)), wrong, rows.level),
    }
    areas["gain"] = areas["auc"].gain_over(areas["nearness"])
    return {
        "errors": int(wrong.sum()),
        "right": float(spread[~wrong].mean()) if not wrong.all() else None,
        "wrong": float(spread[wrong].mean()) if wrong.any() else None,
        **{name: estimate.to_json(confidence) for name, estimate in areas.items()},
    }


def _area(scores: NDArray[np.float64], wrong: NDArray[np.bool_], level: Level) -> Estimate:
    for kind, members in (("wrong", wrong), ("right", ~wrong)):
        if len(np.unique(level.patients[members])) < 2:
            return Estimate(None, reason=f"{kind} decisions in fewer than two patients")
    ranked = Ranked(scores, wrong)
    return Estimate(float(ranked.auc()), np.concatenate([ranked.auc(some) for some in level.weights()]))
