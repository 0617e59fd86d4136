"""Combiners: weights on the simplex, and each kind by an independent computation."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy.optimize import minimize
from scipy.special import expit, logit
from sklearn.metrics import average_precision_score

from ich_pipeline.ensemble.combiners import KINDS, SUPER_LEARNER_RIDGE, Combiner, fit_combiner


@pytest.fixture(scope="module")
def members(cohort):
    return {name: p[0].astype(np.float64) for name, p in cohort.predictions.probabilities.items()}


@pytest.mark.parametrize("kind", KINDS)
def test_weights_are_on_the_simplex_and_scores_are_probabilities(kind, members, cohort) -> None:
    combiner = fit_combiner(kind, tuple(members), members, cohort.predictions.truth)
    weights = np.array(combiner.weights)
    assert (weights >= 0).all()
    np.testing.assert_allclose(weights.sum(axis=1), 1.0, atol=1e-12)
    scores = combiner(members)
    assert scores.shape == cohort.predictions.truth.shape
    assert ((scores >= 0) & (scores <= 1)).all()
    assert Combiner.from_json(combiner.to_json()) == combiner


@pytest.mark.parametrize("kind", KINDS)
def test_equal_members_give_that_members_ranking(kind, members, cohort) -> None:
    one = members["resnet50"]
    scores = fit_combiner(kind, ("a", "b"), {"a": one, "b": one}, cohort.predictions.truth)({"a": one, "b": one})
    if kind == "majority_vote":
        assert set(np.unique(scores)) == {0.0, 1.0}
    else:
        np.testing.assert_allclose(scores, one, atol=1e-8)


def test_plain_mean(members, cohort) -> None:
    combiner = fit_combiner("plain_mean", ("vgg16", "resnet50"), members, cohort.predictions.truth)
    np.testing.assert_allclose(combiner(members), (members["vgg16"] + members["resnet50"]) / 2)


def test_weighted_mean_is_by_scikit_learns_average_precision(members, cohort) -> None:
    truth = cohort.predictions.truth
    combiner = fit_combiner("weighted_mean", tuple(members), members, truth)
    for label in range(3):
        ap = np.array([average_precision_score(truth[:, label], p[:, label]) for p in members.values()])
        np.testing.assert_allclose(combiner.weights[label], ap / ap.sum(), atol=1e-9)


def test_super_learner_is_the_optimum_that_another_solver_finds(members, cohort) -> None:
    truth = cohort.predictions.truth
    combiner = fit_combiner("super_learner", tuple(members), members, truth)
    x = np.stack([logit(p[:, 0]) for p in members.values()], axis=1)
    y = truth[:, 0]

    def loss(p):
        q = expit(x @ p[:4] + p[4])
        return -np.log(np.where(y == 1, q, 1 - q)).mean() + SUPER_LEARNER_RIDGE * ((p[:4] - 0.25) ** 2).sum()

    other = minimize(loss, np.array([0.1, 0.1, 0.1, 0.1, 0.0]), method="SLSQP", bounds=[(0, None)] * 4 + [(None, None)])
    np.testing.assert_allclose(combiner.weights[0], other.x[:4] / other.x[:4].sum(), atol=5e-3)
    # The best network has most to say, the worst least.
    assert np.argmax(combiner.weights[0]) == list(members).index("inception_v3")
    assert np.argmin(combiner.weights[0]) == list(members).index("vgg16")


def test_a_misleading_member_gets_no_weight(cohort) -> None:
    truth = cohort.predictions.truth
    good = cohort.predictions.probabilities["inception_v3"][0].astype(np.float64)
    combiner = fit_combiner("super_learner", ("good", "wrong"), {"good": good, "wrong": 1 - good}, truth)
    assert np.array(combiner.weights)[:, 1].max() < 1e-6


def test_bayes_optimal_follows_the_likelihood(members, cohort) -> None:
    combiner = fit_combiner("bayes_optimal", tuple(members), members, cohort.predictions.truth)
    assert np.argmax(combiner.weights[0]) == list(members).index("inception_v3")


def test_majority_vote_counts_votes() -> None:
    a = np.array([[0.9], [0.8], [0.2], [0.1]])
    b = np.array([[0.7], [0.1], [0.6], [0.2]])
    truth = np.array([[1], [1], [0], [0]])
    combiner = fit_combiner("majority_vote", ("a", "b"), {"a": a, "b": b}, truth)
    assert combiner.thresholds == ((0.8, 0.7),)
    np.testing.assert_array_equal(combiner({"a": a, "b": b})[:, 0], [1.0, 0.5, 0.0, 0.0])


def test_a_label_of_one_class_gets_equal_weights_with_a_reason(cohort_without_epidural) -> None:
    predictions = cohort_without_epidural.predictions
    members = {name: p[0] for name, p in predictions.probabilities.items()}
    combiner = fit_combiner("super_learner", tuple(members), members, predictions.truth)
    assert combiner.weights[1] == (0.25, 0.25, 0.25, 0.25)
    assert combiner.reasons == (None, "one class only in calibration", None)


@pytest.mark.parametrize("kind", KINDS)
def test_members_without_a_say_are_left_out(kind, members, cohort) -> None:
    fitted = fit_combiner(kind, tuple(members), members, cohort.predictions.truth)
    if kind in ("plain_mean", "majority_vote"):
        assert fitted.without_idle() == fitted, "all of these have a say"
    shares = np.tile(np.append(np.full(len(members) - 1, (1 - 4e-4) / (len(members) - 1)), 4e-4), (3, 1))
    idle = replace(fitted, weights=tuple(tuple(row) for row in shares))
    lean = idle.without_idle()
    assert lean.members == tuple(members)[:-1]
    np.testing.assert_allclose(np.sum(lean.weights, axis=1), 1.0, atol=1e-12)
    used = {name: members[name] for name in lean.members}
    assert np.abs(lean(used) - idle(members)).max() < 1e-3
    assert Combiner.from_json(lean.to_json()) == lean
