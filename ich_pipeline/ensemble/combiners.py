"""Combiners: how the members' probabilities become one.

The five of Ju, Bibaut and van der Laan (2018), *The relative performance of ensemble methods with deep convolutional
neural networks for image classification*, J. Appl. Stat. 45(15), for multi-label probabilities, label by label:

``plain_mean``
    equal weights.
``weighted_mean``
    weights in proportion to each member's average precision.
``bayes_optimal``
    weights in proportion to the likelihood of the labels under each member (uniform prior). Class-weighted training
    shifts every member's scale, so the likelihood is taken after a logit-linear recalibration of the member.
``super_learner``
    stacking: non-negative weights on the members' logits with an intercept, fitted to the log-loss. The weights are
    kept, normalised to one; scale and intercept are left to the calibration that follows every combiner.
``majority_vote``
    the share of members whose probability reaches the member's own threshold (largest Youden index).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit, softmax

from ich_pipeline.ensemble.calibration import fit_platt, log_likelihood, logit
from ich_pipeline.ensemble.operating_points import balanced_threshold
from ich_pipeline.ensemble.ranking import Ranked

Kind = Literal["plain_mean", "weighted_mean", "bayes_optimal", "super_learner", "majority_vote"]
# From simple to complex: between equal validation figures the earlier one is taken.
KINDS: tuple[Kind, ...] = get_args(Kind)

# Pull of the super learner's weights towards the plain mean, per squared unit of weight, in nats a slice: it decides
# only where the log-loss is flat (members that say the same, or labels that the members separate perfectly).
SUPER_LEARNER_RIDGE = 1e-3
IDLE_WEIGHT = 1e-3  # a member below it for every label costs a forward pass for hardly a change


@dataclass(frozen=True)
class Combiner:
    """One fitted combiner.

    Attributes:
        kind: one of :data:`KINDS`.
        members: names of the architectures, in the order of the weights.
        weights: for each label one weight a member, non-negative and summing to one.
        thresholds: for each label one vote threshold a member; only for ``majority_vote``.
        reasons: for each label why its weights are equal although the kind would fit them; None where they are fitted.
    """

    kind: Kind
    members: tuple[str, ...]
    weights: tuple[tuple[float, ...], ...]
    thresholds: tuple[tuple[float, ...], ...] | None
    reasons: tuple[str | None, ...]

    def __call__(self, probabilities: Mapping[str, NDArray[np.floating]]) -> NDArray[np.float64]:
        """Combine.

        Args:
            probabilities: for each member an array of shape (slices, labels) in 0..1; others are ignored.

        Returns:
            Uncalibrated scores of shape (slices, labels) in 0..1.

        Raises:
            KeyError: a member is missing.
        """
        stacked = np.stack([np.asarray(probabilities[name], dtype=np.float64) for name in self.members], axis=-1)
        weights = np.asarray(self.weights)
        if self.kind == "super_learner":
            return expit((logit(stacked) * weights).sum(axis=-1))
        if self.kind == "majority_vote":
            stacked = (stacked >= np.asarray(self.thresholds)).astype(np.float64)
        return (stacked * weights).sum(axis=-1)

    def without_idle(self) -> Combiner:
        """The same without members whose weight is below :data:`IDLE_WEIGHT` for every label; theirs go to the others."""
        weights = np.asarray(self.weights)
        used = np.flatnonzero(weights.max(axis=0) >= IDLE_WEIGHT)
        if len(used) == len(self.members):
            return self
        kept = weights[:, used] / weights[:, used].sum(axis=1, keepdims=True)
        return replace(
            self,
            members=tuple(self.members[i] for i in used),
            weights=tuple(tuple(float(w) for w in row) for row in kept),
            thresholds=None if self.thresholds is None else tuple(tuple(r[i] for i in used) for r in self.thresholds),
        )

    def to_json(self) -> dict[str, Any]:
        """Plain lists and strings."""
        return {
            "kind": self.kind,
            "members": list(self.members),
            "weights": [list(row) for row in self.weights],
            "thresholds": None if self.thresholds is None else [list(row) for row in self.thresholds],
            "reasons": list(self.reasons),
        }

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Combiner:
        """Inverse of :meth:`to_json`."""
        thresholds = value["thresholds"]
        return cls(
            kind=value["kind"],
            members=tuple(value["members"]),
            weights=tuple(tuple(row) for row in value["weights"]),
            thresholds=None if thresholds is None else tuple(tuple(row) for row in thresholds),
            reasons=tuple(value["reasons"]),
        )


def fit_combiner(
    kind: Kind, members: Sequence[str], probabilities: Mapping[str, NDArray[np.floating]], truth: NDArray[np.integer]
) -> Combiner:
    """Fit one combiner.

    Args:
        kind: one of :data:`KINDS`.
        members: the architectures that take part.
        probabilities: for each of them an array of shape (slices, labels).
        truth: 0 and 1, shape (slices, labels).

    Returns:
        The combiner. A label without a positive or without a negative slice gets equal weights, with the reason.
    """
    stacked = np.stack([np.asarray(probabilities[name], dtype=np.float64) for name in members], axis=-1)
    equal = np.full(len(members), 1.0 / len(members))
    weights, thresholds, reasons = [], [], []
    for label in range(truth.shape[1]):
        y, scores = truth[:, label], stacked[:, label, :]
        one_class = None if 0 < y.sum() < len(y) else "one class only in calibration"
        weights.append(equal if one_class or kind in ("plain_mean", "majority_vote") else _WEIGHTS[kind](scores, y))
        if kind == "majority_vote":
            thresholds.append([0.5 if one_class else balanced_threshold(s, y) for s in scores.T])
        reasons.append(one_class if kind != "plain_mean" else None)
    return Combiner(
        kind=kind,
        members=tuple(members),
        weights=tuple(tuple(float(w) for w in row) for row in weights),
        thresholds=tuple(tuple(float(t) for t in row) for row in thresholds) if kind == "majority_vote" else None,
        reasons=tuple(reasons),
    )


def _by_average_precision(scores: NDArray[np.float64], y: NDArray[np.integer]) -> NDArray[np.float64]:
    precision = np.array([Ranked(s, y).average_precision() for s in scores.T])
    return precision / precision.sum()


def _by_likelihood(scores: NDArray[np.float64], y: NDArray[np.integer]) -> NDArray[np.float64]:
    return softmax([log_likelihood(fit_platt(s, y)(s), y) for s in scores.T])


def _by_stacking(scores: NDArray[np.float64], y: NDArray[np.integer]) -> NDArray[np.float64]:
    from scipy.optimize import minimize  # not where a fitted one answers

    x = logit(scores)
    members = x.shape[1]
    sign = 2.0 * y - 1.0

    def loss(parameters: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        away = parameters[:members] - 1.0 / members
        margin = sign * (x @ parameters[:members] + parameters[members])
        slope = -sign * expit(-margin) / len(y)
        gradient = np.append(x.T @ slope + 2 * SUPER_LEARNER_RIDGE * away, slope.sum())
        return float(np.logaddexp(0.0, -margin).mean() + SUPER_LEARNER_RIDGE * away @ away), gradient

    start = np.append(np.full(members, 1.0 / members), 0.0)
    bounds = [(0.0, None)] * members + [(None, None)]
    fitted = np.maximum(minimize(loss, start, jac=True, bounds=bounds, method="L-BFGS-B").x[:members], 0.0)
    # All members useless: no weight is better than another, which is the plain mean.
    return fitted / fitted.sum() if fitted.sum() > 0 else np.full(members, 1.0 / members)


_WEIGHTS = {"weighted_mean": _by_average_precision, "bayes_optimal": _by_likelihood, "super_learner": _by_stacking}
