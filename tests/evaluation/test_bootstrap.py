"""The bootstrap by patient against resampling in the plain sense, with the same draws."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest
from sklearn.metrics import average_precision_score, roc_auc_score

from ich_pipeline.ensemble.operating_points import OperatingPoint
from ich_pipeline.evaluation import bootstrap
from ich_pipeline.evaluation.bootstrap import draw_counts, drawn_sums, interval
from ich_pipeline.evaluation.metrics import ECE_BINS, Level, label_metrics


def test_draws_are_the_generators_draws() -> None:
    drawn = np.random.default_rng(5).integers(7, size=(20, 7))
    counts = draw_counts(7, 20, 5)
    for row, patients in zip(counts, drawn, strict=True):
        np.testing.assert_array_equal(row, np.bincount(patients, minlength=7))
    assert (counts.sum(axis=1) == 7).all()


def test_drawing_takes_no_more_memory_than_the_counts() -> None:
    """A table of slices without patients draws each of them: a copy or two more is what a machine does not have."""
    tracemalloc.start()
    counts = draw_counts(3000, 300, 1)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 1.2 * counts.nbytes


def test_interval_is_the_percentile_and_needs_half_of_the_replicates() -> None:
    values = np.arange(101.0)
    assert interval(values, 0.9) == pytest.approx((5.0, 95.0))
    with_gaps = np.concatenate([values, np.full(100, np.nan)])
    assert interval(with_gaps, 0.9) == pytest.approx((5.0, 95.0))
    assert interval(np.concatenate([values, np.full(102, np.nan)]), 0.9) is None


def brute_force(cohort, measure) -> list[float]:
    """Rows of the drawn patients, once for every time that they were drawn."""
    patients = int(cohort.patients.max()) + 1
    drawn = np.random.default_rng(cohort.seed).integers(patients, size=(cohort.params.bootstrap, patients))
    values = []
    for who in drawn:
        rows = np.concatenate([np.flatnonzero(cohort.patients == p) for p in who])
        values.append(measure(cohort.reading.final[rows], cohort.truth[rows]))
    return values


def subtypes(measure):
    def mean(scores, truth):
        return np.mean([measure(truth[:, k], scores[:, k]) for k in range(1, 6)])

    return mean


def calibration_error(scores, truth) -> float:
    p, y = scores[:, 1], truth[:, 1]
    bins = np.minimum((p * ECE_BINS).astype(int), ECE_BINS - 1)
    shares = [(bins == b).mean() * abs(p[bins == b].mean() - y[bins == b].mean()) for b in np.unique(bins)]
    return float(sum(shares))


def test_intervals_equal_brute_force_resampling(build) -> None:
    cohort = build(patients=12, slices=6, replicates=60, bleeding=dict.fromkeys(("epidural", "subdural"), 7))
    slices = cohort.estimates["slice"]
    threshold = cohort.ensemble.slice_points["any"]["balanced"].threshold
    # "any" has a precision of 1, which has no bootstrap interval.
    subdural = cohort.ensemble.slice_points["subdural"]["high_sensitivity"].threshold
    checks = {
        ("any", "auc"): lambda s, y: roc_auc_score(y[:, 0], s[:, 0]),
        ("subdural", "ap"): lambda s, y: average_precision_score(y[:, 5], s[:, 5]),
        ("mean", "auc"): subtypes(roc_auc_score),
        ("mean", "ap"): subtypes(average_precision_score),
        ("any", "prevalence"): lambda s, y: y[:, 0].mean(),
        ("any", "brier"): lambda s, y: ((s[:, 0] - y[:, 0]) ** 2).mean(),
        ("epidural", "ece"): calibration_error,
        ("any", "sensitivity@balanced"): lambda s, y: (s[y[:, 0] == 1, 0] >= threshold).mean(),
        ("subdural", "ppv@high_sensitivity"): lambda s, y: y[s[:, 5] >= subdural, 5].mean(),
        ("any", "f1@balanced"): lambda s, y: (
            2 * (y[s[:, 0] >= threshold, 0]).sum() / (y[:, 0].sum() + (s[:, 0] >= threshold).sum())
        ),
    }
    for (label, metric), measure in checks.items():
        expected = np.array(brute_force(cohort, measure))
        assert not np.isnan(expected).any()
        np.testing.assert_allclose(slices[label][metric].replicates, expected, atol=1e-12, err_msg=f"{label} {metric}")
        entry = cohort.metrics()["slice"][label][metric]
        np.testing.assert_allclose(
            [entry["low"], entry["high"]],
            np.quantile(expected, [0.025, 0.975]),
            atol=1e-12,
            err_msg=f"{label} {metric}",
        )


def test_many_draws_are_kept_as_bytes_and_give_the_same_figures(monkeypatch: pytest.MonkeyPatch) -> None:
    """Slices without patients are a patient each: 100,000 of them took 1.6 GB for 2,000 replicates."""
    rng = np.random.default_rng(8)
    truth = np.arange(900) % 2
    scores, who = np.clip(rng.random(900) * 0.7 + truth * 0.3, 0, 1), np.arange(900) % 700
    points = {"here": OperatingPoint(0.5, None, None)}
    plain = draw_counts(700, 300, 4)
    expected = label_metrics(scores, truth, points, Level(who, plain))
    monkeypatch.setattr(bootstrap, "LARGE", 700 * 300 - 1)
    monkeypatch.setattr(bootstrap, "_CHUNK", 700 * 37)
    tracemalloc.start()
    small = draw_counts(700, 300, 4)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert plain.dtype == np.float64 and peak < plain.nbytes / 4
    np.testing.assert_array_equal(small, plain)
    found = label_metrics(scores, truth, points, Level(who, small))
    for key, estimate in expected.items():
        replicates = found[key].replicates
        assert (replicates is None) == (estimate.replicates is None)
        if replicates is not None and estimate.replicates is not None:
            np.testing.assert_allclose(replicates, estimate.replicates, rtol=1e-12, err_msg=key)
    tops = rng.random((700, 3))
    np.testing.assert_allclose(drawn_sums(small, tops), plain @ tops, rtol=1e-12)
