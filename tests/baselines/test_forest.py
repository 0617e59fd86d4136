"""A forest as arrays answers as scikit-learn's."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.ensemble import ExtraTreesClassifier, RandomForestClassifier

from ich_pipeline.baselines import forest as module
from ich_pipeline.baselines.forest import Forest, constant_trees, learnt_trees, mean_forest


def drawn(seed: int, n: int = 120) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n, 6)).astype(np.float32)
    x[:, 0] = np.round(x[:, 0])  # ties, and thresholds that lie on values
    return x, (x[:, 0] + rng.normal(size=n) > 0.4).astype(np.int8)


@settings(max_examples=25, deadline=None)
@given(
    seed=st.integers(0, 10_000),
    leaf=st.integers(1, 6),
    balanced=st.booleans(),
    kind=st.sampled_from([ExtraTreesClassifier, RandomForestClassifier]),
)
def test_it_answers_as_scikit_learn(seed: int, leaf: int, balanced: bool, kind: type) -> None:
    x, y = drawn(seed)
    fitted = kind(12, min_samples_leaf=leaf, class_weight="balanced" if balanced else None, random_state=seed).fit(
        x[:80], y[:80]
    )
    mine = Forest.of([learnt_trees(fitted)])
    # At thresholds as well: they are rounded so that a float32 lies on the same side.
    at = np.array([tree.tree_.threshold[tree.tree_.feature == 0] for tree in fitted.estimators_], dtype=object)
    edges = x.copy()
    values = np.concatenate([np.asarray(a, np.float64) for a in at]) if len(at) else np.zeros(0)
    edges[: min(len(values), len(edges)), 0] = values[: len(edges)].astype(np.float32)
    for features in (x, edges):
        np.testing.assert_allclose(mine.scores(features)[:, 0], fitted.predict_proba(features)[:, 1], atol=1e-6)


def test_company_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    x, y = drawn(1)
    fitted = ExtraTreesClassifier(9, random_state=0).fit(x, y)
    forest = Forest.of([learnt_trees(fitted), constant_trees(0.25, 9)])
    whole = forest.scores(x)
    monkeypatch.setattr(module, "PLACES", 20)
    np.testing.assert_array_equal(forest.scores(x), whole)
    np.testing.assert_array_equal(forest.scores(x[7:8]), whole[7:8])
    np.testing.assert_array_equal(whole[:, 1], 0.25)
    assert forest.scores(x[:0]).shape == (0, 2)


def test_the_mean_of_forests_and_the_round_trip() -> None:
    x, y = drawn(2)
    forests = [
        Forest.of([learnt_trees(ExtraTreesClassifier(7, random_state=k).fit(x, y)), constant_trees(k / 4, 7)])
        for k in range(3)
    ]
    mean = mean_forest(forests)
    np.testing.assert_allclose(mean.scores(x), np.mean([f.scores(x) for f in forests], axis=0), atol=1e-12)
    np.testing.assert_array_equal(Forest.from_arrays(mean.to_arrays()).scores(x), mean.scores(x))
