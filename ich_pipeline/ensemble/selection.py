"""Choice of the SI degrees and of the combiner, by mean average precision over the subtypes on validation.

"Validation" is as in :mod:`ich_pipeline.ensemble.fit`: with folds, all patients of train and validation, out of fold.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from ich_pipeline.ensemble.calibration import fit_calibration, fit_platt
from ich_pipeline.ensemble.combiners import KINDS, Kind, fit_combiner
from ich_pipeline.ensemble.folds import patient_folds
from ich_pipeline.ensemble.model import ReadingModel
from ich_pipeline.ensemble.ranking import mean_average_precision

# Two figures that differ by less are equal: then the smaller degree, the simpler combiner, the larger subset is taken.
TIE = 1e-9


@dataclass(frozen=True)
class Predictions:
    """The networks' validation predictions.

    Attributes:
        degrees: candidate SI degrees, rising from 0.
        probabilities: by architecture, shape (degrees, slices, labels), uncalibrated. Label 0 is "any".
        truth: 0 and 1, shape (slices, labels).
        patients: number of each slice's patient, shape (slices,).
    """

    degrees: tuple[float, ...]
    probabilities: Mapping[str, NDArray[np.floating]]
    truth: NDArray[np.integer]
    patients: NDArray[np.integer]

    def rows(self, chosen: NDArray[np.bool_]) -> Predictions:
        """The same of some slices only."""
        return Predictions(
            self.degrees,
            {name: p[:, chosen] for name, p in self.probabilities.items()},
            self.truth[chosen],
            self.patients[chosen],
        )

    def at(self, degrees: Mapping[str, float]) -> dict[str, NDArray[np.floating]]:
        """By architecture, (slices, labels) at the given degrees."""
        return {name: p[self.degrees.index(degrees[name])] for name, p in self.probabilities.items()}

    @property
    def without_interpolation(self) -> dict[str, NDArray[np.floating]]:
        """By architecture, (slices, labels) at degree 0."""
        return self.at(dict.fromkeys(self.probabilities, 0.0))


def degree_figures(predictions: Predictions) -> dict[str, dict[float, float]]:
    """Mean average precision over the subtypes for each architecture and degree."""
    truth = predictions.truth[:, 1:]
    return {
        name: {
            d: mean_average_precision(p[i][:, 1:], truth, predictions.patients)
            for i, d in enumerate(predictions.degrees)
        }
        for name, p in predictions.probabilities.items()
    }


def choose_degrees(figures: Mapping[str, Mapping[float, float]]) -> dict[str, float]:
    """The degree with the largest figure for each architecture; the smaller of equal ones.

    0 where no degree has a figure (no subtype in two validation patients).
    """
    chosen = {}
    for name, by_degree in figures.items():
        best = max((v for v in by_degree.values() if not np.isnan(v)), default=np.nan)
        chosen[name] = min((d for d, v in by_degree.items() if v >= best - TIE), default=0.0)
    return chosen


def candidates(members: Sequence[str]) -> list[tuple[Kind, tuple[str, ...]]]:
    """Every non-empty subset under the plain mean, larger ones first; then the other combiners of all members."""
    subsets = [s for size in range(len(members), 0, -1) for s in combinations(members, size)]
    plain: list[tuple[Kind, tuple[str, ...]]] = [("plain_mean", s) for s in subsets]
    others: list[tuple[Kind, tuple[str, ...]]] = [(k, tuple(members)) for k in KINDS if k != "plain_mean"]
    return plain + (others if len(members) > 1 else [])


def cross_fitted(
    kind: Kind,
    members: Sequence[str],
    probabilities: Mapping[str, NDArray[np.floating]],
    truth: NDArray[np.integer],
    fold: NDArray[np.integer],
) -> NDArray[np.float64]:
    """Combined scores (slices, labels), each slice's from a combiner that was fitted without its fold."""
    scores = np.empty(truth.shape)
    for k in np.unique(fold):
        rest = fold != k
        combiner = fit_combiner(kind, members, {name: probabilities[name][rest] for name in members}, truth[rest])
        scores[~rest] = combiner({name: probabilities[name][~rest] for name in members})
    return scores


@dataclass(frozen=True)
class Choice:
    """What the validation chose: degrees, combiner, and the figures it was chosen by."""

    degrees: dict[str, float]
    kind: Kind
    members: tuple[str, ...]
    degree_figures: dict[str, dict[float, float]]
    candidate_figures: tuple[tuple[Kind, tuple[str, ...], float], ...]


def choose(predictions: Predictions, folds: int) -> Choice:
    """Choose each network's degree, then the combiner by cross-fitted mean average precision."""
    figures = degree_figures(predictions)
    degrees = choose_degrees(figures)
    probabilities = predictions.at(degrees)
    fold = patient_folds(predictions.patients, predictions.truth, folds)
    tried = []
    for kind, members in candidates(tuple(probabilities)):
        scores = cross_fitted(kind, members, probabilities, predictions.truth, fold)
        figure = mean_average_precision(scores[:, 1:], predictions.truth[:, 1:], predictions.patients)
        tried.append((kind, members, figure))
    best = max((figure for *_, figure in tried if not np.isnan(figure)), default=np.nan)
    kind, members, _ = next((t for t in tried if t[2] >= best - TIE), tried[0])
    return Choice(degrees, kind, members, figures, tuple(tried))


@dataclass(frozen=True)
class LeftOut:
    """A fold of the validation cohort, and what the other folds choose.

    Attributes:
        rows: slices of the fold, shape (slices,).
        choice: degrees and combiner, chosen without them.
    """

    rows: NDArray[np.bool_]
    choice: Choice


def leave_out(predictions: Predictions, folds: int) -> tuple[LeftOut, ...]:
    """Repeat the whole of :func:`choose`, with its own inner folds, without each fold."""
    fold = patient_folds(predictions.patients, predictions.truth, folds)
    return tuple(LeftOut(fold == k, choose(predictions.rows(fold != k), folds)) for k in np.unique(fold))


def honest_reader(
    choice: Choice, rest: Predictions, probabilities: Mapping[str, NDArray[np.floating]], folds: int
) -> tuple[ReadingModel, NDArray[np.float64]]:
    """Combiner and calibrations of one reading, fitted on what is left of validation without a fold.

    Args:
        choice: made on ``rest``.
        rest: validation without the fold.
        probabilities: by architecture, those of ``rest`` in this reading.
        folds: inner folds of the calibration.

    Returns:
        The reader, and the cross-fitted combined scores (slices of ``rest``, labels) that calibrated it.
    """
    inner = patient_folds(rest.patients, rest.truth, folds)
    seen = cross_fitted(choice.kind, choice.members, probabilities, rest.truth, inner)
    calibrations = []
    for label, y in enumerate(rest.truth.T):
        calibration = fit_calibration(seen[:, label], y, inner, rest.patients)
        if calibration.kind == "shift":
            # Too few patients for a probability to be believed, but enough to bring the folds to one scale.
            calibration = fit_platt(seen[:, label], y)
        calibrations.append(calibration)
    combiner = fit_combiner(choice.kind, choice.members, probabilities, rest.truth)
    return ReadingModel(combiner, tuple(calibrations)), seen


def honest_scores(
    predictions: Predictions, folds: int, left_out: Sequence[LeftOut] | None = None
) -> NDArray[np.float64]:
    """Calibrated scores (slices, labels) in which a slice's patient had no part in any choice, weight or calibration.

    A figure of these scores is not made optimistic by choosing the best of many candidates. (It cannot undo that the
    networks' best checkpoints, and the epochs of sequence heads, were chosen on the same patients.) Folds may choose different combiners, whose raw scores
    cannot be ranked together (a share of votes beside a mean): each fold's are calibrated by the other folds before they
    are pooled.

    Args:
        predictions: of every network at every candidate degree.
        folds: how many.
        left_out: of :func:`leave_out`, where it was called already.
    """
    scores = np.empty(predictions.truth.shape)
    for fold in leave_out(predictions, folds) if left_out is None else left_out:
        rest = predictions.rows(~fold.rows)
        reader, _ = honest_reader(fold.choice, rest, rest.at(fold.choice.degrees), folds)
        scores[fold.rows] = reader(predictions.rows(fold.rows).at(fold.choice.degrees))
    return scores
