"""Does a slice show brain inside a skull? So that two hundred millimetres of neck are no more of the head than it is.

Seen from the middle of the soft tissue, bone must stand in most directions, and what lies within it must be soft tissue. A
skull with a large part removed still does; a neck, whose one bone is the spine, does not, nor do a chest with its lungs or a
pelvis, which are wider.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

SOFT_HU = (-10, 110)  # after averaging: fluid, brain and blood, and neither fat nor bone
BONE_HU = 250
WORKING_MM = 2.0  # pixel after averaging
DIRECTIONS = 72
LEAST_RING = 0.65  # share of directions with bone; half a skull may be open
LEAST_SOFT = 0.55  # of what lies within the bone and is no bone
LEAST_MM2 = 1500.0  # of soft tissue within the bone
FARTHEST_MM = 130.0  # from the middle: no head reaches farther


def shows_brain(hu: NDArray[np.int16], spacing_mm: tuple[float, float]) -> bool:
    """Does an axial slice show brain inside a skull?

    Args:
        hu: int16 of shape (Rows, Columns).
        spacing_mm: between rows, between columns.
    """
    picture, (down, right) = _averaged(hu, spacing_mm)
    soft = (picture >= SOFT_HU[0]) & (picture <= SOFT_HU[1])
    bone = picture >= BONE_HU
    pixel = down * right
    if np.count_nonzero(soft) * pixel < LEAST_MM2 or not bone.any():
        return False
    rows, columns = np.nonzero(soft)
    y, x = np.indices(picture.shape, dtype=np.float32)
    y, x = (y - rows.mean()) * down, (x - columns.mean()) * right
    radius = np.hypot(x, y)
    sector = ((np.arctan2(y, x) + np.pi) * (DIRECTIONS / (2 * np.pi))).astype(int) % DIRECTIONS
    outer = np.zeros(DIRECTIONS, np.float32)
    near = bone & (radius <= FARTHEST_MM)
    np.maximum.at(outer, sector[near], radius[near])
    if np.count_nonzero(outer) < LEAST_RING * DIRECTIONS:
        return False
    inside = (radius < outer[sector]) & ~bone
    within = int(np.count_nonzero(inside & soft))
    return within * pixel >= LEAST_MM2 and within >= LEAST_SOFT * int(np.count_nonzero(inside))


def shows_bone(hu: NDArray[np.int16], spacing_mm: tuple[float, float]) -> bool:
    """Does a slice show bone at all? Where nothing does, nothing is said about a skull."""
    picture, (down, right) = _averaged(hu, spacing_mm)
    return bool(np.count_nonzero(picture >= BONE_HU) * down * right >= 100.0)


def _averaged(
    hu: NDArray[np.int16], spacing_mm: tuple[float, float]
) -> tuple[NDArray[np.float32], tuple[float, float]]:
    """The picture in pixels of about 2 mm, and their sides in mm."""
    down, right = (max(1, round(WORKING_MM / step)) for step in spacing_mm)
    rows, columns = hu.shape[0] // down, hu.shape[1] // right
    blocks = hu[: rows * down, : columns * right].reshape(rows, down, columns, right)
    return blocks.mean(axis=(1, 3), dtype=np.float32), (down * spacing_mm[0], right * spacing_mm[1])
