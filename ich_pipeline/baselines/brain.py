"""What lies inside the skull of a slice, and how the head lies there, from clipped HU alone.

The window stage's slices are clipped to the union of the windows (−20 to 180 HU in the packaged profiles): bone is what comes near the
upper end; fat and air are one.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

BONE_HU = 120  # above clotted blood (about 90 HU)
HEADROOM_HU = 5  # where the range ends lower, bone is what comes this near to its end
DIRECTIONS = 7  # of 8 in which a pixel inside sees bone: a suture, a fontanelle or a craniotomy may open one
UPRIGHT_DEG = 25.0  # a midline further off the picture's columns is an artefact of a round head
ROUND = 1.08  # longer over shorter axis below which they tell no direction
SMALLEST = 16  # pixels inside; fewer are no picture of a brain
Mask = NDArray[np.bool_]


@dataclass(frozen=True)
class Brain:
    """The inside of the skull in one slice, cut to its bounding box.

    Attributes:
        hu: (h, w), HU.
        inside: (h, w), within the inner table, without the outermost pixels, which are partly bone.
        depth: (h, w), distance to the inner table, in radii of the disc of this area; 0 outside.
        mirror: rows and columns of every pixel's mirror image about the midline, kept within the box; each (h, w).
        paired: (h, w), inside, and the mirror image is inside too.
        elongation: longer over shorter axis of the inside, 1 or more.
    """

    hu: NDArray[np.float32]
    inside: Mask
    depth: NDArray[np.float32]
    mirror: tuple[NDArray[np.intp], NDArray[np.intp]]
    paired: Mask
    elongation: float


def bone_threshold(highest: float) -> float:
    """HU from which a pixel is bone, where slices are clipped at ``highest`` HU."""
    return min(float(BONE_HU), highest - HEADROOM_HU)


def find_brain(hu: NDArray[Any], highest: float) -> Brain | None:
    """The inside of the skull of one slice.

    Args:
        hu: (s, s), HU, clipped.
        highest: upper end of the clip range, HU.

    Returns:
        None where no skull encloses anything of a brain's size.
    """
    within = enclosed(np.asarray(hu) >= bone_threshold(highest))
    rows, columns = np.flatnonzero(within.any(axis=1)), np.flatnonzero(within.any(axis=0))
    if not len(rows):
        return None
    box = slice(max(rows[0] - 1, 0), rows[-1] + 2), slice(max(columns[0] - 1, 0), columns[-1] + 2)
    within = within[box]
    distance: Any = ndimage.distance_transform_edt(within)
    inside = distance > 1
    if np.count_nonzero(inside) < SMALLEST:
        return None
    center, tilt, elongation = _axes(inside)
    mirror, in_box = _mirror(inside.shape, center, tilt)
    return Brain(
        hu=np.asarray(hu)[box].astype(np.float32),
        inside=inside,
        depth=(distance / np.sqrt(np.count_nonzero(within) / np.pi)).astype(np.float32),
        mirror=mirror,
        paired=inside & in_box & inside[mirror],
        elongation=elongation,
    )


def enclosed(bone: Mask) -> Mask:
    """The largest body of pixels that are no bone and see bone in nearly every direction, with its holes filled; (s, s)."""
    inner = (_seen_straight(bone) + _seen_slanted(bone) + _seen_slanted(bone[:, ::-1])[:, ::-1]) >= DIRECTIONS
    labelled: Any = ndimage.label(ndimage.binary_opening(inner & ~bone))
    bodies, count = labelled
    if not count:
        return np.zeros(bone.shape, bool)
    filled: Any = ndimage.binary_fill_holes(bodies == np.argmax(np.bincount(bodies.ravel())[1:]) + 1)
    return filled


def _seen_straight(bone: Mask) -> NDArray[np.int8]:
    """In how many of the four directions along rows and columns bone lies; (s, s)."""
    seen = np.zeros(bone.shape, np.int8)
    for axis in (0, 1):
        seen += np.logical_or.accumulate(bone, axis=axis)
        seen += np.flip(np.logical_or.accumulate(np.flip(bone, axis), axis=axis), axis)
    return seen


def _seen_slanted(bone: Mask) -> NDArray[np.int8]:
    """In how many of the two directions along the rising diagonal bone lies; (s, s)."""
    rows, columns = bone.shape
    width = rows + columns - 1
    # Row i moved i to the right: what lay on a diagonal lies in a column.
    sheared = np.zeros((rows, width + 1), bool)
    sheared[:, :columns] = bone
    sheared = sheared.ravel()[: rows * width].reshape(rows, width)
    down = np.logical_or.accumulate(sheared, axis=0)
    up = np.logical_or.accumulate(sheared[::-1], axis=0)[::-1]
    seen = np.zeros(rows * (width + 1), np.int8)
    seen[: rows * width] = (down.astype(np.int8) + up).ravel()
    return seen.reshape(rows, width + 1)[:, :columns]


def _axes(inside: Mask) -> tuple[tuple[float, float], float, float]:
    """Centre (row, column), the midline's tilt off the columns (radians, positive: its lower end lies to the right), elongation."""
    rows, columns = np.nonzero(inside)
    center = float(rows.mean()), float(columns.mean())
    y, x = rows - center[0], columns - center[1]
    yy, xx, xy = float((y * y).mean()), float((x * x).mean()), float((x * y).mean())
    middle, spread = (yy + xx) / 2, float(np.hypot((yy - xx) / 2, xy))
    elongation = float(np.sqrt((middle + spread) / max(middle - spread, 1e-6)))
    if elongation < ROUND:
        return center, 0.0, elongation
    # Of the two axes of symmetry that the moments allow, the one nearer to the columns: at the vertex a head may be broad.
    tilt = 0.5 * float(np.arctan2(2 * xy, yy - xx))
    if abs(tilt) > np.pi / 4:
        tilt -= np.copysign(np.pi / 2, tilt)
    return center, tilt if abs(tilt) <= np.radians(UPRIGHT_DEG) else 0.0, elongation


def _mirror(
    shape: tuple[int, ...], center: tuple[float, float], tilt: float
) -> tuple[tuple[NDArray[np.intp], NDArray[np.intp]], Mask]:
    """Nearest pixel of every pixel's mirror image, kept within ``shape``, and whether it lay within by itself."""
    y, x = np.mgrid[: shape[0], : shape[1]].astype(np.float64)
    y -= center[0]
    x -= center[1]
    across = x * np.cos(tilt) - y * np.sin(tilt)  # signed distance from the midline
    rows = np.rint(y + 2 * across * np.sin(tilt) + center[0]).astype(np.intp)
    columns = np.rint(x - 2 * across * np.cos(tilt) + center[1]).astype(np.intp)
    in_box = (rows >= 0) & (rows < shape[0]) & (columns >= 0) & (columns < shape[1])
    return (np.clip(rows, 0, shape[0] - 1), np.clip(columns, 0, shape[1] - 1)), in_box
