"""Operating points: thresholds chosen by scores out of sample (see :mod:`ich_pipeline.ensemble.fit`); a score that reaches the threshold is called positive."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ich_pipeline.ensemble.ranking import Ranked

NAMES = ("high_sensitivity", "balanced", "high_specificity")


@dataclass(frozen=True)
class OperatingPoint:
    """A threshold and what it reached where it was chosen.

    Attributes:
        threshold: scores at or above it are called positive; None where it cannot be chosen.
        sensitivity, specificity: on the scores that it was chosen on; None with the threshold.
        reason: why there is no threshold, or why it misses its target; None otherwise.
    """

    threshold: float | None
    sensitivity: float | None
    specificity: float | None
    reason: str | None = None

    def to_json(self) -> dict[str, Any]:
        """Plain numbers and strings."""
        return {
            "threshold": self.threshold,
            "sensitivity": self.sensitivity,
            "specificity": self.specificity,
            "reason": self.reason,
        }

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> OperatingPoint:
        """Inverse of :meth:`to_json`."""
        return cls(value["threshold"], value["sensitivity"], value["specificity"], value["reason"])


def _fewest(count: int, target: float) -> int:
    """The smallest k with k / count >= target, in the same arithmetic as the check of it."""
    k = max(0, int(np.ceil(target * count)) - 1)
    while k / count < target:
        k += 1
    return k


def sensitive_threshold(scores: NDArray[np.floating], truth: NDArray[np.integer], target: float) -> float:
    """The highest threshold with sensitivity >= ``target``: the score of the positive that must still be found.

    Args:
        scores: shape (n,); -inf marks what can never be called.
        truth: shape (n,), 0 and 1, with at least one 1.
    """
    falling = np.sort(np.asarray(scores, dtype=np.float64)[np.asarray(truth) == 1])[::-1]
    return float(falling[max(_fewest(len(falling), target), 1) - 1])


def specific_threshold(scores: NDArray[np.floating], truth: NDArray[np.integer], target: float) -> float:
    """The lowest observed score that as a threshold has specificity >= ``target``.

    Just above the highest score where no observed one has it.
    """
    scores = np.asarray(scores, dtype=np.float64)
    rising = np.sort(scores[np.asarray(truth) == 0])
    limit = rising[max(_fewest(len(rising), target), 1) - 1]
    above = scores[scores > limit]
    return float(above.min() if len(above) else np.nextafter(scores.max(), np.inf))


def balanced_threshold(scores: NDArray[np.floating], truth: NDArray[np.integer]) -> float:
    """The observed score with the largest Youden index (sensitivity + specificity - 1); the lowest of equal ones.

    A score of -inf is never the threshold: what bears it can never be called.
    """
    ranked = Ranked(scores, truth)
    true, false = ranked.counts()
    youden = true / true[-1] - false / false[-1]
    youden = youden[np.isfinite(ranked.thresholds)]
    # Rounding must not decide between equal indices.
    best = np.flatnonzero(youden >= youden.max() - 1e-12)[-1]
    return float(ranked.thresholds[best])


def fit_operating_points(
    scores: NDArray[np.floating],
    truth: NDArray[np.integer],
    sensitivity_target: float,
    specificity_target: float,
    eligible: NDArray[np.bool_] | None = None,
    ordered: bool = True,
) -> dict[str, OperatingPoint]:
    """All three operating points of one label.

    Args:
        scores: shape (n,), finite.
        truth: shape (n,), 0 and 1.
        sensitivity_target: of ``high_sensitivity``.
        specificity_target: of ``high_specificity``.
        eligible: shape (n,): what may be called at all (a case that the first reading let through); None means all.
        ordered: keep ``high_sensitivity`` at or below ``balanced``, and ``high_specificity`` at or above.

    Returns:
        Name to point. Without positives or negatives every threshold is None, with the reason. Where too many positives
        are not eligible, ``high_sensitivity`` is the threshold that finds all eligible ones, with the reason.
    """
    truth = np.asarray(truth)
    if not 0 < truth.sum() < len(truth):
        reason = f"no {'positive' if truth.sum() == 0 else 'negative'} in calibration"
        return {name: OperatingPoint(None, None, None, reason) for name in NAMES}
    allowed = np.ones(len(truth), dtype=bool) if eligible is None else eligible
    reachable = np.where(allowed, np.asarray(scores, dtype=np.float64), -np.inf)
    if not (allowed & (truth == 1)).any():
        reason = "the first reading lets no positive case through in calibration"
        return {name: OperatingPoint(None, None, None, reason) for name in NAMES}
    thresholds = {
        "high_sensitivity": sensitive_threshold(reachable, truth, sensitivity_target),
        "balanced": balanced_threshold(reachable, truth),
        "high_specificity": specific_threshold(reachable, truth, specificity_target),
    }
    if ordered:  # the names promise it, and the targets alone do not keep it where the balanced point beats them
        thresholds["high_sensitivity"] = min(thresholds["high_sensitivity"], thresholds["balanced"])
        thresholds["high_specificity"] = max(thresholds["high_specificity"], thresholds["balanced"])
    reasons: dict[str, str] = {}
    if np.isneginf(thresholds["high_sensitivity"]):
        thresholds["high_sensitivity"] = float(reachable[allowed & (truth == 1)].min())
        reasons["high_sensitivity"] = f"sensitivity {sensitivity_target} is out of reach: the first reading misses more"
    return {
        name: OperatingPoint(
            threshold=thresholds[name],
            sensitivity=float((reachable[truth == 1] >= thresholds[name]).mean()),
            specificity=float((reachable[truth == 0] < thresholds[name]).mean()),
            reason=reasons.get(name),
        )
        for name in NAMES
    }
