"""Heads drawn by hand: a skull, a brain of one brightness, and what lies in it."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

SIZE = 128
AIR, BRAIN, BONE = -20, 30, 180  # HU; the clip range is -20 to 180
INNER, OUTER = 44.0, 50.0  # pixels
CENTER = (SIZE - 1) / 2  # between two pixels, so that the head has a mirror image


def head(stretch: float = 1.0, tilt_deg: float = 0.0) -> NDArray[np.int16]:
    """A skull around a brain; ``stretch`` along the midline, which ``tilt_deg`` turns so that its lower end goes right."""
    y, x = np.mgrid[:SIZE, :SIZE] - CENTER
    along = y * np.cos(np.radians(tilt_deg)) + x * np.sin(np.radians(tilt_deg))
    across = x * np.cos(np.radians(tilt_deg)) - y * np.sin(np.radians(tilt_deg))
    r = np.hypot(along / stretch, across)
    return np.where(r <= INNER, BRAIN, np.where(r <= OUTER, BONE, AIR)).astype(np.int16)
