"""Contrast agent by the pixels, where the header is silent.

In an unenhanced brain nothing but calcium is brighter than clotted blood (about 95 HU), and calcium lies in few slices.
Contrast agent brightens vessels in every slice. So the measure is the *median over slices* of the share of the brain between
110 and 300 HU, at about 1 mm a pixel and 5 mm away from bone: at most 0.0008 in 42 unenhanced heads (41 of CT-ICH with
bleeding, calcification, tubes and metal). It is evidence to look at, never a reason to set a series aside.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

BRIGHT_HU = (110, 300)
BONE_HU = 300
WORKING_MM = 1.0  # pixel after averaging, so that noise makes nothing bright
CLOSE_MM, AWAY_FROM_BONE_MM = 6.0, 5.0
LEAST_BRAIN_MM2 = 5000.0  # a slice with less brain inside the closed skull is not counted
SLICES = 12  # looked at, evenly over the volume
LEAST_SLICES = 2


@dataclass(frozen=True)
class Bright:
    """The share of the brain that is brighter than blood and darker than bone, over the slices; 0 to 1, or NaN for no evidence."""

    median: float
    quartile: float  # the lower one

    def suspected(self, limit: float, quartile: float) -> bool:
        """Do they tell of contrast agent: much in half of the slices, or a little in three quarters of them?

        Args:
            limit: of the median, ingest.contrast_share.
            quartile: of that limit, from which the lower quartile tells: ingest.pixels.contrast_quartile.
        """
        return bool(self.median >= limit or self.quartile >= quartile * limit)


def brightness(hu: NDArray[np.int16], spacing_mm: tuple[float, float]) -> Bright:
    """The share of the brain that is brighter than blood and darker than bone.

    Args:
        hu: int16 of shape (slices, Rows, Columns).
        spacing_mm: between rows, between columns.

    Returns:
        NaN where fewer than two slices show brain inside a closed skull.
    """
    picks = np.unique(np.linspace(0, len(hu) - 1, min(SLICES, len(hu))).round().astype(int))
    shares = [share for i in picks if (share := _slice_share(hu[i], spacing_mm)) is not None]
    if len(shares) < LEAST_SLICES:
        return Bright(float("nan"), float("nan"))
    return Bright(float(np.median(shares)), float(np.quantile(shares, 0.25)))


def _slice_share(hu: NDArray[np.int16], spacing_mm: tuple[float, float]) -> float | None:
    picture, pixel = _averaged(hu, spacing_mm)
    width = max(1, round(CLOSE_MM / pixel))
    padded = np.pad(picture >= BONE_HU, width)
    bone = np.asarray(ndimage.binary_closing(padded, iterations=width)[width:-width, width:-width], bool)
    cavity = np.asarray(ndimage.binary_fill_holes(bone), bool) & ~bone
    away = max(1, round(AWAY_FROM_BONE_MM / pixel))
    inside = np.asarray(ndimage.binary_erosion(cavity, iterations=away), bool)
    brain = int(np.count_nonzero(inside))
    if brain * pixel**2 < LEAST_BRAIN_MM2:
        return None
    bright = inside & (picture >= BRIGHT_HU[0]) & (picture < BRIGHT_HU[1])
    return float(np.count_nonzero(bright) / brain)


def _averaged(hu: NDArray[np.int16], spacing_mm: tuple[float, float]) -> tuple[NDArray[np.float32], float]:
    """The picture in pixels of about 1 mm, and the side of one in mm."""
    down, right = (max(1, round(WORKING_MM / step)) for step in spacing_mm)
    rows, columns = hu.shape[0] // down, hu.shape[1] // right
    blocks = hu[: rows * down, : columns * right].reshape(rows, down, columns, right)
    return blocks.mean(axis=(1, 3), dtype=np.float32), float(np.sqrt(down * spacing_mm[0] * right * spacing_mm[1]))
