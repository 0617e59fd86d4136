"""Thresholds satisfy their targets, and none further does."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from sklearn.metrics import roc_curve

from ich_pipeline.ensemble.operating_points import (
    NAMES,
    OperatingPoint,
    balanced_threshold,
    fit_operating_points,
    sensitive_threshold,
    specific_threshold,
)

rows = st.lists(st.tuples(st.integers(0, 20), st.integers(0, 1)), min_size=2, max_size=60)
targets = st.sampled_from([0.5, 0.7, 0.9, 0.95, 0.99])


def _split(drawn):
    scores = np.array([r[0] for r in drawn]) / 20
    truth = np.array([r[1] for r in drawn])
    assume(0 < truth.sum() < len(truth))
    return scores, truth


@given(rows, targets)
@settings(max_examples=200, deadline=None)
def test_high_sensitivity_is_the_highest_threshold_that_reaches_the_target(drawn, target) -> None:
    scores, truth = _split(drawn)
    threshold = sensitive_threshold(scores, truth, target)
    assert (scores[truth == 1] >= threshold).mean() >= target
    assert (scores[truth == 1] >= np.nextafter(threshold, 2)).mean() < target


@given(rows, targets)
@settings(max_examples=200, deadline=None)
def test_high_specificity_is_the_lowest_score_that_reaches_the_target(drawn, target) -> None:
    scores, truth = _split(drawn)
    threshold = specific_threshold(scores, truth, target)
    assert (scores[truth == 0] < threshold).mean() >= target
    for lower in np.unique(scores[scores < threshold]):
        assert (scores[truth == 0] < lower).mean() < target


@given(rows)
@settings(max_examples=200, deadline=None)
def test_balanced_has_the_largest_youden_index_of_scikit_learns_roc_curve(drawn) -> None:
    scores, truth = _split(drawn)
    threshold = balanced_threshold(scores, truth)
    youden = (scores[truth == 1] >= threshold).mean() + (scores[truth == 0] < threshold).mean() - 1
    false, true, _ = roc_curve(truth, scores, drop_intermediate=False)
    best = max((t - f for t, f, s in zip(true, false, _, strict=True) if np.isfinite(s)), default=0)
    assert youden == pytest.approx(best, abs=1e-12)


def test_hand_computed_table() -> None:
    scores = np.array([0.9, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3, 0.2])
    truth = np.array([1, 1, 0, 1, 0, 1, 0, 0])
    points = fit_operating_points(scores, truth, 0.75, 0.75, ordered=False)
    assert points["high_sensitivity"] == OperatingPoint(0.6, 0.75, 0.75)
    assert points["high_specificity"] == OperatingPoint(0.6, 0.75, 0.75)
    # 0.8, 0.6 and 0.4 share the largest index of one half: the lowest of them is taken.
    assert points["balanced"] == OperatingPoint(0.4, 1.0, 0.5)
    assert fit_operating_points(scores, truth, 0.75, 0.75)["high_sensitivity"] == points["balanced"]


@given(rows, targets, targets)
@settings(max_examples=200, deadline=None)
def test_the_points_are_in_the_order_of_their_names(drawn, sensitivity, specificity) -> None:
    scores, truth = _split(drawn)
    points = fit_operating_points(scores, truth, sensitivity, specificity)
    sensitive, balanced, specific = (points[name].threshold for name in NAMES)
    assert sensitive is not None and balanced is not None and specific is not None
    assert sensitive <= balanced <= specific
    assert (scores[truth == 1] >= sensitive).mean() >= sensitivity
    assert (scores[truth == 0] < specific).mean() >= specificity


@pytest.mark.parametrize(("truth", "word"), [([0, 0, 0], "positive"), ([1, 1, 1], "negative")])
def test_an_absent_class_gives_a_reason_not_a_number(truth, word) -> None:
    points = fit_operating_points(np.array([0.1, 0.2, 0.3]), np.array(truth), 0.9, 0.9)
    assert set(points) == set(NAMES)
    for point in points.values():
        assert point.threshold is None
        assert point.reason == f"no {word} in calibration"


def test_a_positive_that_cannot_be_called_counts_as_missed() -> None:
    scores, truth = np.array([0.9, 0.8, 0.7, 0.1]), np.array([1, 1, 1, 0])
    eligible = np.array([True, True, False, True])
    point = fit_operating_points(scores, truth, 0.95, 0.9, eligible)["high_sensitivity"]
    assert point.threshold == 0.8
    assert point.sensitivity == pytest.approx(2 / 3)
    assert point.reason is not None and "out of reach" in point.reason
    none = fit_operating_points(scores, truth, 0.95, 0.9, np.array([False, False, False, True]))
    assert none["balanced"].threshold is None


def test_json_round_trip() -> None:
    point = OperatingPoint(0.25, 0.9, 0.8, "why")
    assert OperatingPoint.from_json(point.to_json()) == point
