"""The iterative reading of the validation cohort by ensembles that never saw the patient whom they read.

Degrees, combiner, calibrations and gate are chosen again without each fold; then its patients are read as new ones are.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ich_pipeline.config import EnsembleParams
from ich_pipeline.ensemble.case_score import CaseScore
from ich_pipeline.ensemble.model import spread
from ich_pipeline.ensemble.operating_points import fit_operating_points
from ich_pipeline.ensemble.selection import LeftOut, Predictions, honest_reader


@dataclass(frozen=True)
class CrossReading:
    """Final scores as the iterative reading gives them.

    Attributes:
        final: calibrated, shape (slices, labels).
        case_scores: shape (cases, labels).
    """

    final: NDArray[np.float64]
    case_scores: NDArray[np.float64]


def cross_read(
    predictions: Predictions,
    case_index: NDArray[np.integer],
    neighbours: NDArray[np.integer],
    left_out: Sequence[LeftOut],
    params: EnsembleParams,
) -> CrossReading | str:
    """Read every fold by an ensemble of the others.

    Args:
        predictions: of every network at every candidate degree.
        case_index: case of each slice, 0 to cases - 1.
        neighbours: shape (slices, 2): rows of the slices before and after, -1 for none.
        left_out: each fold with what was chosen without it.
        params: folds, target of the gate, case score.

    Returns:
        The scores; or why there are none: validation without one of its folds has no gate.
    """
    shape = predictions.truth.shape
    first, second, suspicious = np.empty(shape), np.empty(shape), np.zeros(shape[0], dtype=bool)
    for fold in left_out:
        rest, held = predictions.rows(~fold.rows), predictions.rows(fold.rows)
        reader, seen = honest_reader(fold.choice, rest, rest.without_interpolation, params.folds)
        gate = fit_operating_points(
            reader.calibrate(seen)[:, 0],
            rest.truth[:, 0],
            params.sensitivity_target,
            params.specificity_target,
            ordered=False,
        )["high_sensitivity"]
        if gate.threshold is None:
            return f"{gate.reason} without one of its folds of patients"
        first[fold.rows] = reader(held.without_interpolation)
        reader, _ = honest_reader(fold.choice, rest, rest.at(fold.choice.degrees), params.folds)
        second[fold.rows] = reader(held.at(fold.choice.degrees))
        suspicious[fold.rows] = first[fold.rows, 0] >= gate.threshold
    final = np.where(spread(suspicious, neighbours)[:, None], second, first)
    return CrossReading(final, CaseScore(params.case_score, params.case_top_k)(final, case_index))
