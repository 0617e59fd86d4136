"""Two sets of decisions on the same cases: McNemar's tests, the score interval of a paired difference, Cohen's kappa.

All of them take cases as independent: several cases of one patient make p values too small and intervals too narrow.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.optimize import brentq
from scipy.stats import binom, norm

_ROUNDING = 1e-6  # what is left of a standard error of 0; that of one disagreement in 100,000 cases is above it


@dataclass(frozen=True)
class McNemar:
    """Discordant pairs and the p values of "both are equally often positive" (McNemar 1947; mid-p: Fagerland 2013).

    Attributes:
        only_first, only_second: pairs in which one alone is positive.
        exact: binomial, two-sided.
        mid_p: the exact one less half the probability of what was observed; recommended.
        statistic, chi2: asymptotic without continuity correction; None without a discordant pair.
    """

    only_first: int
    only_second: int
    exact: float
    mid_p: float
    statistic: float | None
    chi2: float | None


def mcnemar(only_first: int, only_second: int) -> McNemar:
    """The tests from the two discordant counts."""
    if only_first + only_second == 0:
        return McNemar(0, 0, 1.0, 1.0, None, None)
    from statsmodels.stats.contingency_tables import mcnemar as test

    table = np.array([[0, only_first], [only_second, 0]])
    exact = float(test(table, exact=True).pvalue)  # type: ignore[attr-defined]
    observed = float(binom.pmf(only_first, only_first + only_second, 0.5))
    mid_p = 1.0 if only_first == only_second else exact - observed
    asymptotic: Any = test(table, exact=False, correction=False)
    return McNemar(only_first, only_second, exact, mid_p, float(asymptotic.statistic), float(asymptotic.pvalue))


@dataclass(frozen=True)
class PairedDifference:
    """Share of the first minus share of the second over the same ``n`` cases, by its two discordant counts."""

    only_first: int
    only_second: int
    n: int

    @property
    def value(self) -> float:
        """The difference, -1 to 1."""
        return (self.only_first - self.only_second) / self.n

    def score(self, difference: float) -> float:
        """Tango's (1998) statistic of the hypothesis that the difference is ``difference``; standard normal under it."""
        b, c, n, d = self.only_first, self.only_second, self.n, difference
        # The share of "second alone" that is most likely under the hypothesis: root of a quadratic.
        linear = -b - c + (2 * n - b + c) * d
        root = math.sqrt(max(linear**2 + 8 * n * c * d * (1 - d), 0.0))
        share = max((root - linear) / (4 * n), 0.0, -d)
        variance = n * (2 * share + d * (1 - d))
        distance = b - c - n * d
        if variance <= 1e-15 * n:
            return 0.0 if abs(distance) < 1e-12 * n else math.copysign(math.inf, distance)
        return distance / math.sqrt(variance)

    def interval(self, confidence: float) -> tuple[float, float]:
        """All differences that the score test does not reject at ``1 - confidence``, two-sided."""
        z = float(norm.isf((1.0 - confidence) / 2.0))
        low = -1.0 if self.value <= -1 else _root(lambda d: min(self.score(d), 1e9) - z, -1.0, self.value)
        high = 1.0 if self.value >= 1 else _root(lambda d: max(self.score(d), -1e9) + z, self.value, 1.0)
        return low, high

    def noninferiority_p(self, margin: float) -> float:
        """One-sided p of "the first is worse than the second by ``margin`` or more"."""
        return float(norm.sf(self.score(-margin)))


def _root(of: Callable[[float], float], low: float, high: float) -> float:
    return float(brentq(of, low, high, xtol=1e-14))  # type: ignore[arg-type]  # its stub allows a second result


def paired_difference(first: ArrayLike, second: ArrayLike) -> PairedDifference:
    """From two boolean arrays over the same cases."""
    a, b = np.asarray(first, dtype=bool), np.asarray(second, dtype=bool)
    return PairedDifference(int((a & ~b).sum()), int((b & ~a).sum()), a.size)


@dataclass(frozen=True)
class Kappa:
    """Cohen's kappa with the large-sample standard error of Fleiss, Cohen and Everitt 1969; NaN where undefined."""

    value: float
    standard_error: float

    def interval(self, confidence: float) -> tuple[float, float] | None:
        """``kappa ± z · standard error``; None where there is no error."""
        if not self.standard_error > _ROUNDING:
            return None
        half = float(norm.isf((1.0 - confidence) / 2.0)) * self.standard_error
        return max(self.value - half, -1.0), min(self.value + half, 1.0)


def cohen_kappa(table: ArrayLike) -> Kappa:
    """From a square table of counts, rows the first rater's categories, columns the second's."""
    counts = np.asarray(table)
    if not counts.any():
        return Kappa(math.nan, math.nan)
    from statsmodels.stats.inter_rater import cohens_kappa

    with np.errstate(invalid="ignore"):  # one category only: 0 / 0
        found: Any = cohens_kappa(counts)
    return Kappa(float(found.kappa), float(found.std_kappa))


def two_by_two(first: ArrayLike, second: ArrayLike) -> NDArray[np.int64]:
    """Counts of two boolean arrays: ``[[both no, second alone], [first alone, both yes]]``."""
    a, b = np.asarray(first, dtype=np.int64), np.asarray(second, dtype=np.int64)
    return np.bincount(2 * a + b, minlength=4).reshape(2, 2)
