"""Smooth random fields and soft-edged shapes in mm.

Everything here is elementwise +, -, *, / and square root on float32, minimum, maximum and table look-up: IEEE 754 fixes
each of these to the last bit, so the phantom is the same on every machine. No trigonometry, no exponentials, no matrix
products and no sums over an axis (their order depends on the processor).
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from ich_pipeline.phantom.draw import Draw, FloatArray

RANGE_MM = 150.0  # fields cover ±RANGE_MM in every direction
# The standard deviation of a cubic B-spline over uniform [-1, 1) nodes is about 0.577 · 0.479^(d/2).
_TO_UNIT = {1: 2.5, 2: 3.6, 3: 5.2}


def spline_weights(t: FloatArray) -> tuple[FloatArray, FloatArray, FloatArray, FloatArray]:
    """Weights of the uniform cubic B-spline for the four nodes around a point; ``t`` in [0, 1) is its place between them."""
    s = 1 - t
    t2, s2 = t * t, s * s
    sixth = np.float32(1 / 6)
    outer_low, outer_high = s2 * s * sixth, t2 * t * sixth
    inner_low = (4 - 6 * t2 + 3 * t2 * t) * sixth
    inner_high = (4 - 6 * s2 + 3 * s2 * s) * sixth
    return outer_low, inner_low, inner_high, outer_high


def _split(position: FloatArray) -> tuple[NDArray[np.int64], FloatArray]:
    whole = np.floor(position)
    return whole.astype(np.int64), (position - whole).astype(np.float32)


class SplineNoise:
    """A smooth random field over space, about zero with a standard deviation near 1.

    Args:
        draw: its own stream.
        step_mm: distance of the lattice nodes in plane; features are about two steps wide.
        step_z_mm: the same along the head's axis.
    """

    def __init__(self, draw: Draw, step_mm: float, step_z_mm: float) -> None:
        self._step, self._step_z = step_mm, step_z_mm
        across = int(2 * RANGE_MM / step_mm) + 5
        self._nodes = draw.lattice(int(2 * RANGE_MM / step_z_mm) + 5, across, across)

    def plane(self, z: float, y: FloatArray, x: FloatArray) -> FloatArray:
        """The field at height ``z`` on the grid of row positions ``y`` (H,) and column positions ``x`` (W,), mm: (H, W)."""
        k, t = _split(np.array([(z + RANGE_MM) / self._step_z], np.float32))
        weights = spline_weights(t)
        first = int(k[0])
        layer = sum_of(self._nodes[first + i] * weights[i] for i in range(4))
        k, t = _split(((y + RANGE_MM) / self._step).astype(np.float32))
        weights = spline_weights(t)
        rows = sum_of(layer[k + i, :] * weights[i][:, None] for i in range(4))
        k, t = _split(((x + RANGE_MM) / self._step).astype(np.float32))
        weights = spline_weights(t)
        result = sum_of(rows[:, k + i] * weights[i][None, :] for i in range(4))
        return result * np.float32(_TO_UNIT[3])


class RingNoise:
    """A smooth random field over (direction, height), periodic in the direction.

    Args:
        draw: its own stream.
        nodes: number of nodes around the ring.
        step_z_mm: distance of the nodes along the head's axis.
    """

    def __init__(self, draw: Draw, nodes: int, step_z_mm: float) -> None:
        self._count, self._step_z = nodes, step_z_mm
        self._nodes = draw.lattice(int(2 * RANGE_MM / step_z_mm) + 5, nodes)

    def at(self, z: float, turn: FloatArray) -> FloatArray:
        """The field at height ``z`` mm and direction ``turn`` (any shape, see :func:`diamond_turn`)."""
        k, t = _split(np.array([(z + RANGE_MM) / self._step_z], np.float32))
        weights = spline_weights(t)
        first = int(k[0])
        ring = sum_of(self._nodes[first + i] * weights[i] for i in range(4))
        k, t = _split(turn * np.float32(self._count / 4))
        weights = spline_weights(t)
        result = sum_of(ring[(k + i) % self._count] * weights[i] for i in range(4))
        return result * np.float32(_TO_UNIT[2])


def sum_of(terms: Iterable[FloatArray]) -> FloatArray:
    """Sum of arrays one after the other, in the order given."""
    iterator = iter(terms)
    total = next(iterator)
    for term in iterator:
        total = total + term
    return total


def diamond_turn(x: FloatArray, y: FloatArray) -> FloatArray:
    """Direction of (x, y) as a number in [0, 4): the "diamond angle", a rational stand-in for the angle."""
    span = np.abs(x) + np.abs(y) + np.float32(1e-6)
    u = x / span
    return np.where(y >= 0, 1 - u, 3 + u)


def cover(depth: FloatArray, edge: float) -> FloatArray:
    """Share of a pixel inside a shape, from the depth below its surface (mm, negative outside) and the edge's width (mm)."""
    return np.clip(depth * np.float32(1 / edge) + np.float32(0.5), 0, 1)


def line_cover(distance: FloatArray, half_width: FloatArray | float, edge: float) -> FloatArray:
    """Share of a pixel inside a sheet of that half-width (mm) at that distance: a sheet thinner than a pixel stays faint."""
    ratio = np.asarray(half_width, np.float32) * np.float32(1 / edge)
    most = np.clip(2 * ratio, 0, 1)
    return np.clip(ratio + np.float32(0.5) - distance * np.float32(1 / edge), 0, most)


def bump(value: FloatArray) -> FloatArray:
    """1 at 0, falling smoothly to 0 at ±1 and beyond."""
    rest = np.maximum(1 - value * value, 0)
    return rest * rest


def ellipsoid(
    x: FloatArray, y: FloatArray, z: FloatArray, centre: tuple[float, float, float], radii: tuple[float, float, float]
) -> FloatArray:
    """Approximate depth (mm) below the surface of an ellipsoid with axes along x, y, z; negative outside."""
    parts = [(c - m) * np.float32(1 / r) for c, m, r in zip((x, y, z), centre, radii, strict=True)]
    q = sum_of(part * part for part in parts)
    return (1 - np.sqrt(q)) * np.float32(min(radii))


def capsule(
    x: FloatArray,
    y: FloatArray,
    z: FloatArray,
    start: tuple[float, float, float],
    end: tuple[float, float, float],
    radii: tuple[float, float],
) -> FloatArray:
    """Depth (mm) below the surface of a rod from ``start`` to ``end`` whose radius goes from ``radii[0]`` to ``radii[1]``."""
    axis = tuple(e - s for s, e in zip(start, end, strict=True))
    length2 = axis[0] * axis[0] + axis[1] * axis[1] + axis[2] * axis[2]
    dx, dy, dz = x - start[0], y - start[1], z - start[2]
    along = np.clip((dx * axis[0] + dy * axis[1] + dz * axis[2]) * np.float32(1 / length2), 0, 1)
    rx, ry, rz = dx - along * axis[0], dy - along * axis[1], dz - along * axis[2]
    return radii[0] + (radii[1] - radii[0]) * along - np.sqrt(rx * rx + ry * ry + rz * rz)


def paint(hu: FloatArray, share: FloatArray, value: FloatArray | float) -> None:
    """Mix ``value`` into ``hu`` in place by the share of each pixel."""
    hu += share * (value - hu)


def soften(image: FloatArray, centre_weight: int) -> FloatArray:
    """Blur with [1, c, 1] along both axes: the point spread of the scanner. Borders repeat."""
    scale = np.float32(1 / (centre_weight + 2))
    padded = np.pad(image, 1, mode="edge")
    rows = (padded[:-2] + centre_weight * padded[1:-1] + padded[2:]) * scale
    return (rows[:, :-2] + centre_weight * rows[:, 1:-1] + rows[:, 2:]) * scale
