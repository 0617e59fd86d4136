"""AUC and average precision against scikit-learn, with and without weights."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import average_precision_score, roc_auc_score

from ich_pipeline.ensemble.ranking import Ranked, estimable, mean_average_precision

# Few distinct scores: many ties.
cases = st.lists(st.tuples(st.integers(0, 5), st.booleans(), st.integers(0, 3)), min_size=3, max_size=40)


@given(cases)
@settings(max_examples=150, deadline=None)
def test_equals_scikit_learn_with_ties_and_weights(rows) -> None:
    scores = np.array([r[0] for r in rows]) / 5
    truth = np.array([int(r[1]) for r in rows])
    weights = np.array([float(r[2]) for r in rows])
    if not (weights[truth == 1].sum() > 0 and weights[truth == 0].sum() > 0):
        return
    ranked = Ranked(scores, truth)
    assert ranked.auc(weights) == pytest.approx(roc_auc_score(truth, scores, sample_weight=weights), abs=1e-9)
    expected = average_precision_score(truth, scores, sample_weight=weights)
    assert ranked.average_precision(weights) == pytest.approx(expected, abs=1e-9)


def test_many_weightings_at_once_equal_one_by_one() -> None:
    rng = np.random.default_rng(0)
    scores, truth = rng.random(500).round(2), rng.integers(0, 2, 500)
    weights = rng.integers(0, 4, (30, 500)).astype(float)
    ranked = Ranked(scores, truth)
    for name, reference in (("auc", roc_auc_score), ("average_precision", average_precision_score)):
        expected = [reference(truth, scores, sample_weight=w) for w in weights]
        np.testing.assert_allclose(getattr(ranked, name)(weights), expected, atol=1e-9)


def test_weightings_are_taken_in_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    ranked = Ranked(rng.random(50), rng.integers(0, 2, 50))
    weights = rng.integers(0, 4, (20, 50)).astype(float)
    whole = ranked.auc(weights)
    monkeypatch.setattr("ich_pipeline.ensemble.ranking._CHUNK", 150)
    np.testing.assert_array_equal(ranked.auc(weights), whole)


def test_one_class_is_nan_not_zero() -> None:
    ranked = Ranked([0.1, 0.9], [0, 0])
    assert np.isnan(ranked.auc())
    assert np.isnan(ranked.average_precision())


def test_hand_computed_average_precision() -> None:
    # Ranked: 1, 0, 1 → precision 1/1 at recall 1/2, then 2/3 at recall 1.
    assert Ranked([0.9, 0.8, 0.7], [1, 0, 1]).average_precision() == pytest.approx(0.5 * 1 + 0.5 * 2 / 3)


def test_mean_leaves_out_a_label_without_positives() -> None:
    scores = np.array([[0.9, 0.2], [0.8, 0.3], [0.7, 0.4]])
    truth = np.array([[1, 0], [0, 0], [1, 0]])
    patients = np.arange(3)
    assert mean_average_precision(scores, truth, patients) == pytest.approx(5 / 6)
    assert np.isnan(mean_average_precision(scores, np.zeros_like(truth), patients))


def test_mean_leaves_out_a_label_of_one_patient() -> None:
    scores = np.array([[0.9, 0.2], [0.8, 0.3], [0.7, 0.4]])
    truth = np.array([[1, 1], [0, 1], [1, 0]])
    patients = np.array([0, 0, 1])
    np.testing.assert_array_equal(estimable(truth, patients), [True, False])
    assert mean_average_precision(scores, truth, patients) == pytest.approx(5 / 6)
    assert np.isnan(mean_average_precision(scores, truth, np.zeros(3, dtype=int)))
