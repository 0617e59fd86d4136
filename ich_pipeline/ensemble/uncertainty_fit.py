"""Fit :class:`ich_pipeline.ensemble.uncertainty.Uncertainty` on the validation cohort, and on nothing else."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from ich_pipeline.config import EnsembleParams
from ich_pipeline.ensemble.calibration import fit_calibration
from ich_pipeline.ensemble.case_score import CaseScore, cases_positive
from ich_pipeline.ensemble.conformal import ConformalLabel, fit_conformal, one_a_patient
from ich_pipeline.ensemble.cross_reading import CrossReading
from ich_pipeline.ensemble.folds import patient_folds
from ich_pipeline.ensemble.selection import Predictions
from ich_pipeline.ensemble.uncertainty import Uncertainty
from ich_pipeline.tables.labels import Labels


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
