"""The iterative reading of the validation cohort by ensembles that never saw the patient whom they read.

Degrees, combiner, calibrations, gate and the rule of the case score are chosen again without each fold; then its patients are read as new ones are.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ich_pipeline.config import EnsembleParams
from ich_pipeline.ensemble.calibration import fit_platt
from ich_pipeline.ensemble.case_rule import Places, candidates, case_ranking, choose_case_score
from ich_pipeline.ensemble.case_score import CaseScore, cases_positive
from ich_pipeline.ensemble.model import spread
from ich_pipeline.ensemble.operating_points import fit_operating_points
from ich_pipeline.ensemble.selection import LeftOut, Predictions, honest_reader


@dataclass(frozen=True)
class CrossReading:
    """What the iterative reading gives of patients whom nothing was chosen or fitted on.

    Attributes:
        final: calibrated, shape (slices, labels).
        case_ranking: scores of "any" to rank all cases by, shape (cases,), each by the rule that was chosen without its
            patient; -1 where the first reading stops the case.
        rules: the rule that was chosen without each fold.
    """

    final: NDArray[np.float64]
    case_ranking: NDArray[np.float64]
    rules: tuple[CaseScore, ...]


@dataclass(frozen=True)
class _FoldReading:
    """A fold as the other folds read it: its slices' final scores, its cases' ranking, and the rule that they chose.

    ``scaled`` is the ranking as probabilities, calibrated by the cases of the other folds.
    """

    final: NDArray[np.float64]
    ranking: NDArray[np.float64]
    scaled: NDArray[np.float64]
    rule: CaseScore


def cross_read(
    predictions: Predictions,
    case_index: NDArray[np.integer],
    neighbours: NDArray[np.integer],
    left_out: Sequence[LeftOut],
    params: EnsembleParams,
) -> CrossReading | str:
    """Read every fold by an ensemble of the others.

    Folds may choose different rules, whose scores cannot be ranked together: then each fold's case scores are calibrated
    by the cases of the other folds before they are pooled.

    Args:
        predictions: of every network at every candidate degree.
        case_index: case of each slice, 0 to cases - 1.
        neighbours: shape (slices, 2): rows of the slices before and after, -1 for none.
        left_out: each fold with what was chosen without it.
        params: folds, target of the gate, case score.

    Returns:
        The scores; or why there are none: validation without one of its folds has no gate.
    """
    places = Places(case_index, neighbours, predictions.patients)
    found: list[_FoldReading] = []
    for fold in left_out:
        reading = _read_fold(predictions, places, fold, params)
        if isinstance(reading, str):
            return reading
        found.append(reading)
    differ = len({reading.rule for reading in found}) > 1
    final, ranking = np.empty(predictions.truth.shape), np.empty(int(case_index.max()) + 1)
    for fold, reading in zip(left_out, found, strict=True):
        final[fold.rows] = reading.final
        ranking[np.unique(case_index[fold.rows])] = reading.scaled if differ else reading.ranking
    return CrossReading(final, ranking, tuple(reading.rule for reading in found))


def _read_fold(predictions: Predictions, places: Places, fold: LeftOut, params: EnsembleParams) -> _FoldReading | str:
    rest, held = predictions.rows(~fold.rows), predictions.rows(fold.rows)
    there, here = places.of(~fold.rows), places.of(fold.rows)
    first, first_seen = honest_reader(fold.choice, rest, rest.without_interpolation, params.folds)
    second, second_seen = honest_reader(fold.choice, rest, rest.at(fold.choice.degrees), params.folds)
    seen = first.calibrate(first_seen)
    gate = fit_operating_points(
        seen[:, 0], rest.truth[:, 0], params.sensitivity_target, params.specificity_target, ordered=False
    )["high_sensitivity"]
    if gate.threshold is None:
        return f"{gate.reason} without one of its folds of patients"
    learnt = _final(seen, second.calibrate(second_seen), gate.threshold, there)
    rule = choose_case_score(candidates(params), *learnt, rest.truth, there).score
    final, suspicious = _final(
        first(held.without_interpolation), second(held.at(fold.choice.degrees)), gate.threshold, here
    )
    ranking = case_ranking(rule, final, suspicious, here)
    of_rest, truth = case_ranking(rule, *learnt, there), cases_positive(rest.truth[:, :1], there.case_index)[:, 0]
    scale = fit_platt(of_rest[of_rest >= 0], truth[of_rest >= 0])
    return _FoldReading(final, ranking, np.where(ranking >= 0, scale(np.maximum(ranking, 0.0)), -1.0), rule)


def _final(
    first: NDArray[np.float64], second: NDArray[np.float64], gate: float, places: Places
) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Final scores and suspicious slices of the iterative reading."""
    suspicious = first[:, 0] >= gate
    return np.where(spread(suspicious, places.neighbours)[:, None], second, first), suspicious
