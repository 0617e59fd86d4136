"""JSON values of two judges of the same rows: differences of decisions with their tests, and shares with intervals.

P values and intervals of decisions take rows as independent.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ich_pipeline.evaluation.agreement import PairedDifference, mcnemar, paired_difference
from ich_pipeline.evaluation.proportions import wilson

MINIMUM = 2  # of positives and of negatives that must have been judged
Flags = NDArray[np.bool_]


def too_few(truth: Flags, verb: str) -> str | None:
    """Why decisions on these rows are not compared; None where they are."""
    positives, negatives = int(truth.sum()), int((~truth).sum())
    if min(positives, negatives) < MINIMUM:
        return f"{positives} positives and {negatives} negatives {verb}: {MINIMUM} of each are needed"
    return None


def right_calls(first: Flags, second: Flags, truth: Flags) -> dict[str, tuple[Flags, Flags]]:
    """By ``sensitivity`` and ``specificity``: whether each of the two is right, on the rows that it is a share of."""
    return {"sensitivity": (first[truth], second[truth]), "specificity": (~first[~truth], ~second[~truth])}


def dependent(patients: NDArray[np.integer], rows: str) -> dict[str, str]:
    """A ``note`` where some patients have several rows."""
    if len(np.unique(patients)) == len(patients):
        return {}
    return {"note": f"some patients have several {rows}: the tests of decisions take {rows} as independent"}


def share(successes: int, trials: int, confidence: float) -> dict[str, Any]:
    """A share with Wilson's interval."""
    return {"value": successes / trials, **bounds(wilson(successes, trials, confidence)), "method": "wilson"}


def mcnemar_entry(first: Flags, second: Flags, names: tuple[str, str]) -> dict[str, Any]:
    """McNemar's tests of who is right; ``names`` are those of the two judges."""
    found = mcnemar(int((first & ~second).sum()), int((second & ~first).sum()))
    return {
        f"{names[0]}_alone_right": found.only_first,
        f"{names[1]}_alone_right": found.only_second,
        "exact_p": found.exact,
        "mid_p": found.mid_p,
        "chi2": found.statistic,
        "chi2_p": found.chi2,
    }


def tango_entry(first: Flags, second: Flags, confidence: float) -> tuple[PairedDifference, dict[str, Any]]:
    """First minus second share with Tango's interval; for tests, the difference itself."""
    difference = paired_difference(first, second)
    return difference, {"value": difference.value, **bounds(difference.interval(confidence)), "method": "tango"}


def bounds(found: tuple[float, float] | None) -> dict[str, float | None]:
    """``low`` and ``high``, both None where there is no interval."""
    low, high = found or (None, None)
    return {"low": low, "high": high}


def finite(value: float) -> float | None:
    """None for NaN, which JSON has not."""
    return value if math.isfinite(value) else None
