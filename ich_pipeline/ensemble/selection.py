"""Choice of the SI degrees and of the combiner, by mean average precision over the subtypes on validation.

"Validation" is as in :mod:`ich_pipeline.ensemble.fit`: with folds, all patients of train and validation, out of fold.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from ich_pipeline.baselines.hu_rule import MEMBER
from ich_pipeline.ensemble.calibration import fit_calibration, fit_platt
from ich_pipeline.ensemble.combiners import KINDS, Kind, fit_combiner
from ich_pipeline.ensemble.folds import patient_folds
from ich_pipeline.ensemble.model import ReadingModel
from ich_pipeline.ensemble.ranking import jackknife_error, jackknife_weights, mean_average_precision

# What is chosen in place of the simplest (no interpolation; the plain mean of all members) beats it by so many standard errors.
# 41 real patients, network and HU rule, three seeds: slice AUC .884 with half an error, .890 with two (docs/decisions.md).
MARGIN = 2.0
TIE = 1e-9  # two figures that differ by less are equal


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


@dataclass(frozen=True)
class Figure:
    """Mean average precision of something that may be chosen, and how surely it is more than that of the simplest.

    Attributes:
        value: mean average precision over the subtypes; NaN where no subtype is in two patients.
        gain: over the simplest.
        error: standard error of ``gain`` by patient (jackknife).
    """

    value: float
    gain: float
    error: float

    @property
    def better(self) -> bool:
        """Whether it is clearly more: by :data:`MARGIN` errors."""
        return self.gain > max(MARGIN * self.error, TIE)


def figures_of(scores: Sequence[NDArray[np.floating]], predictions: Predictions) -> list[Figure]:
    """Figures of scores (slices, labels) each, the first of which is the simplest."""
    truth, patients = predictions.truth[:, 1:], predictions.patients
    weights = jackknife_weights(patients)
    values = [float(mean_average_precision(each[:, 1:], truth, patients)) for each in scores]
    without = [mean_average_precision(each[:, 1:], truth, patients, weights) for each in scores]
    return [
        Figure(value, value - values[0], jackknife_error(of - without[0]))
        for value, of in zip(values, without, strict=True)
    ]


def clearly_best(figures: Sequence[Figure]) -> int:
    """Position of the figure with the largest gain among those that are clearly better than the first; else 0.

    With few patients the best of many figures is luck: 41 real patients had the combiner that was chosen by the best figure rank
    below the plain mean (docs/decisions.md).
    """
    better = [k for k, figure in enumerate(figures) if figure.better]
    return max(better, key=lambda k: figures[k].gain, default=0)


def degree_figures(predictions: Predictions) -> dict[str, dict[float, Figure]]:
    """For each architecture and degree; the simplest is degree 0."""
    return {
        name: dict(zip(predictions.degrees, figures_of(list(p), predictions), strict=True))
        for name, p in predictions.probabilities.items()
    }


def choose_degrees(figures: Mapping[str, Mapping[float, Figure]]) -> dict[str, float]:
    """The degree that is clearly best for each architecture; else 0, as where no subtype is in two validation patients."""
    return {name: list(of)[clearly_best(list(of.values()))] for name, of in figures.items()}


def candidates(members: Sequence[str]) -> list[tuple[Kind, tuple[str, ...]]]:
    """Every subset with a network under the plain mean, larger ones first; then the other combiners of all members.

    The HU rule joins networks and never stands for them: it has no maps, no atlas and no precedents to show. Where it is better
    alone, the comparison with the baselines says so.
    """
    subsets = [s for size in range(len(members), 0, -1) for s in combinations(members, size) if s != (MEMBER,)]
    plain: list[tuple[Kind, tuple[str, ...]]] = [("plain_mean", s) for s in subsets]
    others: list[tuple[Kind, tuple[str, ...]]] = [(k, tuple(members)) for k in KINDS if k != "plain_mean"]
    return plain + (others if len(members) > 1 else [])


def _widest_of_the_best(
    tried: Sequence[tuple[Kind, tuple[str, ...]]],
    scores: Sequence[NDArray[np.floating]],
    figures: Sequence[Figure],
    predictions: Predictions,
) -> int:
    """Position of the combiner to take: of those that are clearly better than the simplest and not clearly worse than the best
    of them, one with the most members, and of these the best.

    Which small subset leads is often luck; more members cost nothing that can be shown, and err less together.
    """
    best = clearly_best(figures)
    against = figures_of([scores[best], *scores], predictions)[1:]
    equal = [
        k
        for k, figure in enumerate(figures)
        if k == best or (figure.better and against[k].gain >= -max(MARGIN * against[k].error, TIE))
    ]
    return max(equal, key=lambda k: (len(tried[k][1]), figures[k].gain))


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
    degree_figures: dict[str, dict[float, Figure]]
    candidate_figures: tuple[tuple[Kind, tuple[str, ...], Figure], ...]


def choose(predictions: Predictions, folds: int) -> Choice:
    """Choose each network's degree, then the combiner by cross-fitted mean average precision.

    The combiner is the plain mean of all, or the widest of those that are clearly better (:func:`_widest_of_the_best`).
    """
    degrees_tried = degree_figures(predictions)
    degrees = choose_degrees(degrees_tried)
    probabilities = predictions.at(degrees)
    fold = patient_folds(predictions.patients, predictions.truth, folds)
    tried = candidates(tuple(probabilities))
    scores = [cross_fitted(kind, members, probabilities, predictions.truth, fold) for kind, members in tried]
    figures = figures_of(scores, predictions)
    kind, members = tried[_widest_of_the_best(tried, scores, figures, predictions)]
    return Choice(
        degrees,
        kind,
        members,
        degrees_tried,
        tuple((*candidate, figure) for candidate, figure in zip(tried, figures, strict=True)),
    )


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
