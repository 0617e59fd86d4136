"""A map in its place: over the picture, inside the head, with its peak. One implementation for pages, figures and scores."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from ich_pipeline.explain.geometry import CellGrid
from ich_pipeline.windowing.crop import TISSUE_HU

VALLEY = 0.8  # of the lower of two maxima: what lies between must be lower for the two to stand apart


@dataclass(frozen=True)
class PlacedMap:
    """An attention map ``values`` (h, w) in 0..1 and where its cells lie."""

    values: NDArray[np.float32]
    grid: CellGrid

    def over(self, shape: tuple[int, ...]) -> NDArray[np.float64]:
        """The map at the pixels of a square picture (Rows, Columns).

        Bilinear between the centres of the cells. Beyond the outer centres the map is not known and stays as it is there.
        """
        values = np.asarray(self.values, np.float64)
        for axis in range(2):
            cells = values.shape[axis]
            at = np.clip(self.grid.at(axis, (np.arange(shape[axis]) + 0.5) / shape[axis]), 0, cells - 1)
            below = np.floor(at).astype(int)
            above = np.minimum(below + 1, cells - 1)
            weight = (at - below).reshape((-1, 1) if axis == 0 else (1, -1))
            values = np.take(values, below, axis) * (1 - weight) + np.take(values, above, axis) * weight
        return values

    def inside(self, head: NDArray[np.bool_]) -> NDArray[np.float64]:
        """The map at the pixels of a head mask (Rows, Columns), zero outside the head: nothing bleeds in air."""
        return np.where(head, self.over(head.shape), 0)


def peak(values: NDArray[np.floating]) -> tuple[int, int]:
    """Pixel (row, column) of the maximum of a map that is zero outside the head.

    Where several share it (beyond the outer cells a map is flat), the one nearest to their middle.
    """
    tied = np.argwhere(values >= values.max() * (1 - 1e-9))
    middle = tied.mean(axis=0)
    row, column = tied[np.argmin(((tied - middle) ** 2).sum(axis=1))].tolist()
    return row, column


def peaks(values: NDArray[np.floating], fraction: float) -> list[tuple[int, int]]:
    """Every separate maximum of a map that is zero outside the head, the highest first, as pixels (row, column).

    A maximum counts from ``fraction`` of the highest on, and stands apart where every way to a higher one leads below
    :data:`VALLEY` of it: ripples on one hill are one maximum, two hills are two.

    Args:
        values: (Rows, Columns), not all zero.
        fraction: of the highest maximum; the outline's own, so that each separate region has a mark at least.
    """
    found = [peak(values)]
    hills = (values == ndimage.maximum_filter(values, size=3)) & (values >= fraction * values.max())
    parts: NDArray[np.int32] = ndimage.label(hills, np.ones((3, 3)))[0]  # pyright: ignore[reportIndexIssue, reportAssignmentType]
    tops = [peak(np.where(parts == part, values, 0)) for part in range(1, int(parts.max()) + 1)]
    for top in sorted(tops, key=lambda at: (-values[at], at)):
        around: NDArray[np.int32] = ndimage.label(values >= VALLEY * values[top], np.ones((3, 3)))[0]  # pyright: ignore[reportIndexIssue, reportAssignmentType]
        if not any(around[at] == around[top] for at in found):
            found.append(top)
    return found


def slice_head(hu: NDArray[np.integer]) -> NDArray[np.bool_]:
    """The head in one slice: its largest connected tissue, holes filled.

    Unlike :func:`ich_pipeline.windowing.crop.head_mask` it needs no series, and takes the atlas's small pictures too: they are
    clipped to the windows, so that air is their lowest value.

    Args:
        hu: (Rows, Columns).
    """
    bright = hu > max(TISSUE_HU, int(hu.min()))
    parts: NDArray[np.int32] = ndimage.label(bright)[0]  # pyright: ignore[reportIndexIssue, reportAssignmentType]
    if not parts.any():
        return np.zeros(hu.shape, bool)
    sizes = np.bincount(parts.ravel())
    sizes[0] = 0
    return ndimage.binary_fill_holes(parts == sizes.argmax())  # type: ignore[return-value]


def square(picture: NDArray[Any], fill: float) -> NDArray[Any]:
    """A picture (Rows, Columns) centred on a square of ``fill``, as :func:`ich_pipeline.windowing.windows.prepare` centres it."""
    rows, columns = picture.shape
    side = max(rows, columns)
    top, left = (side - rows) // 2, (side - columns) // 2
    padded = np.full((side, side), fill, picture.dtype)
    padded[top : top + rows, left : left + columns] = picture
    return padded


def head_of(hu: NDArray[np.integer], size: int) -> NDArray[np.bool_]:
    """The head of a slice (Rows, Columns) in a square picture of ``size`` pixels."""
    mask = slice_head(square(hu, int(hu.min())))
    at = ((np.arange(size) + 0.5) * len(mask) / size).astype(int)
    return mask[np.ix_(at, at)]
