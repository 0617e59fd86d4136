"""Fit the ensemble on the validation cohort.

In order: SI degree a network; combiner; calibration of both readings; gate; then the iterative reading is simulated on
validation, the rule of the case score is chosen, and the operating points are fitted on the final scores that the reading
gives. Calibration, rule and thresholds see cross-fitted combined scores, so that fitted weights do not flatter them.

"Validation" is whoever the networks' predictions are of without having learned from them: the validation cohort, or, where
the split stage drew folds, all patients of train and validation, out of fold.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ich_pipeline.config import EnsembleParams
from ich_pipeline.core.errors import InputError
from ich_pipeline.ensemble.calibration import fit_calibration
from ich_pipeline.ensemble.case_rule import CaseChoice, Places, candidates, choose_case_score
from ich_pipeline.ensemble.case_score import CaseScore, cases_positive
from ich_pipeline.ensemble.combiners import fit_combiner
from ich_pipeline.ensemble.conformal import ConformalLabel, fit_conformal, one_a_patient
from ich_pipeline.ensemble.cross_reading import CrossReading, cross_read
from ich_pipeline.ensemble.folds import patient_folds
from ich_pipeline.ensemble.model import Ensemble, ReadingModel, spread
from ich_pipeline.ensemble.operating_points import OperatingPoint, fit_operating_points
from ich_pipeline.ensemble.selection import Choice, Predictions, choose, cross_fitted, honest_scores, leave_out
from ich_pipeline.ensemble.uncertainty import Uncertainty
from ich_pipeline.tables.labels import Labels

# Folds of two patients each: with fewer nothing can be cross-fitted.
MINIMUM_PATIENTS = 4


@dataclass(frozen=True)
class Validation:
    """The simulated reading of the validation cohort; arrays (slices, labels), (slices,), (cases, labels), (cases,).

    Attributes:
        combined_first, combined_second: cross-fitted combined scores, uncalibrated.
        first, second: the same, calibrated; ``final`` as the iterative reading gives it.
        honest: calibrated scores of the second reading of which no choice and no fit saw the slice's patient.
        crossed: the iterative reading of which no choice and no fit saw the slice's patient; or why there is none.
        case_rule: the rule of the case score, and what it was chosen by.
        reread: slices that are read again.
        case_scores: final; ``let_through``: cases with a slice at the gate; ``case_truth``: 0 and 1.
    """

    combined_first: NDArray[np.float64]
    combined_second: NDArray[np.float64]
    first: NDArray[np.float64]
    second: NDArray[np.float64]
    final: NDArray[np.float64]
    honest: NDArray[np.float64]
    crossed: CrossReading | str
    case_rule: CaseChoice
    reread: NDArray[np.bool_]
    case_scores: NDArray[np.float64]
    let_through: NDArray[np.bool_]
    case_truth: NDArray[np.int8]


def fit_ensemble(
    labels: Labels,
    predictions: Predictions,
    case_index: NDArray[np.integer],
    neighbours: NDArray[np.integer],
    params: EnsembleParams,
) -> tuple[Ensemble, Choice, Validation]:
    """Fit everything from validation predictions.

    Args:
        labels: names of the label axis.
        predictions: of every architecture at every candidate degree.
        case_index: case of each slice, 0 to cases - 1, every case with a slice.
        neighbours: shape (slices, 2): rows of the slices before and after, -1 at an end or a gap.
        params: folds, targets, case score, deciding operating point.

    Raises:
        InputError: validation has too few patients, or no positive or no negative slice or case.
    """
    _check(predictions, case_index)
    truth = predictions.truth
    choice = choose(predictions, params.folds)
    fold = patient_folds(predictions.patients, truth, params.folds)
    models, combined = [], []
    for probabilities in (predictions.without_interpolation, predictions.at(choice.degrees)):
        scores = cross_fitted(choice.kind, choice.members, probabilities, truth, fold)
        calibrations = tuple(
            fit_calibration(scores[:, k], truth[:, k], fold, predictions.patients) for k in range(len(labels))
        )
        combiner = fit_combiner(choice.kind, choice.members, probabilities, truth).without_idle()
        models.append(ReadingModel(combiner, calibrations))
        combined.append(scores)
    first, second = (model.calibrate(scores) for model, scores in zip(models, combined, strict=True))
    targets = (params.sensitivity_target, params.specificity_target)
    gate = fit_operating_points(first[:, 0], truth[:, 0], *targets, ordered=False)["high_sensitivity"]
    assert gate.threshold is not None  # _check: both classes are there
    suspicious = first[:, 0] >= gate.threshold
    reread = spread(suspicious, neighbours)
    final = np.where(reread[:, None], second, first)
    places = Places(case_index, neighbours, predictions.patients)
    case_rule = choose_case_score(candidates(params), final, suspicious, truth, places)
    case_scores = case_rule.score(final, case_index, neighbours)
    case_truth = cases_positive(truth, case_index)
    let_through = cases_positive(suspicious[:, None], case_index)[:, 0].astype(bool)
    ensemble = Ensemble(
        labels=labels,
        degrees=choice.degrees,
        first_reading=models[0],
        second_reading=models[1],
        gate=gate,
        slice_points=_points(labels, final, truth, targets, None),
        case_points=_points(labels, case_scores, case_truth, targets, let_through),
        decision=params.decision,
        case_score=case_rule.score,
    )
    if ensemble.case_points[labels.any][params.decision].threshold is None:
        raise InputError(
            f"The cohort to calibrate on has no case to fit the case decision on ({params.decision}): "
            f"{ensemble.case_points[labels.any][params.decision].reason}; raise split.validation in params.yaml."
        )
    left_out = leave_out(predictions, params.folds)
    validation = Validation(
        combined_first=combined[0],
        combined_second=combined[1],
        first=first,
        second=second,
        final=final,
        honest=honest_scores(predictions, params.folds, left_out),
        crossed=cross_read(predictions, case_index, neighbours, left_out, params),
        case_rule=case_rule,
        reread=reread,
        case_scores=case_scores,
        let_through=let_through,
        case_truth=case_truth,
    )
    return ensemble, choice, validation


def cross_calibrated(scores: NDArray[np.float64], predictions: Predictions, folds: int) -> NDArray[np.float64]:
    """Calibrated scores (slices, labels), each slice's from a calibration that was fitted without its fold."""
    fold = patient_folds(predictions.patients, predictions.truth, folds)
    calibrated = np.empty_like(scores)
    for k in np.unique(fold):
        rest = predictions.rows(fold != k)
        inner = patient_folds(rest.patients, rest.truth, folds)
        for i, y in enumerate(rest.truth.T):
            calibration = fit_calibration(scores[fold != k, i], y, inner, rest.patients)
            calibrated[fold == k, i] = calibration(scores[fold == k, i])
    return calibrated


def _points(
    labels: Labels,
    scores: NDArray[np.float64],
    truth: NDArray[np.integer],
    targets: tuple[float, float],
    eligible: NDArray[np.bool_] | None,
) -> dict[str, dict[str, OperatingPoint]]:
    return {
        name: fit_operating_points(scores[:, k], truth[:, k], *targets, eligible)
        for k, name in enumerate(labels.columns)
    }


def _check(predictions: Predictions, case_index: NDArray[np.integer]) -> None:
    patients = len(np.unique(predictions.patients))
    if patients < MINIMUM_PATIENTS:
        raise InputError(
            f"The cohort to calibrate on has {patients} patients and calibration needs {MINIMUM_PATIENTS}: "
            "raise split.validation in params.yaml."
        )
    for level, truth in (("slices", predictions.truth), ("cases", cases_positive(predictions.truth, case_index))):
        positive = int(truth[:, 0].sum())
        if not 0 < positive < len(truth):
            raise InputError(
                f"The cohort to calibrate on has {positive} positive among {len(truth)} {level}, and thresholds need both "
                "kinds: raise split.validation in params.yaml."
            )


def fit_uncertainty(
    labels: Labels,
    predictions: Predictions,
    case_index: NDArray[np.integer],
    neighbours: NDArray[np.integer],
    names: tuple[Sequence[str], Sequence[str]],
    reading: CrossReading | str,
    case_score: CaseScore,
    params: EnsembleParams,
) -> Uncertainty:
    """Conformal limits from cross-fitted final scores, and a calibration for every network.

    Args:
        labels: names of the label axis.
        predictions: of every network at every candidate degree.
        case_index: case of each slice, 0 to cases - 1.
        neighbours: shape (slices, 2): rows of the slices before and after, -1 for none.
        names: SOPInstanceUID and case_id of each slice.
        reading: of every patient by what was chosen and fitted without; or why there is none.
        case_score: the system's rule. The limits are for its scores, so all folds' slices are scored by it, also where a
            fold alone would have chosen another rule; of the case only this choice among a few rules has seen the patient.
        params: coverage and folds.
    """
    truth, patients = predictions.truth, predictions.patients
    first = np.unique(case_index, return_index=True)[1]
    if isinstance(reading, str):
        nothing = dict.fromkeys(labels.columns, ConformalLabel(None, None, 0, 0, reading))
        cases, slices = nothing, nothing
    else:
        case_names = [names[1][int(row)] for row in first]
        case_truth = cases_positive(truth, case_index)
        scores = case_score(reading.final, case_index, neighbours)
        cases = _limits(labels, scores, case_names, patients[first], case_truth, params.coverage)
        slices = _limits(labels, reading.final, names[0], patients, truth, params.coverage)
    fold = patient_folds(patients, truth, params.folds)
    networks = {
        name: tuple(fit_calibration(p[:, k], truth[:, k], fold, patients) for k in range(len(labels)))
        for name, p in predictions.without_interpolation.items()
    }
    return Uncertainty(params.coverage, cases, slices, networks)


def _limits(
    labels: Labels,
    scores: NDArray[np.float64],
    names: Sequence[str],
    patients: NDArray[np.integer],
    truth: NDArray[np.integer],
    coverage: float,
) -> dict[str, ConformalLabel]:
    """Limits of every label from one row a patient and class; arrays (rows, labels), (rows,), (rows, labels)."""
    found = {}
    for k, label in enumerate(labels.columns):
        negative, positive = (scores[one_a_patient(names, patients, truth[:, k] == y), k] for y in (0, 1))
        found[label] = fit_conformal(negative, positive, coverage)
    return found
