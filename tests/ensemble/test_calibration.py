"""Calibration is strictly increasing, and right where theory says what is right."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize_scalar
from scipy.special import expit
from sklearn.isotonic import IsotonicRegression
from sklearn.linear_model import LogisticRegression

from ich_pipeline.ensemble.calibration import (
    Calibration,
    fit_calibration,
    fit_isotonic,
    fit_platt,
    fit_shift,
    fit_temperature,
    log_likelihood,
    logit,
)

rows = st.lists(st.tuples(st.floats(0.001, 0.999), st.integers(0, 1)), min_size=4, max_size=60)


@given(rows)
@example(drawn=[(0.5, 0)] * 4 + [(0.75, 0), (0.875, 1), (0.25, 0), (0.375, 1)])  # two blocks shrink to one value
@settings(max_examples=100, deadline=None)
def test_every_kind_keeps_the_order_of_the_scores(drawn) -> None:
    scores = np.array([r[0] for r in drawn]).round(3)
    truth = np.array([r[1] for r in drawn])
    grid = np.unique(scores)
    for fit in (fit_temperature, fit_platt, fit_isotonic):
        calibrated = fit(scores, truth)(grid)
        assert (np.diff(calibrated) > 0).all(), fit.__name__
        assert ((calibrated >= 0) & (calibrated <= 1)).all()


def _drawn() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Scores, truth and Platt's targets of 300 slices."""
    rng = np.random.default_rng(3)
    truth = rng.integers(0, 2, 300)
    scores = expit(1.5 * (2 * truth - 1) + rng.normal(size=300) * 2 + 1)
    positives = truth.sum()
    return scores, truth, np.where(truth == 1, (positives + 1) / (positives + 2), 1 / (300 - positives + 2))


@pytest.mark.parametrize(("fit", "intercept"), [(fit_temperature, False), (fit_platt, True)])
def test_temperature_and_platt_equal_logistic_regression_on_platts_targets(fit, intercept: bool) -> None:
    scores, truth, target = _drawn()
    # A fractional target is the same likelihood as two weighted slices, one of each class.
    x = np.tile(logit(scores), 2)[:, None]
    model = LogisticRegression(C=np.inf, tol=1e-10, max_iter=1000, fit_intercept=intercept)
    model.fit(x, np.repeat([1, 0], 300), sample_weight=np.concatenate([target, 1 - target]))
    fitted = fit(scores, truth)
    assert fitted.scale == pytest.approx(float(model.coef_[0, 0]), abs=2e-4)
    assert fitted.shift == pytest.approx(float(np.ravel(model.intercept_)[0]), abs=2e-4)


def _best_temperature(x: np.ndarray, target: np.ndarray) -> float:
    """T of Guo et al. by a bounded search of scipy."""

    def loss(log_t: float) -> float:
        z = x / np.exp(log_t)
        return float((np.logaddexp(0, z) - target * z).mean())

    found: Any = minimize_scalar(loss, bounds=(-4, 4), method="bounded", options={"xatol": 1e-10})
    return float(np.exp(found.x))


def test_temperature_is_the_one_that_scipy_finds() -> None:
    scores, truth, target = _drawn()
    fitted = fit_temperature(scores, truth)
    assert (fitted.kind, fitted.shift) == ("temperature", 0.0)
    assert 1 / fitted.scale == pytest.approx(_best_temperature(logit(scores), target), rel=1e-6)
    np.testing.assert_allclose(logit(fitted(scores)), logit(scores) * fitted.scale, atol=1e-9)


def test_temperature_mends_overconfidence_as_guo_et_al_define_it() -> None:
    rng = np.random.default_rng(4)
    honest = rng.beta(1, 3, 40_000)
    truth = (rng.random(40_000) < honest).astype(int)
    fitted = fit_temperature(expit(2.5 * logit(honest)), truth)
    assert 1 / fitted.scale == pytest.approx(2.5, abs=0.05)
    # With this many slices smoothed targets are the labels themselves, as the paper has them.
    assert 1 / fitted.scale == pytest.approx(_best_temperature(2.5 * logit(honest), truth), rel=1e-3)


def test_a_temperature_stays_finite_and_positive() -> None:
    scores, parted = np.repeat([0.3, 0.7], 100), np.repeat([0, 1], 100)
    # To 0 and 1 the scale would be infinite; to Platt's targets it is where 0.7 becomes 101 / 102.
    assert fit_temperature(scores, parted).scale == pytest.approx(np.log(101) / np.log(0.7 / 0.3), rel=1e-6)
    turned = fit_temperature(scores, 1 - parted)
    assert 0 < turned.scale < 0.01, "a worthless score keeps its order and says next to nothing"
    assert fit_temperature(np.full(6, 0.5), np.array([0, 1] * 3)).scale == 1.0


def test_platt_finds_the_distortion_of_calibrated_probabilities() -> None:
    rng = np.random.default_rng(4)
    honest = rng.beta(1, 3, 40_000)
    truth = (rng.random(40_000) < honest).astype(int)
    fitted = fit_platt(expit(2.0 * logit(honest) + 1.0), truth)
    assert fitted.scale == pytest.approx(0.5, abs=0.02)
    assert fitted.shift == pytest.approx(-0.5, abs=0.05)


def test_isotonic_knots_are_the_centres_of_scikit_learns_blocks_shrunk_to_the_prevalence() -> None:
    scores = np.array([0.1, 0.2, 0.3, 0.4, 0.5, 0.6])
    truth = np.array([0, 1, 0, 1, 1, 1])
    flat = np.asarray(IsotonicRegression().fit(scores, truth).predict(scores))
    np.testing.assert_allclose(flat, [0, 0.5, 0.5, 1, 1, 1])
    knots = fit_isotonic(scores, truth).knots
    prior = 2 * 5 / 8  # two slices at (4 + 1) / (6 + 2)
    expected = [
        (0, prior / 4),
        (0.1, prior / 3),
        (0.25, (1 + prior) / 4),
        (0.5, (3 + prior) / 5),
        (1, (4 + prior) / 6),
    ]
    np.testing.assert_allclose(knots, expected)


def test_one_positive_slice_at_the_top_does_not_make_the_next_one_certain() -> None:
    scores = np.linspace(0.01, 0.8, 800)
    truth = (np.random.default_rng(7).random(800) < 0.1).astype(int)
    truth[-20:] = 0
    truth[-1] = 1
    fitted = fit_isotonic(scores, truth)
    assert 0.1 < fitted(0.8) < 0.6
    assert fitted(0.8) < fitted(1.0) < 0.6
    assert fitted(0.0) > 0.0


def test_a_small_block_that_shrinks_below_its_neighbour_is_merged_with_it() -> None:
    scores = np.concatenate([np.linspace(0.1, 0.2, 100), np.linspace(0.5, 0.6, 100), [0.9]])
    truth = np.ones(201, dtype=int)
    truth[:100] = 0
    truth[[100, 199]] = 0  # 0.98 at 0.5..0.6, and a single positive above it
    values = [y for _, y in fit_isotonic(scores, truth).knots]
    assert (np.diff(values) > 0).all()
    assert max(values) < 0.99


def test_high_isotonic_probabilities_are_as_frequent_as_they_say() -> None:
    rng = np.random.default_rng(8)
    high_p, high_y = [], []
    for _ in range(40):
        scores = rng.beta(0.4, 1.2, 600)
        honest = 0.97 * scores**0.7
        drawn = (rng.random(600) < honest).astype(int)
        fitted = fit_isotonic(scores[:300], drawn[:300])(scores[300:])
        high = fitted > 0.9
        high_p.append(fitted[high])
        high_y.append(drawn[300:][high])
    p, y = np.concatenate(high_p), np.concatenate(high_y)
    assert len(p) > 100
    assert p.mean() == pytest.approx(y.mean(), abs=0.03)


def _patients(n: int) -> np.ndarray:
    return np.repeat(np.arange(n // 5), 5)


def test_the_kind_with_the_lowest_cross_validated_loss_is_taken() -> None:
    rng = np.random.default_rng(5)
    n = 4000
    patients = _patients(n)
    smooth = rng.random(n)
    linear = (rng.random(n) < expit(3 * logit(smooth) * 0.3 - 1)).astype(int)
    # A step cannot be reached by a line in log-odds.
    step = (rng.random(n) < np.where(smooth > 0.5, 0.4, 0.1)).astype(int)
    # Overconfident and nothing else: a second number would only learn noise.
    scaled = (rng.random(n) < expit(0.4 * logit(smooth))).astype(int)
    for truth, kind in ((linear, "platt"), (step, "isotonic"), (scaled, "temperature")):
        chosen = fit_calibration(smooth, truth, patients % 5, patients)
        losses = dict(chosen.negative_log_likelihood)
        assert sorted(losses) == ["isotonic", "platt", "temperature"]
        assert chosen.kind == kind == min(losses, key=lambda name: losses[name])


def test_too_few_positive_patients_give_a_shift_with_a_reason() -> None:
    patients = _patients(50)
    truth = (patients < 2).astype(int)
    scores = np.linspace(0.1, 0.9, 50)
    found = fit_calibration(scores, truth, patients % 5, patients)
    assert (found.kind, found.scale) == ("shift", 1.0)
    assert found.reason == "positives in 2 calibration patients, 3 needed"
    np.testing.assert_allclose(logit(found(scores)) - logit(scores), found.shift, atol=1e-9)


@pytest.mark.parametrize("positives", [0, 1, 12])
def test_a_shift_brings_the_mean_to_the_smoothed_prevalence(positives: int) -> None:
    scores = np.random.default_rng(7).uniform(0.3, 0.95, 200)
    truth = (np.arange(200) < positives).astype(int)
    target = np.where(truth == 1, (positives + 1) / (positives + 2), 1 / (200 - positives + 2))
    assert fit_shift(scores, truth, "few")(scores).mean() == pytest.approx(target.mean(), abs=1e-6)


def test_json_round_trip_of_every_kind() -> None:
    patients = _patients(100)
    rng = np.random.default_rng(6)
    truth = rng.integers(0, 2, 100)
    scores = rng.random(100)
    for calibration in (
        fit_temperature(scores, truth),
        fit_platt(scores, truth),
        fit_isotonic(scores, truth),
        fit_calibration(scores, truth, patients % 5, patients),
        fit_shift(scores, truth, "few"),
        Calibration("identity"),
    ):
        assert Calibration.from_json(calibration.to_json()) == calibration


@pytest.mark.parametrize("losses", [{}, {"isotonic": 0.4, "temperature": 0.3}])
def test_what_was_called_temperature_and_had_a_shift_is_read_as_platt(losses) -> None:
    old = {
        "kind": "temperature", "scale": 0.5, "shift": -0.75, "knots": [], "negative_log_likelihood": losses, "reason": None,
    }  # fmt: skip
    read = Calibration.from_json(old)
    assert read.kind == "platt"
    assert dict(read.negative_log_likelihood) == {name.replace("temperature", "platt"): v for name, v in losses.items()}
    np.testing.assert_allclose(read([0.2, 0.9]), expit(0.5 * logit([0.2, 0.9]) - 0.75), rtol=1e-12)
    isotonic = old | {"kind": "isotonic", "scale": 1.0, "shift": 0.0, "knots": [[0, 0.1], [1, 0.9]]}
    assert Calibration.from_json(isotonic).kind == "isotonic"
    assert Calibration.from_json(read.to_json()) == read


def test_log_likelihood_is_finite_at_a_confident_mistake() -> None:
    assert np.isfinite(log_likelihood([0.0, 1.0], [1, 0]))
    assert log_likelihood([0.25, 0.5], [1, 0]) == pytest.approx(np.log(0.25) + np.log(0.5))
