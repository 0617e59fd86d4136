"""How well attention maps find lesions of which boxes are known, no outlines: scored as boxes, never as masks.

Two scores. The *hit*: whether the map's maximum inside the head lies in a box, without a tolerance, since a box is generous
as it is. The *overlap*: for each box the intersection over union with the best of the boxes round the map's separate regions
(at or above a share of the maximum), mean over the boxes. Beside each stands chance: the boxes' share of the head; and the
mean overlap of a box, as large as that round the map's largest region, put down anywhere in the head.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from ich_pipeline.explain.localisation import Draws, Interval, Means
from ich_pipeline.explain.placed import peak, slice_head, square
from ich_pipeline.series.placement import Placement
from ich_pipeline.tables.labels import Labels
from ich_pipeline.tables.masks import Boxes, Mask
from ich_pipeline.windowing.frame import Frame

Rectangle = tuple[int, int, int, int]  # first row, first column, and those behind the last


@dataclass(frozen=True)
class BoxedSlice:
    """A slice with boxes, over the square of its picture that the networks read.

    Attributes:
        patient: whose it is.
        head: bool (side, side).
        boxes: by label, one or more; those of all as "any". A crop to the head may leave a label without one.
    """

    patient: str
    head: Mask
    boxes: Mapping[str, tuple[Rectangle, ...]]

    @classmethod
    def of_volume(
        cls,
        patient: str,
        hu: NDArray[np.int16],
        frame: Frame,
        place: Placement,
        boxes: Mapping[str, Boxes],
        labels: Labels,
    ) -> BoxedSlice:
        """From a slice of a volume.

        Args:
            patient: as the attribute.
            hu: int16 (rows, columns), square pixels, from :attr:`ich_pipeline.windowing.crop.Focused.shown`.
            frame: the square of the volume that was read.
            place: of the file in its volume.
            boxes: of the file's picture, by label; unknown labels are left out.
            labels: the labels.
        """
        found: dict[str, tuple[Rectangle, ...]] = {}
        for name, of_label in boxes.items():
            if name in labels.columns:
                seen = [frame.even(frame.cut(place.to_volume(mask), False)) for mask in of_label.masks()]
                found[name] = tuple(around(mask) for mask in seen if mask.any())
        every = [one for boxed in found.values() for one in boxed]
        if every:
            found[labels.any] = tuple(dict.fromkeys(every))
        return cls(patient, slice_head(square(hu, -1024)), found)


@dataclass(frozen=True)
class BoxScore:
    """One map against the boxes of its label, beside what chance gives."""

    hit: bool
    hit_chance: float
    overlap: float
    overlap_chance: float


@dataclass(frozen=True)
class BoxSummary:
    """Means over ``maps`` maps of one label; None where there was no map. ``constant`` maps located nothing."""

    label: str
    maps: int
    constant: int
    hit_rate: float | None
    hit_interval: Interval
    hit_chance: float | None
    overlap: float | None
    overlap_interval: Interval
    overlap_chance: float | None


def around(mask: Mask) -> Rectangle:
    """The smallest rectangle that holds a mask with a pixel."""
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    return int(rows[0]), int(columns[0]), int(rows[-1]) + 1, int(columns[-1]) + 1


def union_of(boxes: Sequence[Rectangle], shape: tuple[int, ...]) -> Mask:
    """The pixels (Rows, Columns) inside of any of the boxes."""
    found = np.zeros(shape, bool)
    for top, left, bottom, right in boxes:
        found[top:bottom, left:right] = True
    return found


def score_boxes(
    values: NDArray[np.floating], boxes: Sequence[Rectangle], head: Mask, fraction: float
) -> BoxScore | None:
    """Score one map; None where it is zero all over the head, so that it locates nothing.

    Args:
        values: the map (Rows, Columns), zero outside head and boxes.
        boxes: one at least.
        head: (Rows, Columns).
        fraction: of the maximum, from which a pixel belongs to a region.
    """
    if values.max() <= 0:
        return None
    inside = union_of(boxes, head.shape)
    support = head | inside
    parts: NDArray[np.int32] = ndimage.label(values >= fraction * values.max(), np.ones((3, 3)))[0]  # pyright: ignore[reportIndexIssue, reportAssignmentType]
    regions = [around(parts == part) for part in range(1, int(parts.max()) + 1)]
    largest = max(regions, key=_area)
    return BoxScore(
        bool(inside[peak(values)]),
        float(inside.sum() / support.sum()),
        float(np.mean([max(overlap(box, region) for region in regions) for box in boxes])),
        float(np.mean([_anywhere(box, largest, support) for box in boxes])),
    )


def overlap(one: Rectangle, other: Rectangle) -> float:
    """Intersection over union of two rectangles."""
    rows = max(min(one[2], other[2]) - max(one[0], other[0]), 0)
    columns = max(min(one[3], other[3]) - max(one[1], other[1]), 0)
    shared = rows * columns
    return shared / (_area(one) + _area(other) - shared)


def _area(one: Rectangle) -> int:
    return (one[2] - one[0]) * (one[3] - one[1])


def _anywhere(box: Rectangle, like: Rectangle, support: Mask) -> float:
    """Mean overlap of a box with one as large as ``like``, over all places of that one's middle on the support."""
    shared = []
    for axis in range(2):
        length = like[axis + 2] - like[axis]
        start = np.arange(support.shape[axis]) - length // 2
        shared.append(np.maximum(np.minimum(start + length, box[axis + 2]) - np.maximum(start, box[axis]), 0))
    together = np.multiply.outer(*shared)[support]
    return float((together / (_area(box) + _area(like) - together)).mean())


def summarise_boxes(label: str, found: Sequence[BoxScore | None], patients: Sequence[str], draws: Draws) -> BoxSummary:
    """Means over the maps of one label, with bootstrap intervals by patient.

    Args:
        label: name of the label.
        found: one a map; None stands for a map that locates nothing.
        patients: the patient of each map.
        draws: the bootstrap.
    """
    scored = [(one, patient) for one, patient in zip(found, patients, strict=True) if one is not None]
    means = Means([patient for _, patient in scored], draws)
    hit, hit_interval = means.of([float(one.hit) for one, _ in scored])
    mean, mean_interval = means.of([one.overlap for one, _ in scored])
    return BoxSummary(
        label=label,
        maps=len(scored),
        constant=len(found) - len(scored),
        hit_rate=hit,
        hit_interval=hit_interval,
        hit_chance=means.of([one.hit_chance for one, _ in scored])[0],
        overlap=mean,
        overlap_interval=mean_interval,
        overlap_chance=means.of([one.overlap_chance for one, _ in scored])[0],
    )
