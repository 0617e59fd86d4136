"""The choice of the case score's rule, by the AUC of "any" over cases that no network and no combiner was fitted on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ich_pipeline.config import EnsembleParams
from ich_pipeline.ensemble.case_score import CaseScore, cases_positive
from ich_pipeline.ensemble.ranking import Ranked, jackknife_error, jackknife_weights

# A rule must beat the first candidate by so many standard errors of the difference. With few patients the best figure is
# often luck; half an error costs little where a rule is better, and saves a part where none is (docs/decisions.md).
MARGIN = 0.5


@dataclass(frozen=True)
class Places:
    """Where slices are.

    Attributes:
        case_index: case of each slice, 0 to cases - 1, every case with a slice; shape (slices,).
        neighbours: rows of the slices before and after, -1 at an end or a gap; shape (slices, 2).
        patients: number of each slice's patient, shape (slices,).
    """

    case_index: NDArray[np.integer]
    neighbours: NDArray[np.integer]
    patients: NDArray[np.integer]

    def of(self, kept: NDArray[np.bool_]) -> Places:
        """The same of some slices, with all slices of a case or none; rows and cases numbered anew, in their order."""
        position = np.full(len(kept) + 1, -1)  # the last for "none"
        position[:-1][kept] = np.arange(int(kept.sum()))
        cases = np.unique(self.case_index[kept], return_inverse=True)[1]
        return Places(cases, position[np.asarray(self.neighbours)[kept]], self.patients[kept])

    @property
    def case_patients(self) -> NDArray[np.integer]:
        """Patient of each case, shape (cases,)."""
        return self.patients[np.unique(self.case_index, return_index=True)[1]]


@dataclass(frozen=True)
class RuleFigure:
    """One candidate.

    Attributes:
        score: the rule.
        auc: of "any" over cases; those that the first reading stops rank below all others.
        gain: over the first candidate.
        error: standard error of ``gain`` by patient (jackknife); NaN where a class is in one patient only.
    """

    score: CaseScore
    auc: float
    gain: float
    error: float


@dataclass(frozen=True)
class CaseChoice:
    """The chosen rule, and the figures of all candidates; the first candidate is the one to beat."""

    score: CaseScore
    figures: tuple[RuleFigure, ...]


def candidates(params: EnsembleParams) -> tuple[CaseScore, ...]:
    """The rules that ``case_score`` and ``case_top_k`` allow, the simplest first."""
    rules: dict[str, tuple[CaseScore, ...]] = {
        "max": (CaseScore("max"),),
        "top_k_mean": tuple(CaseScore("top_k_mean", k) for k in params.case_top_k),
        "neighbours": (CaseScore("neighbours"),),
        "noisy_or": (CaseScore("noisy_or"),),
    }
    return sum(rules.values(), ()) if params.case_score == "auto" else rules[params.case_score]


def choose_case_score(
    tried: Sequence[CaseScore],
    final: NDArray[np.floating],
    suspicious: NDArray[np.bool_],
    truth: NDArray[np.integer],
    places: Places,
) -> CaseChoice:
    """The rule with the largest case AUC, where it beats the first by :data:`MARGIN` errors; else the first.

    Args:
        tried: candidates, the simplest first.
        final: final scores, cross-fitted, shape (slices, labels). Label 0 is "any".
        suspicious: slices at or above the gate, shape (slices,).
        truth: 0 and 1, shape (slices, labels).
        places: of the slices.
    """
    positive = cases_positive(truth[:, :1], places.case_index)[:, 0]
    ranked = [Ranked(case_ranking(rule, final, suspicious, places), positive) for rule in tried]
    without = jackknife_weights(places.case_patients)
    first = ranked[0].auc(without)
    figures = []
    for rule, of in zip(tried, ranked, strict=True):
        gains = of.auc(without) - first
        error = jackknife_error(gains)
        figures.append(RuleFigure(rule, float(of.auc()), float(of.auc() - ranked[0].auc()), error))
    # A figure that is not there (NaN) beats nothing.
    better = [figure for figure in figures if figure.gain > MARGIN * figure.error]
    best = max(better, key=lambda figure: figure.gain, default=figures[0])  # the simplest of equal ones
    return CaseChoice(best.score, tuple(figures))


def case_ranking(
    rule: CaseScore, final: NDArray[np.floating], suspicious: NDArray[np.bool_], places: Places
) -> NDArray[np.float64]:
    """Case scores of "any" to rank by, shape (cases,): -1 for what the first reading stops, whatever the threshold."""
    scores = rule(final[:, :1], places.case_index, places.neighbours)[:, 0]
    return np.where(cases_positive(suspicious[:, None], places.case_index)[:, 0] == 1, scores, -1.0)
