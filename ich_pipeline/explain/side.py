"""The side of a finding: its map against the midline of the head.

Volumes are in the standard view, columns to the patient's left, so that the patient's left is the viewer's right.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from ich_pipeline.explain.placed import PlacedMap, head_of

Side = Literal["left", "right"]

ONE_SIDE = 0.75  # share from which a finding lies on one side
LIMITS = (ONE_SIDE, 0.85, 0.9, 0.95)  # shares of a map from which its side may be said
ROUND = 1.05  # a head is longer than wide by this much at least, or its axis is not taken
PIXELS = 128  # of the picture that a map is weighed on


def left_share(values: NDArray[np.number | np.bool_], head: NDArray[np.bool_]) -> float | None:
    """The share of ``values`` (Rows, Columns), none negative, left of the midline; None where all are zero.

    The midline goes through the head's middle along its longer axis, so that it turns with a turned head; straight up where
    the head is nearly round (:data:`ROUND`), since a round head tells no axis.

    Args:
        values: a map or a mask.
        head: (Rows, Columns).
    """
    total = values.sum()
    rows, columns = np.nonzero(head)
    if total <= 0 or not len(rows):
        return None
    down, across = rows - rows.mean(), columns - columns.mean()
    high, wide, both = (down**2).mean(), (across**2).mean(), (down * across).mean()
    turn = 0.5 * np.arctan2(2 * both, high - wide) if high > ROUND**2 * wide else 0.0
    y, x = np.mgrid[: head.shape[0], : head.shape[1]]
    beyond = (x - columns.mean()) * np.cos(turn) - (y - rows.mean()) * np.sin(turn)  # pixels left of the line
    return float((values * np.clip(beyond + 0.5, 0, 1)).sum() / total)  # pixels on the line count to both


def side_of(share: float, limit: float = ONE_SIDE) -> Side | None:
    """The side of what lies left by this share; None between the limits."""
    return "left" if share >= limit else "right" if share <= 1 - limit else None


def side_of_maps(
    maps: Iterable[tuple[PlacedMap | None, NDArray[np.integer]]], fraction: float, limit: float = ONE_SIDE
) -> Side | None:
    """The side of the regions of one finding's maps, all slices together; None between the limits, or where no map locates anything.

    Args:
        maps: map and slice (Rows, Columns) in HU.
        fraction: of a map's maximum, from which a pixel belongs to its region.
        limit: share from which it is one side.
    """
    shares = [share for placed, hu in maps if (share := region_share(placed, hu, fraction)) is not None]
    return side_of(float(np.mean(shares)), limit) if shares else None


def region_share(placed: PlacedMap | None, hu: NDArray[np.integer], fraction: float) -> float | None:
    """:func:`left_share` of the region of a map over its slice (Rows, Columns) in HU; None where it locates nothing."""
    if placed is None:
        return None
    head = head_of(hu, PIXELS)
    values = placed.inside(head)
    return left_share(np.where(values >= fraction * values.max(), values, 0), head) if values.any() else None
