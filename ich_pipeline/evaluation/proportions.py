"""Intervals of a share of independent cases: Wilson 1927, Clopper and Pearson 1934, and F1 by way of its share."""

from __future__ import annotations

from scipy.stats import binomtest


def wilson(successes: int, trials: int, confidence: float) -> tuple[float, float]:
    """Score interval without continuity correction; ``trials`` > 0."""
    found = binomtest(successes, trials).proportion_ci(confidence, method="wilson")
    return float(found.low), float(found.high)


def clopper_pearson(successes: int, trials: int, confidence: float) -> tuple[float, float]:
    """Exact interval: never covers less than it says, mostly more; ``trials`` > 0."""
    found = binomtest(successes, trials).proportion_ci(confidence, method="exact")
    return float(found.low), float(found.high)


def f1_interval(true_positives: int, errors: int, confidence: float) -> tuple[float, float]:
    """Wilson's interval of tp / (tp + fp + fn), the share that F1 = 2s / (1 + s) rises with.

    Args:
        true_positives: tp.
        errors: fp + fn; with ``true_positives`` more than 0.
    """
    low, high = wilson(true_positives, true_positives + errors, confidence)
    return 2.0 * low / (1.0 + low), 2.0 * high / (1.0 + high)
