"""Every statistic against an independent implementation (scikit-learn, scipy, statsmodels, its own definition) or print."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import brentq
from scipy.stats import norm
from sklearn.metrics import cohen_kappa_score, roc_auc_score
from statsmodels.stats.proportion import proportion_confint

from ich_pipeline.evaluation import agreement, delong, proportions

TOLERANCE = 1e-9


def example(seed: int, n: int = 90, levels: int = 12) -> tuple[np.ndarray, np.ndarray]:
    """Two scores with many ties, and the truth."""
    rng = np.random.default_rng(seed)
    truth = (rng.random(n) < 0.35).astype(int)
    scores = np.round((rng.normal(size=(2, n)) + truth) * levels / 4) / levels
    return scores, truth


def u_statistics(scores: np.ndarray, truth: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """AUCs and DeLong covariance by comparing every positive with every negative, as the definition says."""
    positives, negatives = scores[:, truth == 1], scores[:, truth == 0]
    kernel = (positives[:, :, None] > negatives[:, None, :]) + 0.5 * (positives[:, :, None] == negatives[:, None, :])
    v10, v01 = kernel.mean(axis=2), kernel.mean(axis=1)
    return kernel.mean(axis=(1, 2)), np.cov(v10) / v10.shape[1] + np.cov(v01) / v01.shape[1]


@pytest.mark.parametrize("seed", range(8))
def test_delong_equals_the_u_statistic(seed: int) -> None:
    scores, truth = example(seed)
    auc, covariance = u_statistics(scores, truth)
    found = delong.delong(scores, truth)
    np.testing.assert_allclose(found.auc, auc, atol=TOLERANCE)
    np.testing.assert_allclose(found.covariance, covariance, atol=1e-12)
    np.testing.assert_allclose(found.auc, [roc_auc_score(truth, s) for s in scores], atol=TOLERANCE)
    test = delong.paired_test(scores[0], scores[1], truth)
    error = math.sqrt(covariance[0, 0] + covariance[1, 1] - 2 * covariance[0, 1])
    assert test.z == pytest.approx((auc[0] - auc[1]) / error, abs=TOLERANCE)
    assert test.p == pytest.approx(2 * norm.sf(abs(auc[0] - auc[1]) / error), abs=TOLERANCE)
    half = norm.ppf(0.95) * error
    assert test.interval(0.9) == pytest.approx((auc[0] - auc[1] - half, auc[0] - auc[1] + half), abs=TOLERANCE)


def test_delong_of_the_published_ratings() -> None:
    """Hanley and McNeil 1982, table I: 58 normal and 51 abnormal CT heads, rated 1 to 5.

    Area 0.8932, DeLong standard error 0.0307, interval 0.83295 to 0.95339 (Stata's manual, roctab).
    """
    normal, abnormal = (33, 6, 6, 11, 2), (3, 2, 2, 11, 33)
    scores = np.repeat([1, 2, 3, 4, 5] * 2, [*normal, *abnormal])
    truth = np.repeat([0, 1], [sum(normal), sum(abnormal)])
    found = delong.delong(scores, truth)
    auc, variance = float(found.auc[0]), float(found.covariance[0, 0])
    assert auc == pytest.approx(0.8932, abs=5e-5)
    assert math.sqrt(variance) == pytest.approx(0.0307, abs=5e-5)
    assert delong.auc_interval(auc, variance, 0.95) == pytest.approx((0.83295, 0.95339), abs=5e-6)


def clustered(scores: np.ndarray, truth: np.ndarray, clusters: np.ndarray) -> np.ndarray:
    """Obuchowski's covariance, cluster by cluster."""
    k = len(scores)
    auc, _ = u_statistics(scores, truth)
    m, n = int(truth.sum()), int((1 - truth).sum())
    names = np.unique(clusters)
    a, b = np.zeros((k, len(names))), np.zeros((k, len(names)))
    for t, (column, name) in itertools.product(range(k), enumerate(names)):
        for i in np.flatnonzero(clusters == name):
            others = scores[t, truth != truth[i]]
            above = (scores[t, i] > others).mean() + 0.5 * (scores[t, i] == others).mean()
            (a if truth[i] else b)[t, column] += (above if truth[i] else 1 - above) - auc[t]
    i10, i01, i = (len(np.unique(clusters[truth == 1])), len(np.unique(clusters[truth == 0])), len(names))
    s10, s01 = i10 / ((i10 - 1) * m) * a @ a.T, i01 / ((i01 - 1) * n) * b @ b.T
    s11 = i / (i - 1) * a @ b.T
    return s10 / m + s01 / n + (s11 + s11.T) / (m * n)


@pytest.mark.parametrize("seed", range(4))
def test_clusters_are_obuchowskis(seed: int) -> None:
    scores, truth = example(seed)
    clusters = np.random.default_rng(seed).integers(0, 30, truth.size)
    found = delong.delong(scores, truth, clusters)
    np.testing.assert_allclose(found.covariance, clustered(scores, truth, clusters), atol=1e-12)
    alone = delong.delong(scores, truth, np.arange(truth.size) * 7)
    np.testing.assert_array_equal(alone.covariance, delong.delong(scores, truth).covariance)


def test_rows_copied_within_a_cluster_say_nothing_new() -> None:
    scores, truth = example(3)
    once = delong.delong(scores, truth).covariance
    twice = delong.delong(np.tile(scores, 3), np.tile(truth, 3), np.tile(np.arange(truth.size), 3)).covariance
    np.testing.assert_allclose(twice, once, rtol=1e-9)


def test_no_interval_where_there_is_no_variance() -> None:
    found = delong.delong([0.9, 0.8, 0.1, 0.2], [1, 1, 0, 0])
    assert found.auc[0] == 1 and delong.auc_interval(1.0, float(found.covariance[0, 0]), 0.95) is None
    one = delong.delong([0.9, 0.1, 0.2], [1, 0, 0])
    assert np.isnan(one.covariance).all()
    same = delong.paired_test([0.9, 0.3, 0.4, 0.2], [0.9, 0.3, 0.4, 0.2], [1, 1, 0, 0])
    assert same.value == 0 and math.isnan(same.p) and same.interval(0.95) is None


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.integers(-4, 4), st.booleans()), min_size=4, max_size=40))
def test_delong_is_blind_to_the_scale_and_mirrors(rows: list[tuple[int, bool]]) -> None:
    scores, truth = np.array([float(s) for s, _ in rows]), np.array([int(t) for _, t in rows])
    if not 2 <= truth.sum() <= truth.size - 2:
        return
    found = delong.delong(scores, truth)
    np.testing.assert_allclose(delong.delong(np.exp(scores), truth).covariance, found.covariance, atol=1e-12)
    mirrored = delong.delong(-scores, truth)
    assert mirrored.auc[0] == pytest.approx(1 - found.auc[0], abs=TOLERANCE)
    np.testing.assert_allclose(mirrored.covariance, found.covariance, atol=1e-12)


@pytest.mark.parametrize(("successes", "trials"), [(0, 10), (3, 10), (10, 10), (81, 263), (1, 1)])
@pytest.mark.parametrize("confidence", [0.9, 0.95])
def test_intervals_of_a_share(successes: int, trials: int, confidence: float) -> None:
    for ours, theirs in ((proportions.wilson, "wilson"), (proportions.clopper_pearson, "beta")):
        expected = proportion_confint(successes, trials, 1 - confidence, method=theirs)
        assert ours(successes, trials, confidence) == pytest.approx(expected, abs=TOLERANCE)


def test_published_intervals_of_a_share() -> None:
    """Newcombe 1998, table I: 81 of 263 and 15 of 148."""
    assert proportions.wilson(81, 263, 0.95) == pytest.approx((0.2553, 0.3662), abs=5e-5)
    assert proportions.clopper_pearson(15, 148, 0.95) == pytest.approx((0.0578, 0.1617), abs=5e-5)


def test_exact_interval_equals_the_closed_form_at_the_ends() -> None:
    assert proportions.clopper_pearson(20, 20, 0.95) == pytest.approx((0.025 ** (1 / 20), 1.0))
    assert proportions.clopper_pearson(0, 20, 0.95) == pytest.approx((0.0, 1 - 0.025 ** (1 / 20)))


def test_interval_of_f1_is_that_of_its_share() -> None:
    low, high = proportions.f1_interval(30, 10, 0.95)
    share = proportion_confint(30, 40, 0.05, method="wilson")
    assert (low, high) == pytest.approx([2 * s / (1 + s) for s in share], abs=TOLERANCE)
    assert low < 2 * 30 / (2 * 30 + 10) < high


@pytest.mark.parametrize(("b", "c"), [(1, 7), (7, 1), (0, 3), (5, 5), (12, 30), (1, 0)])
def test_mcnemar_by_adding_up_the_binomial_probabilities(b: int, c: int) -> None:
    found = agreement.mcnemar(b, c)
    total, fewer = b + c, min(b, c)
    mass = [math.comb(total, k) / 2**total for k in range(total + 1)]
    assert found.exact == pytest.approx(min(1.0, 2 * sum(mass[: fewer + 1])), abs=TOLERANCE)
    assert found.mid_p == pytest.approx(1.0 if b == c else 2 * (sum(mass[:fewer]) + mass[fewer] / 2), abs=TOLERANCE)
    assert found.statistic == pytest.approx((b - c) ** 2 / total, abs=TOLERANCE)
    assert found.chi2 == pytest.approx(math.erfc(abs(b - c) / math.sqrt(2 * total)), abs=TOLERANCE)


def test_published_mcnemar_tests() -> None:
    """Fagerland, Lydersen and Laake 2013, airway hyper-responsiveness: 1 and 7 discordant pairs."""
    found = agreement.mcnemar(1, 7)
    assert (found.chi2, found.exact, found.mid_p) == pytest.approx((0.034, 0.070, 0.039), abs=5e-4)
    assert agreement.mcnemar(0, 0).mid_p == 1.0


def constrained_score(b: int, c: int, n: int, difference: float) -> float:
    """The score statistic with the nuisance share found as the zero of the likelihood's derivative (b, c > 0)."""

    def slope(share: float) -> float:
        return b / (share + difference) + c / share - 2 * (n - b - c) / (1 - 2 * share - difference)

    least, most = max(0.0, -difference), (1 - difference) / 2
    best = float(brentq(slope, least + 1e-13, most - 1e-13, xtol=1e-16))  # type: ignore[arg-type]
    return (b - c - n * difference) / math.sqrt(n * (2 * best + difference * (1 - difference)))


@pytest.mark.parametrize(("b", "c", "n"), [(1, 7, 21), (9, 3, 50), (2, 2, 30), (30, 45, 200)])
def test_paired_difference_is_tangos(b: int, c: int, n: int) -> None:
    found = agreement.PairedDifference(b, c, n)
    for difference in (-0.2, -0.05, 0.1):
        assert found.score(difference) == pytest.approx(constrained_score(b, c, n, difference), abs=TOLERANCE)
    low, high = found.interval(0.95)
    z = norm.ppf(0.975)
    assert low == pytest.approx(
        brentq(lambda d: constrained_score(b, c, n, d) - z, -0.99, found.value, xtol=1e-13), abs=TOLERANCE
    )
    assert high == pytest.approx(
        brentq(lambda d: constrained_score(b, c, n, d) + z, found.value, 0.99, xtol=1e-13), abs=TOLERANCE
    )
    assert found.score(0.0) ** 2 == pytest.approx(agreement.mcnemar(b, c).statistic)  # at zero it is McNemar's
    assert found.noninferiority_p(0.1) == pytest.approx(norm.sf(constrained_score(b, c, n, -0.1)), abs=TOLERANCE)


def test_published_paired_interval() -> None:
    """Fagerland, Lydersen and Laake 2014: the airway data's score interval, -0.517 to -0.026."""
    found = agreement.PairedDifference(1, 7, 21)
    assert found.interval(0.95) == pytest.approx((-0.517, -0.026), abs=5e-4)


@settings(max_examples=150, deadline=None)
@given(st.integers(0, 12), st.integers(0, 12), st.integers(0, 12))
def test_paired_interval_holds_its_value_and_mirrors(b: int, c: int, rest: int) -> None:
    if b + c + rest == 0:
        return
    found, mirrored = agreement.PairedDifference(b, c, b + c + rest), agreement.PairedDifference(c, b, b + c + rest)
    low, high = found.interval(0.95)
    assert -1 <= low <= found.value <= high <= 1
    assert mirrored.interval(0.95) == pytest.approx((-high, -low), abs=TOLERANCE)
    # The interval and the test say the same.
    for margin in (0.05, 0.2):
        if abs(low + margin) > 1e-6:
            assert (found.noninferiority_p(margin) < 0.025) == (low > -margin)


@pytest.mark.parametrize("table", [[[20, 5], [10, 15]], [[40, 3], [2, 9]], [[11, 2, 1], [3, 9, 4], [0, 1, 12]]])
def test_kappa_equals_scikit_learn_and_its_error_the_delta_method(table: list[list[int]]) -> None:
    found = agreement.cohen_kappa(table)
    first, second = (np.repeat(i.ravel(), np.ravel(table)) for i in np.indices(np.shape(table)))
    assert found.value == pytest.approx(cohen_kappa_score(first, second), abs=TOLERANCE)

    def kappa(share: np.ndarray) -> float:
        chance = share.sum(axis=1) @ share.sum(axis=0) / share.sum() ** 2
        return float((np.trace(share) / share.sum() - chance) / (1 - chance))

    share = np.array(table) / np.sum(table)
    slope = np.zeros_like(share)
    for at in np.ndindex(share.shape):
        step = np.zeros_like(share)
        step[at] = 1e-6
        slope[at] = (kappa(share + step) - kappa(share - step)) / 2e-6
    error = math.sqrt(((share * slope**2).sum() - (share * slope).sum() ** 2) / np.sum(table))
    assert found.standard_error == pytest.approx(error, rel=1e-6)
    assert found.interval(0.95) == pytest.approx(
        (found.value - norm.ppf(0.975) * error, min(1.0, found.value + norm.ppf(0.975) * error)), abs=1e-6
    )
    if np.shape(table) == (2, 2):
        np.testing.assert_array_equal(agreement.two_by_two(first == 1, second == 1), table)


def test_kappa_of_one_category_is_undefined() -> None:
    for table in ([[5, 0], [0, 0]], [[0, 0], [0, 0]]):
        found = agreement.cohen_kappa(table)
        assert math.isnan(found.value) and found.interval(0.95) is None


@pytest.mark.parametrize("table", [[[24, 0], [18, 0]], [[22, 11], [0, 0]], [[0, 21], [0, 14]], [[7, 0], [0, 9]]])
def test_kappa_without_an_error_has_no_interval(table: list[list[int]]) -> None:
    """One rater says the same of every case, or both agree on all: the error is 0, which rounding may hide."""
    found = agreement.cohen_kappa(table)
    assert found.value == pytest.approx(float(table[0][0] == 7), abs=TOLERANCE) and found.interval(0.95) is None
