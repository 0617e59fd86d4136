"""Heads on frozen features: the optimum that scikit-learn finds, folds on one scale, nothing learnt from a fold's own."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score

from ich_pipeline.features.classifier import Head, cross_fit, fit_heads, mean_head, to_one_scale
from ich_pipeline.training.loss import class_weights

CAP = 5.0


def drawn(seed: int, n: int = 300, features: int = 20) -> tuple[np.ndarray, np.ndarray]:
    """Features of unequal spread, and three labels of which the last is of one kind only."""
    rng = np.random.default_rng(seed)
    x = (rng.normal(size=(n, features)) * rng.uniform(0.1, 9, features) + rng.normal(size=features)).astype(np.float32)
    direction = rng.normal(size=(features, 2)) / x.std(axis=0)[:, None]
    logits = x @ direction - 1.5 + rng.logistic(size=(n, 2))
    truth = np.concatenate([logits > 0, np.zeros((n, 1))], axis=1).astype(np.int8)
    return x, truth


@settings(max_examples=8, deadline=None)
@given(st.integers(0, 1000), st.sampled_from([1.0, 0.1, 0.01]))
def test_the_optimum_is_that_of_scikit_learn(seed: int, penalty: float) -> None:
    x, truth = drawn(seed)
    (head,) = fit_heads([x], truth, [penalty], CAP)
    mean, spread = x.mean(axis=0, dtype=np.float64), x.std(axis=0, dtype=np.float64)
    weights = class_weights(truth, CAP)
    for k in range(2):
        if len(set(truth[:, k])) < 2:
            continue
        w = np.where(truth[:, k] > 0, weights.positive[k], weights.negative[k])
        w = w / w.mean()
        other = LogisticRegression(C=1 / (penalty * len(x)), tol=1e-9, max_iter=5000)
        other.fit((x - mean) / spread, truth[:, k], sample_weight=w)
        theirs = other.decision_function((x - mean) / spread)
        assert np.abs(head.logits(x)[:, k] - theirs).max() < 0.02 * max(1.0, theirs.std())


def test_a_label_of_one_kind_gets_its_smoothed_share() -> None:
    x, truth = drawn(1)
    (head,) = fit_heads([x], truth, [0.1], CAP)
    assert np.allclose(head.probabilities(x)[:, 2], 0.5 / 301, atol=1e-6)
    assert not head.kernel[:, 2].any()


def test_a_constant_feature_is_harmless_and_many_features_beside_few_slices() -> None:
    x, truth = drawn(2, n=40, features=120)
    x[:, 3] = 7.0
    heads = fit_heads([x, x[:, ::-1].copy()], truth, [0.3, 0.03], CAP)
    assert all(np.isfinite(head.kernel).all() and np.isfinite(head.bias).all() for head in heads)


def test_a_fold_s_head_never_saw_the_fold() -> None:
    x, truth = drawn(3)
    fold = np.arange(len(x)) % 5
    before = cross_fit([x], truth, fold, [0.1], CAP)
    poisoned = truth.copy()
    poisoned[fold == 2] = 1 - poisoned[fold == 2]
    heads = [fit_heads([x[fold != k]], poisoned[fold != k], [0.1], CAP)[0] for k in range(5)]
    clean = [fit_heads([x[fold != k]], truth[fold != k], [0.1], CAP)[0] for k in range(5)]
    assert np.array_equal(heads[2].kernel, clean[2].kernel)
    assert not np.array_equal(heads[0].kernel, clean[0].kernel)
    assert len(before.folds) == 5


def test_the_penalty_is_chosen_by_what_was_not_seen_on_one_scale() -> None:
    rng = np.random.default_rng(4)
    few = rng.normal(size=(160, 150)).astype(np.float32)  # one feature speaks, the others are noise to overfit on
    truth = (few[:, :1] * 0.8 + rng.logistic(size=(160, 2)) > 0).astype(np.int8)
    fold = np.arange(160) % 5
    found = cross_fit([few], truth, fold, [1.0, 0.001], CAP)
    for position, penalty in enumerate([1.0, 0.001]):
        heads = [fit_heads([few[fold != k]], truth[fold != k], [1.0, 0.001], CAP)[position] for k in range(5)]
        logits = np.stack([head.logits(few)[:, 0] for head in to_one_scale(heads, few)])[fold, np.arange(160)]
        assert np.isclose(found.figures[penalty], roc_auc_score(truth[:, 0], logits))
    assert found.penalty == max(found.figures, key=lambda penalty: found.figures[penalty])


@pytest.mark.parametrize("seed", range(4))
def test_folds_of_unlike_patients_do_not_make_a_strong_penalty_look_bad(seed: int) -> None:
    """Most positives of one fold: left out, everything ranks low on raw scales, the more so the stronger the penalty."""
    rng = np.random.default_rng(seed)
    fold = np.repeat(np.arange(4), 60)
    y = (rng.random(240) < np.array([0.6, 0.05, 0.05, 0.05])[fold]).astype(np.int8)
    x = rng.normal(size=(240, 40)).astype(np.float32)
    x[:, 0] += 1.2 * y
    penalties = [3.0, 0.0003]
    found = cross_fit([x], y[:, None], fold, penalties, CAP)
    raw = {}
    for position, penalty in enumerate(penalties):
        heads = [fit_heads([x[fold != k]], y[fold != k, None], penalties, CAP)[position] for k in range(4)]
        raw[penalty] = roc_auc_score(y, np.stack([head.logits(x)[:, 0] for head in heads])[fold, np.arange(240)])
    gain = {penalty: found.figures[penalty] - raw[penalty] for penalty in penalties}
    assert gain[3.0] > 0.1 and gain[3.0] > gain[0.0003] > 0


@settings(max_examples=10, deadline=None)
@given(st.integers(0, 1000), st.floats(0.2, 5), st.floats(-3, 3))
def test_heads_come_to_one_scale_and_keep_their_order(seed: int, factor: float, shift: float) -> None:
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(200, 6))
    first = Head(rng.normal(size=(6, 2)), rng.normal(size=2))
    second = first.scaled(np.full(2, factor), np.full(2, shift))
    one, other = to_one_scale([first, second], x)
    assert np.allclose(one.logits(x), other.logits(x), atol=1e-9)
    assert np.array_equal(np.argsort(one.logits(x)[:, 0]), np.argsort(first.logits(x)[:, 0]))


def test_the_head_that_ships_is_the_mean_of_the_fold_models() -> None:
    x, truth = drawn(5)
    found = cross_fit([x], truth, np.arange(len(x)) % 4, [0.1], CAP)
    mean = np.mean([head.logits(x) for head in found.folds], axis=0)
    assert np.allclose(found.mean.logits(x), mean, atol=1e-9)
    assert np.allclose(mean_head(found.folds).bias, found.mean.bias)


def test_the_same_bytes_twice() -> None:
    x, truth = drawn(6)
    fold = np.arange(len(x)) % 5
    one, two = (cross_fit([x], truth, fold, [0.1, 0.01], CAP) for _ in range(2))
    assert one.mean.kernel.tobytes() == two.mean.kernel.tobytes()


@pytest.mark.parametrize("views", [1, 2])
def test_equal_views_change_nothing(views: int) -> None:
    x, truth = drawn(7)
    (one,), (two,) = (fit_heads([x] * count, truth, [0.1], CAP) for count in (1, views))
    assert np.allclose(one.logits(x), two.logits(x), atol=1e-3)
