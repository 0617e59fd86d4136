"""Conformal sets: the definition by p-values, exact ranks, coverage as Beta-Binomial theory has it, one row a patient."""

from __future__ import annotations

import itertools
import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import beta, betabinom

from ich_pipeline.ensemble.conformal import (
    NOT_AVAILABLE,
    ConformalLabel,
    excluded,
    fit_conformal,
    minimum_patients,
    one_a_patient,
)

SCORES = st.lists(st.integers(0, 12).map(lambda v: v / 12), min_size=1, max_size=40)  # with ties
COVERAGES = st.sampled_from([0.5, 0.7, 0.8, 0.9, 0.95])


def p_value(calibration: list[float], score: float, more_strange: int) -> float:
    """The definition: the share of calibration patients and the new one that are at least as strange as the new one.

    ``more_strange``: 1 where high scores are strange (patients without the finding), -1 where low ones are.
    """
    return (sum(more_strange * s >= more_strange * score for s in calibration) + 1) / (len(calibration) + 1)


@given(negative=SCORES, positive=SCORES, coverage=COVERAGES)
def test_a_class_is_in_the_set_where_its_p_value_exceeds_one_minus_coverage(negative, positive, coverage) -> None:
    found = fit_conformal(negative, positive, coverage)
    short = min(len(negative), len(positive)) < minimum_patients(coverage)
    assert (found.reason is not None) == short
    if short:
        return
    scores = np.linspace(0, 1, 25)
    absent, present = found.holds(scores)
    for score, a, p in zip(scores, absent, present, strict=True):
        # Compared as whole numbers: 1 - 0.9 is not a tenth.
        alpha = round(100 * (1 - coverage))
        for calibration, sign, inside in ((negative, 1, a), (positive, -1, p)):
            patients = round(p_value(calibration, score, sign) * (len(calibration) + 1))
            assert inside == (100 * patients > alpha * (len(calibration) + 1))


def test_p_values_are_those_of_crepes() -> None:
    import crepes

    rng = np.random.default_rng(0)
    truth = np.repeat([0, 1], [35, 22])
    score = np.round(rng.beta(2 + 2 * truth, 4 - 2 * truth), 2)
    new = np.linspace(0.005, 0.995, 100)
    theirs = crepes.ConformalClassifier().fit(np.where(truth == 1, 1 - score, score), bins=truth)
    for coverage in (0.8, 0.9, 0.93):
        # No p-value is 1 - coverage itself: crepes would take it into the set, the definition does not.
        assert all((1 - Fraction(str(coverage))) * (n + 1) % 1 for n in (35, 22))
        found = fit_conformal(score[truth == 0], score[truth == 1], coverage)
        for k, holds in enumerate(found.holds(new)):
            alphas = np.stack([new if k == 0 else 1 - new] * 2, axis=1)
            sets = theirs.predict_set(alphas, bins=np.full(len(new), k), confidence=coverage, smoothing=False)
            np.testing.assert_array_equal(holds, np.asarray(sets)[:, k] == 1)


@pytest.mark.parametrize(("n", "coverage", "k"), [(9, 0.9, 1), (8, 0.9, 0), (19, 0.95, 1), (99, 0.9, 10), (9, 0.7, 3)])
def test_ranks_are_exact(n, coverage, k) -> None:
    assert excluded(n, coverage) == k  # (1 - 0.9) * 10 is 0.9999… in floats
    assert excluded(minimum_patients(coverage), coverage) == 1
    assert excluded(minimum_patients(coverage) - 1, coverage) == 0


def test_the_published_range_of_a_thousand_calibration_points() -> None:
    """Angelopoulos and Bates 2021, arXiv 2107.07511, section 3.2: coverage 0.9 then lies between 0.88 and 0.92."""
    beyond = excluded(1000, 0.9)
    low, high = beta(1001 - beyond, beyond).ppf([0.025, 0.975])
    assert (round(low, 2), round(high, 2)) == (0.88, 0.92)


@settings(max_examples=8, deadline=None)
@given(n=st.integers(9, 60), coverage=st.sampled_from([0.9, 0.95, 0.8]), seed=st.integers(0, 2**32 - 1))
def test_coverage_on_exchangeable_patients_is_beta_binomial(n, coverage, seed) -> None:
    """However bad the score: sums over repetitions lie where theory says (six standard errors; no flake in practice)."""
    n = max(n, minimum_patients(coverage))
    rng = np.random.default_rng(seed)
    repetitions, new = 400, 50
    counts = np.empty((2, repetitions))
    for i in range(repetitions):
        negative, positive = rng.normal(0, 1, n + new), rng.normal(0.3, 2, n + new)
        found = fit_conformal(negative[:n], positive[:n], coverage)
        counts[:, i] = found.holds(negative[n:])[0].sum(), found.holds(positive[n:])[1].sum()
    beyond = excluded(n, coverage)
    law = betabinom(new, n + 1 - beyond, beyond)
    assert law.mean() / new >= coverage - 1e-12
    for of_class in counts:
        assert abs(of_class.mean() - law.mean()) < 6 * law.std() / math.sqrt(repetitions)
        # The spread, too: without it a set that always holds everything would pass.
        fourth = float(law.expect(lambda c: (c - law.mean()) ** 4))
        error = math.sqrt((fourth - law.var() ** 2) / repetitions)
        assert abs(of_class.var() - law.var()) < 6 * error


def test_too_few_patients_say_how_many_are_needed() -> None:
    found = fit_conformal(np.linspace(0, 1, 30), [0.5] * 8, 0.9)
    assert found.reason == "calibration has 8 patients with the finding, and 90% coverage needs at least 9"
    assert (found.words([0.1, 0.9]) == NOT_AVAILABLE).all()
    assert (found.negatives, found.positives) == (30, 8)
    with pytest.raises(ValueError, match="needs at least 9"):
        found.holds([0.5])
    assert "without the finding" in str(fit_conformal([], [0.5] * 9, 0.9).reason)


def test_the_four_sets() -> None:
    overlapping, apart = ConformalLabel(0.6, 0.4, 9, 9), ConformalLabel(0.3, 0.7, 9, 9)
    assert list(overlapping.words([0.1, 0.4, 0.6, 0.9])) == ["absent", "undecided", "undecided", "present"]
    assert list(apart.words([0.3, 0.5, 0.7])) == ["absent", "neither", "present"]


def test_one_row_a_patient_whatever_the_order() -> None:
    names = [f"1.2.{i}" for i in range(12)]
    patients = np.repeat([3, 1, 2, 0], 3)
    members = np.array([True, False, True] * 3 + [False] * 3)
    rows = one_a_patient(names, patients, members)
    assert list(patients[rows]) == [1, 2, 3]
    assert members[rows].all()
    for order in itertools.islice(itertools.permutations(range(12)), 0, 10**6, 10**5):
        moved = one_a_patient([names[i] for i in order], patients[list(order)], members[list(order)])
        assert [names[order[row]] for row in moved] == [names[row] for row in rows]
    # Not always the first: a rule by position would sample one end of every head.
    many = one_a_patient([f"a{i}" for i in range(600)], np.repeat(np.arange(100), 6), np.ones(600, bool)) % 6
    assert set(many) == set(range(6))
