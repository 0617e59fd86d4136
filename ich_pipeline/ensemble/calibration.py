"""Calibration of one label's score: temperature, Platt scaling, centred isotonic or a shift, all strictly increasing.

*Temperature* is p' = sigmoid(logit(p) / T), T > 0 (Guo et al. 2017, arXiv 1706.04599): one number, so it learns least
from noise. It cannot mend what class-weighted training does, which moves the log-odds of every probability.

*Platt scaling* (Platt 1999) can: p' = sigmoid(scale * logit(p) + shift), scale > 0.

*Shift* is Platt's with scale 1, where positives come from too few patients to learn a slope from: it brings the mean to
the (smoothed) share of positive slices, or a rare finding of a class-weighted network would be probable everywhere.

All three are fitted by maximum likelihood under Platt's smoothed targets, with which classes that the scores separate
do not drive the scale to infinity, where probabilities would be tied at 0 and 1.

*Isotonic* is centred isotonic regression (Oron and Flournoy 2017, doi 10.1080/19466315.2017.1286256): the pooled blocks
of the isotonic fit, joined by straight lines between the blocks' centres. Plain isotonic regression is flat within a
block; such ties lower AUC and average precision and leave few thresholds to choose from. Centred regression keeps the
order of the scores exactly, so calibration never changes a ranking. A block's value is shrunk towards the prevalence by
the block's own size, as if it had two slices more: one positive slice at the top does not make the next one certain.
Beyond the outer centres the line leads to what the outer block would be with one more positive (or negative) slice,
never to 0 or 1.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import expit

from ich_pipeline.ensemble.logit_linear import least_loss, smoothed_targets

# Probabilities nearer to 0 or 1 than this carry no information in float32.
_CLIP = 1e-9
# A scale below it would be a constant; a worthless score must still keep its order.
_SMALLEST_SCALE = 1e-3
_LARGEST_SCALE = 1e3
# Slices at the prevalence that every isotonic block is mixed with.
_PRIOR_SLICES = 2.0
# With positives in fewer patients, a fold can leave a fit with one patient or none.
MINIMUM_POSITIVE_PATIENTS = 3


def logit(p: ArrayLike) -> NDArray[np.float64]:
    """Log-odds, with probabilities kept 1e-9 away from 0 and 1."""
    clipped = np.clip(np.asarray(p, dtype=np.float64), _CLIP, 1.0 - _CLIP)
    return np.log(clipped) - np.log1p(-clipped)


def log_likelihood(p: ArrayLike, truth: ArrayLike) -> float:
    """Sum of the log-likelihoods of 0/1 truth under probabilities, in nats."""
    clipped = np.clip(np.asarray(p, dtype=np.float64), _CLIP, 1.0 - _CLIP)
    return float(np.where(np.asarray(truth) == 1, np.log(clipped), np.log1p(-clipped)).sum())


@dataclass(frozen=True)
class Calibration:
    """A strictly increasing map from score to probability.

    Attributes:
        kind: ``temperature``, ``platt``, ``isotonic``, ``shift``, or ``identity``.
        scale, shift: of the logit, where kind is ``temperature`` (scale = 1/T, shift = 0), ``platt`` or ``shift``
            (scale = 1).
        knots: (score, probability) pairs, both rising, where kind is ``isotonic``.
        negative_log_likelihood: cross-validated mean over slices for each kind tried, in nats.
        reason: why it is no more than a shift; None otherwise.
    """

    kind: Literal["temperature", "platt", "isotonic", "shift", "identity"]
    scale: float = 1.0
    shift: float = 0.0
    knots: tuple[tuple[float, float], ...] = ()
    negative_log_likelihood: tuple[tuple[str, float], ...] = ()
    reason: str | None = None

    def __call__(self, scores: ArrayLike) -> NDArray[np.float64]:
        """Probabilities of scores in 0..1; any shape."""
        scores = np.asarray(scores, dtype=np.float64)
        if self.kind in ("temperature", "platt", "shift"):
            return expit(self.scale * logit(scores) + self.shift)
        if self.kind == "isotonic":
            x, y = np.array(self.knots).T
            return np.interp(scores, x, y)
        return scores

    def to_json(self) -> dict[str, Any]:
        """Plain numbers, lists and strings."""
        return {
            "kind": self.kind,
            "scale": self.scale,
            "shift": self.shift,
            "knots": [list(knot) for knot in self.knots],
            "negative_log_likelihood": dict(self.negative_log_likelihood),
            "reason": self.reason,
        }

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Calibration:
        """Inverse of :meth:`to_json`.

        Before ``ensemble/2`` Platt scaling was called temperature: it is known by its shift, or by losses without
        Platt's, and gets its name.
        """
        kind, losses = value["kind"], dict(value["negative_log_likelihood"])
        if kind == "temperature" and (value["shift"] != 0 or (losses and "platt" not in losses)):
            kind = "platt"
        if "temperature" in losses and "platt" not in losses:
            losses["platt"] = losses.pop("temperature")
        return cls(
            kind=kind,
            scale=value["scale"],
            shift=value["shift"],
            knots=tuple((float(x), float(y)) for x, y in value["knots"]),
            negative_log_likelihood=tuple(sorted(losses.items())),
            reason=value["reason"],
        )


def fit_temperature(scores: ArrayLike, truth: ArrayLike) -> Calibration:
    """Maximum likelihood of the scale of the logit alone, under Platt's smoothed targets.

    Args:
        scores: shape (n,) in 0..1.
        truth: shape (n,), 0 and 1.
    """
    scale, _ = least_loss(logit(scores), smoothed_targets(truth), 1.0, 0.0, free="scale")
    # The loss is convex: outside, the best allowed scale is the bound.
    return Calibration("temperature", scale=float(np.clip(scale, _SMALLEST_SCALE, _LARGEST_SCALE)))


def fit_platt(scores: ArrayLike, truth: ArrayLike) -> Calibration:
    """Maximum likelihood of scale and shift of the logit under Platt's smoothed targets.

    Args:
        scores: shape (n,) in 0..1.
        truth: shape (n,), 0 and 1.
    """
    x, target = logit(scores), smoothed_targets(truth)
    scale, shift = least_loss(x, target, 1.0, 0.0, free="both")
    if not _SMALLEST_SCALE <= scale <= _LARGEST_SCALE:
        # The loss is convex: the best allowed scale is the bound, with the shift that suits it.
        scale = float(np.clip(scale, _SMALLEST_SCALE, _LARGEST_SCALE))
        scale, shift = least_loss(x, target, scale, shift, free="shift")
    return Calibration("platt", scale=scale, shift=shift)


def fit_shift(scores: ArrayLike, truth: ArrayLike, reason: str) -> Calibration:
    """:func:`fit_platt` with the scale held at 1.

    Args:
        scores: shape (n,) in 0..1.
        truth: shape (n,), 0 and 1; may be all of one kind.
        reason: why no slope is fitted.
    """
    _, shift = least_loss(logit(scores), smoothed_targets(truth), 1.0, 0.0, free="shift")
    return Calibration("shift", shift=shift, reason=reason)


def fit_isotonic(scores: ArrayLike, truth: ArrayLike) -> Calibration:
    """Centred isotonic regression with blocks shrunk towards the prevalence.

    Args:
        scores: shape (n,) in 0..1.
        truth: shape (n,), 0 and 1.
    """
    x, y = np.asarray(scores, dtype=np.float64), np.asarray(truth, dtype=np.float64)
    distinct, which, counts = np.unique(x, return_inverse=True, return_counts=True)
    positives = np.bincount(which, weights=y)
    starts = _block_starts(positives / counts, counts)
    # Of one class only, the share itself would be 0 or 1, and an unseen slice could refute it.
    prevalence = (y.sum() + 1.0) / (len(y) + 2.0)
    sizes = np.add.reduceat(counts, starts)
    weights = sizes + _PRIOR_SLICES
    values = (np.add.reduceat(positives, starts) + _PRIOR_SLICES * prevalence) / weights
    sums = np.add.reduceat(distinct * counts, starts)
    # A small block moves further than its large neighbour and may overtake it: such blocks become one. So do those that
    # are equal but for rounding.
    merged = _block_starts(np.round(values, 12), weights)
    centres = np.add.reduceat(sums, merged) / np.add.reduceat(sizes, merged)
    values = np.add.reduceat(values * weights, merged) / np.add.reduceat(weights, merged)
    weights = np.add.reduceat(weights, merged)
    knots = list(zip(centres.tolist(), values.tolist(), strict=True))
    if centres[0] > 0.0:
        knots.insert(0, (0.0, float(values[0] * weights[0] / (weights[0] + 1.0))))
    if centres[-1] < 1.0:
        knots.append((1.0, float((values[-1] * weights[-1] + 1.0) / (weights[-1] + 1.0))))
    return Calibration("isotonic", knots=tuple(knots))


def _block_starts(values: NDArray[np.float64], weights: NDArray[np.number]) -> NDArray[np.intp]:
    """Where the pooled blocks of the isotonic fit start."""
    from scipy.optimize import isotonic_regression  # not where a fitted one answers

    return np.asarray(isotonic_regression(values, weights=weights).blocks)[:-1]


def fit_calibration(
    scores: NDArray[np.floating],
    truth: NDArray[np.integer],
    fold: NDArray[np.integer],
    patients: NDArray[np.integer],
) -> Calibration:
    """The kind with the lowest cross-validated negative log-likelihood, fitted on everything.

    Args:
        scores: shape (n,) in 0..1.
        truth: shape (n,), 0 and 1.
        fold: shape (n,): each slice's fold; a patient is in one fold only.
        patients: shape (n,): each slice's patient.

    Returns:
        The calibration; a shift, with the reason, where positives or negatives come from fewer than
        :data:`MINIMUM_POSITIVE_PATIENTS` patients.
    """
    for value, name in ((1, "positives"), (0, "negatives")):
        found = len(np.unique(patients[truth == value]))
        if found < MINIMUM_POSITIVE_PATIENTS:
            return fit_shift(
                scores, truth, f"{name} in {found} calibration patients, {MINIMUM_POSITIVE_PATIENTS} needed"
            )
    # From simple to complex: of equal ones the first is taken.
    fits: dict[Literal["temperature", "platt", "isotonic"], Callable[[ArrayLike, ArrayLike], Calibration]] = {
        "temperature": fit_temperature,
        "platt": fit_platt,
        "isotonic": fit_isotonic,
    }
    losses: dict[str, float] = {}
    for kind, fit in fits.items():
        total = math.fsum(  # exact: from Python 3.12 on sum() rounds otherwise than before
            log_likelihood(fit(scores[fold != k], truth[fold != k])(scores[fold == k]), truth[fold == k])
            for k in np.unique(fold)
        )
        losses[kind] = -total / len(truth)
    best = min(fits, key=lambda kind: losses[kind])
    chosen = fits[best](scores, truth)
    return Calibration(
        best, chosen.scale, chosen.shift, chosen.knots, negative_log_likelihood=tuple(sorted(losses.items()))
    )
