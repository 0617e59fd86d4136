"""Choice of degree and combiner; folds."""

from __future__ import annotations

import itertools
from dataclasses import replace

import numpy as np
import pytest
from scipy.special import expit

from ich_pipeline.baselines.hu_rule import MEMBER
from ich_pipeline.ensemble import selection
from ich_pipeline.ensemble.calibration import logit
from ich_pipeline.ensemble.combiners import fit_combiner
from ich_pipeline.ensemble.folds import patient_folds
from ich_pipeline.ensemble.ranking import Ranked, mean_average_precision
from ich_pipeline.ensemble.selection import (
    MARGIN,
    Figure,
    Predictions,
    candidates,
    choose,
    choose_degrees,
    cross_fitted,
    figures_of,
    honest_scores,
)
from tests.ensemble.conftest import make_cohort


def test_folds_keep_patients_whole_and_spread_the_rare_label() -> None:
    patients = np.repeat(np.arange(20), 3)
    truth = np.zeros((60, 2), dtype=int)
    truth[patients < 10, 0] = 1
    truth[patients < 5, 1] = 1
    fold = patient_folds(patients, truth, 5)
    for patient in range(20):
        assert len(set(fold[patients == patient])) == 1
    assert sorted(fold[(truth[:, 1] == 1)][::3]) == [0, 1, 2, 3, 4]
    assert (np.bincount(fold) == 12).all()


def test_fewer_patients_than_folds() -> None:
    assert set(patient_folds(np.array([7, 7, 9]), np.zeros((3, 1), dtype=int), 5)) == {0, 1}


def test_what_is_chosen_beats_the_simplest_clearly_and_a_missing_figure_is_degree_0() -> None:
    nan = float("nan")
    figures = {
        "clear": {0.0: Figure(0.4, 0, 0), 0.2: Figure(0.7, 0.3, 0.1), 0.4: Figure(0.7, 0.3, 0.1)},
        "luck": {0.0: Figure(0.4, 0, 0), 0.2: Figure(0.6, 0.2, 0.11), 0.4: Figure(0.5, 0.1, 0.04)},
        "none": {0.0: Figure(nan, nan, nan), 0.2: Figure(nan, nan, nan), 0.4: Figure(nan, nan, nan)},
        "worse": {0.0: Figure(0.5, 0, 0), 0.2: Figure(0.4, -0.1, 0), 0.4: Figure(0.3, -0.2, 0)},
    }
    assert choose_degrees(figures) == {"clear": 0.2, "luck": 0.4, "none": 0.0, "worse": 0.0}


@pytest.mark.parametrize("seed", range(3))
def test_members_of_equal_worth_are_meaned(seed: int) -> None:
    cohort = make_cohort(patients=40, seed=seed)
    truth = cohort.predictions.truth
    rng = np.random.default_rng(seed)
    equal = {name: expit(2.0 * truth - 1 + rng.normal(size=(1, *truth.shape))) for name in ("a", "b", "c")}
    choice = choose(Predictions((0.0,), equal, truth, cohort.predictions.patients), 5)
    assert (choice.kind, choice.members) == ("plain_mean", ("a", "b", "c"))


def test_a_member_that_says_nothing_is_left_out_or_gets_little_weight(cohort) -> None:
    predictions = cohort.predictions
    rng = np.random.default_rng(0)
    probabilities = {"good": predictions.probabilities["inception_v3"][:1]}
    probabilities["noise"] = expit(6 * rng.normal(size=probabilities["good"].shape))
    choice = choose(Predictions((0.0,), probabilities, predictions.truth, predictions.patients), 5)
    assert (choice.kind, choice.members) != ("plain_mean", ("good", "noise"))


def test_the_error_of_a_gain_is_that_of_drawing_patients_anew(cohort) -> None:
    predictions = cohort.predictions
    one, other = (predictions.probabilities[name][0] for name in ("inception_v3", "resnet50"))
    [_, figure] = figures_of([one, other], predictions)
    rng = np.random.default_rng(1)
    distinct, which = np.unique(predictions.patients, return_inverse=True)
    drawn = np.stack(
        [np.bincount(rng.integers(0, len(distinct), len(distinct)), minlength=len(distinct))[which] for _ in range(400)]
    )
    truth = predictions.truth[:, 1:]
    gains = [
        mean_average_precision(p[:, 1:], truth, predictions.patients, drawn.astype(np.float64)) for p in (other, one)
    ]
    assert figure.error == pytest.approx((gains[0] - gains[1]).std(), rel=0.2)
    assert figure.gain == pytest.approx(
        figures_of([other], predictions)[0].value - figures_of([one], predictions)[0].value
    )


def test_the_degree_that_was_made_best_is_chosen(cohort) -> None:
    assert choose(cohort.predictions, 5).degrees["inception_v3"] == 0.2


def test_candidates_are_all_subsets_and_all_combiners() -> None:
    tried = candidates(("a", "b", "c"))
    assert len([c for c in tried if c[0] == "plain_mean"]) == 7
    assert {c[0] for c in tried} == {"plain_mean", "weighted_mean", "bayes_optimal", "super_learner", "majority_vote"}
    assert candidates(("a",)) == [("plain_mean", ("a",))]


def test_the_hu_rule_never_stands_alone() -> None:
    tried = candidates(("a", "b", MEMBER))
    assert ("plain_mean", (MEMBER,)) not in tried and ("plain_mean", ("a",)) in tried
    assert ("plain_mean", ("a", MEMBER)) in tried


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_of_combiners_that_are_as_good_as_the_best_the_widest_is_taken(cohort, seed) -> None:
    predictions = cohort.predictions
    truth = predictions.truth
    rng = np.random.default_rng(seed)
    probabilities = {name: expit(2.0 * truth - 1 + rng.normal(size=(1, *truth.shape))) for name in ("a", "b")}
    # So loud that the plain mean of all is clearly worse than what leaves it out.
    probabilities["noise"] = expit(8 * rng.normal(size=(1, *truth.shape)))
    choice = choose(Predictions((0.0,), probabilities, truth, predictions.patients), 5)
    assert {"a", "b"} <= set(choice.members)
    figures = {(kind, members): figure for kind, members, figure in choice.candidate_figures}
    chosen = figures[choice.kind, choice.members]
    best = max(figures.values(), key=lambda figure: figure.gain)
    assert chosen.better and chosen.gain >= best.gain - 2 * MARGIN * best.error
    wider = [f for (_, members), f in figures.items() if len(members) > len(choice.members)]
    assert all(f.gain <= chosen.gain for f in wider)


def test_cross_fitted_scores_come_from_the_other_folds(cohort) -> None:
    predictions = cohort.predictions
    probabilities = predictions.without_interpolation
    fold = patient_folds(predictions.patients, predictions.truth, 4)
    scores = cross_fitted("super_learner", tuple(probabilities), probabilities, predictions.truth, fold)
    rest = fold != 2
    by_hand = fit_combiner(
        "super_learner", tuple(probabilities), {k: v[rest] for k, v in probabilities.items()}, predictions.truth[rest]
    )
    np.testing.assert_array_equal(scores[~rest], by_hand(probabilities)[~rest])


def test_honest_scores_of_folds_that_chose_different_combiners_are_on_one_scale(cohort, monkeypatch) -> None:
    # Scores near 1 everywhere: a mean of them lies above any share of votes, whatever the truth.
    shifted = {name: expit(logit(p) + 3.0) for name, p in cohort.predictions.probabilities.items()}
    predictions = replace(cohort.predictions, probabilities=shifted)
    truth, fold = predictions.truth, patient_folds(predictions.patients, predictions.truth, 4)
    kinds = itertools.cycle(("plain_mean", "majority_vote"))
    original = selection.choose

    def alternate(rest, folds):
        return replace(original(rest, folds), kind=next(kinds), members=tuple(shifted))

    monkeypatch.setattr(selection, "choose", alternate)
    scores = honest_scores(predictions, 4)
    for label in range(3):
        within = [Ranked(scores[fold == k, label], truth[fold == k, label]).auc() for k in range(4)]
        assert Ranked(scores[:, label], truth[:, label]).auc() == pytest.approx(np.mean(within), abs=0.03)


def test_honest_scores_of_a_patient_do_not_depend_on_its_labels(cohort) -> None:
    predictions = cohort.predictions
    changed = predictions.truth.copy()
    fold = patient_folds(predictions.patients, predictions.truth, 3)
    # All slices of a bleeding patient become positive: folds look at the patient's labels only, and stay.
    changed[predictions.patients == 0] = changed[predictions.patients == 0].max(axis=0)
    assert not np.array_equal(changed, predictions.truth)
    np.testing.assert_array_equal(fold, patient_folds(predictions.patients, changed, 3))
    other = type(predictions)(predictions.degrees, predictions.probabilities, changed, predictions.patients)
    before, after = honest_scores(predictions, 3), honest_scores(other, 3)
    same_fold = fold == fold[0]
    np.testing.assert_array_equal(before[same_fold], after[same_fold])
    assert not np.array_equal(before[~same_fold], after[~same_fold])
