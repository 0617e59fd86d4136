"""Where slices lie: order along the normal, gaps, duplicates, tilt. Patient coordinates in mm (x left, y back, z head)."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

ORTHONORMAL_TOLERANCE = 0.01
MAXIMUM_LEAN_DEG = 45.0  # of the plane from axial; gantries tilt up to 30
TILT_DECIMALS = 6  # of a degree; a C library's atan rounds its last bits as it likes
SAME_POSITION_MM = 0.05  # two slices nearer than this lie at one position
SAME_PLANE_DEG = 0.5  # cosines that are rounded to two digits lean by 0.3
SAME_SPACING = 0.005  # relative; 0.49 for 0.48828


def near(one: Sequence[float] | None, other: Sequence[float] | None, tolerance: float) -> bool:
    """Do two vectors of a header differ by no more than this in any component? An unknown one is near an unknown one only."""
    if one is None or other is None:
        return one is other
    return max(abs(x - y) for x, y in zip(one, other, strict=True)) <= tolerance


def along(points: NDArray[np.float64], direction: NDArray[np.float64]) -> NDArray[np.float64]:
    """How far points lie along a direction: their scalar products with it.

    Written out, since a matrix product rounds as the processor's BLAS kernel does: so tables have equal bytes everywhere.

    Args:
        points: shape (…, 3).
        direction: shape (3,).
    """
    return points[..., 0] * direction[0] + points[..., 1] * direction[1] + points[..., 2] * direction[2]


def length(vector: NDArray[np.float64]) -> float:
    """Length of one vector of three numbers, to the same bits on every processor."""
    return math.sqrt(float(along(vector, vector)))


def same_plane(one: Sequence[float] | None, other: Sequence[float] | None) -> bool:
    """Are two values of ImageOrientationPatient one plane, turned alike, however they were rounded?

    An unknown one is the plane of an unknown one only. No vectors are assumed to be of unit length.
    """
    if one is None or other is None:
        return one is other
    if one == other:
        return True
    for axis in (slice(0, 3), slice(3, 6)):
        a, b = np.array(one[axis]), np.array(other[axis])
        lengths = math.hypot(*a) * math.hypot(*b)
        # The sine: a cosine near 1 tells small angles badly.
        sine = math.hypot(*np.cross(a, b))
        if not (float(along(a, b)) > 0 and sine <= math.sin(math.radians(SAME_PLANE_DEG)) * lengths):
            return False
    return True


def same_spacing(one: Sequence[float] | None, other: Sequence[float] | None) -> bool:
    """Are two values of PixelSpacing equal, however they were rounded? An unknown one equals an unknown one only."""
    if one is None or other is None:
        return one is other
    return all(abs(a - b) <= SAME_SPACING * max(a, b) for a, b in zip(one, other, strict=True))


def is_orthonormal(orientation: Sequence[float]) -> bool:
    """Are the six values of ImageOrientationPatient two unit vectors at a right angle?"""
    row, column = np.reshape(np.asarray(orientation, dtype=np.float64), (2, 3))
    off = (length(row) - 1, length(column) - 1, along(row, column))
    return max(abs(float(v)) for v in off) <= ORTHONORMAL_TOLERANCE


def axial_normal(orientation: Sequence[float]) -> NDArray[np.float64] | None:
    """Unit normal of the plane that points towards the head, or None where the plane is not axial.

    The side is always the head's, whichever way the plane is turned, so a position along it rises towards the head.
    """
    row, column = np.reshape(np.asarray(orientation, dtype=np.float64), (2, 3))
    normal = np.cross(row, column)
    size = length(normal)
    # Written so that a plane without a normal (parallel or zero vectors) is not axial either.
    if not abs(normal[2]) >= math.cos(math.radians(MAXIMUM_LEAN_DEG)) * size > 0:
        return None
    normal /= size
    return normal if normal[2] > 0 else -normal


def group_positions(positions: NDArray[np.float64]) -> list[NDArray[np.intp]]:
    """Indices of slices at one position each, ordered towards the head; within one position in the given order.

    Args:
        positions: shape (n,), mm along the normal.
    """
    if len(positions) == 0:
        return []
    order = np.argsort(positions, kind="stable")
    breaks = np.flatnonzero(np.diff(positions[order]) > SAME_POSITION_MM) + 1
    return [np.sort(slot) for slot in np.split(order, breaks)]


def neighbours(
    positions: NDArray[np.float64], thickness: NDArray[np.float64], tolerance: float
) -> tuple[NDArray[np.int32], int]:
    """Index of the slice before and after each slice, −1 at the ends and across a gap.

    A gap is a step larger than (1 + tolerance) × the usual step, which is the median over the steps between slices of the
    same SliceThickness: a series of 4 mm slices below and 7 mm slices above has two usual steps and no gap. Where two
    thicknesses meet, the larger of their usual steps counts.

    Args:
        positions: shape (n,), rising, mm along the normal.
        thickness: shape (n,), SliceThickness in mm, NaN where unknown (one more class of its own).
        tolerance: relative.

    Returns:
        int32 of shape (n, 2): before, after; and the number of gaps.
    """
    count = len(positions)
    index = np.arange(count, dtype=np.int32)
    links = np.stack([index - 1, np.where(index + 1 < count, index + 1, -1)], axis=1).astype(np.int32)
    if count < 2:
        return links, 0
    steps = np.diff(positions)
    classes = np.nan_to_num(np.round(thickness, 2), nan=-1.0)
    same = classes[1:] == classes[:-1]
    usual = {c: float(np.median(steps[same & (classes[1:] == c)])) for c in np.unique(classes[1:][same])}
    overall = float(np.median(steps))
    reference = np.array(
        [max(usual.get(float(a), overall), usual.get(float(b), overall)) for a, b in itertools.pairwise(classes)]
    )
    gap = steps > (1 + tolerance) * reference
    links[1:, 0][gap] = -1
    links[:-1, 1][gap] = -1
    return links, int(gap.sum())


def gap_ends(positions: NDArray[np.float64], links: NDArray[np.int32]) -> tuple[tuple[float, float], ...]:
    """The positions (mm) on both sides of every gap, towards the head.

    Args:
        positions: shape (n,), rising.
        links: of :func:`neighbours`.
    """
    open_after = np.flatnonzero(links[:-1, 1] < 0)
    return tuple((float(positions[i]), float(positions[i + 1])) for i in open_after)


def median_step(positions: NDArray[np.float64]) -> float:
    """Median step between positions in mm; NaN for fewer than two."""
    return float(np.median(np.diff(positions))) if len(positions) > 1 else float("nan")


def coverage_mm(positions: NDArray[np.float64], links: NDArray[np.int32], thickness_mm: float | None) -> float:
    """How much of the patient the slices cover along the normal: what lies in a gap is not covered.

    Args:
        positions: shape (n,), rising.
        links: of :func:`neighbours`.
        thickness_mm: what a single slice covers; 0 where it is None.
    """
    if len(positions) < 2:
        return thickness_mm or 0.0
    gaps = gap_ends(positions, links)
    inside = float(positions[-1] - positions[0]) - math.fsum(after - before for before, after in gaps)
    return inside + (1 + len(gaps)) * median_step(positions)


def step_runs(positions: NDArray[np.float64], tolerance_mm: float = SAME_POSITION_MM) -> list[tuple[int, float]]:
    """Steps between slices as runs of equal ones: (how many, their mean in mm), towards the head.

    Args:
        positions: shape (n,), rising.
        tolerance_mm: a step belongs to a run when it differs from the run's first by no more.
    """
    runs: list[list[float]] = []
    for step in np.diff(positions).tolist():
        if runs and abs(step - runs[-1][0]) <= tolerance_mm:
            runs[-1].append(step)
        else:
            runs.append([step])
    return [(len(run), math.fsum(run) / len(run)) for run in runs]


def tilt_deg(points: NDArray[np.float64], orientation: Sequence[float]) -> float:
    """Lean of the stack: angle in degrees between the normal and the way from slice to slice; 0 for an upright stack.

    It is the gantry tilt of a sheared volume. Positive, like GantryDetectorTilt, where the slices move against the column
    direction on their way towards the head. From positions, never from GantryDetectorTilt. The median over the steps, so that one
    shifted slice does not count.

    Args:
        points: ImagePositionPatient, shape (n, 3), ordered towards the head, no two at one position.
        orientation: ImageOrientationPatient.
    """
    normal = axial_normal(orientation)
    if normal is None or len(points) < 2:
        return 0.0
    row, column = np.reshape(np.asarray(orientation, dtype=np.float64), (2, 3))
    steps = np.diff(points, axis=0)
    travel = steps / along(steps, normal)[:, None]
    along_row, along_column = float(np.median(along(travel, row))), float(np.median(along(travel, column)))
    angle = round(math.degrees(math.atan(math.hypot(along_row, along_column))), TILT_DECIMALS)
    return math.copysign(angle, -along_column) if angle else 0.0
