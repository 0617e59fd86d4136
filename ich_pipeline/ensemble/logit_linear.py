"""The logit-linear fit behind temperature, Platt scaling and shift: maximum likelihood of two numbers or of one."""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import expit

# Newton's method: most steps; what keeps the curvature above 0 where all probabilities are 0 or 1; smallest gain in nats.
_NEWTON_STEPS = 100
_NEWTON_DAMPING = 1e-9
_NEWTON_GAIN = 1e-14

Free = Literal["both", "scale", "shift"]


def smoothed_targets(truth: ArrayLike) -> NDArray[np.float64]:
    """Platt's targets (1999) for truth of 0 and 1, shape (n,): as if each class had one slice of the other."""
    y = np.asarray(truth)
    positives = int(y.sum())
    return np.where(y == 1, (positives + 1) / (positives + 2), 1 / (len(y) - positives + 2))


def least_loss(
    x: NDArray[np.float64],
    target: NDArray[np.float64],
    scale: float,
    shift: float,
    free: Free,
) -> tuple[float, float]:
    """Scale and shift with the least cross-entropy of sigmoid(scale x + shift), by Newton steps, halved until they help.

    Several times faster than a general solver, and this is the inner loop of the choice of a combiner.

    Args:
        x: log-odds, shape (n,).
        target: shape (n,), in 0..1.
        scale, shift: where to begin, and the value of what is not free.
        free: what is fitted.
    """

    def loss(a: float, b: float) -> float:
        z = a * x + b
        return float((np.logaddexp(0.0, z) - target * z).mean())

    now = loss(scale, shift)
    for _ in range(_NEWTON_STEPS):
        p = expit(scale * x + shift)
        away, curve = p - target, p * (1.0 - p) + _NEWTON_DAMPING
        step_scale, step_shift = _step(x, away, curve, free)
        length = 1.0
        while (after := loss(scale - length * step_scale, shift - length * step_shift)) > now and length > 1e-6:
            length /= 2
        if after >= now:
            break
        scale, shift = scale - length * step_scale, shift - length * step_shift
        if now - after < _NEWTON_GAIN:
            break
        now = after
    return scale, shift


def _step(
    x: NDArray[np.float64],
    away: NDArray[np.float64],
    curve: NDArray[np.float64],
    free: Free,
) -> tuple[float, float]:
    """What to take from scale and shift: the Hessian's inverse times the gradient; no scale where it has no effect."""
    g_shift, h_shift = float(away.mean()), float(curve.mean())
    if free == "shift":
        return 0.0, g_shift / h_shift
    g_scale, h_scale, h_both = float((away * x).mean()), float((curve * x * x).mean()), float((curve * x).mean())
    if free == "scale":
        return (g_scale / h_scale if h_scale > 0.0 else 0.0), 0.0
    determinant = h_scale * h_shift - h_both * h_both
    if determinant > 0.0:
        return (
            (h_shift * g_scale - h_both * g_shift) / determinant,
            (h_scale * g_shift - h_both * g_scale) / determinant,
        )
    return 0.0, g_shift / h_shift
