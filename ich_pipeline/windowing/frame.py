"""Which square of a series' pictures the networks read, in pixels: the one place that knows of crop, padding and stretch.

The square may reach outside the picture; what lies there is filled. Pixels need not be square themselves: at true scale
(``windowing.field_of_view_mm``) a square of so many mm has as many rows and columns as PixelSpacing says, each axis by itself.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ich_pipeline.core.errors import InputError

Pair = tuple[int, int]
Millimetres = tuple[float, float]  # PixelSpacing: between rows, between columns
Box = tuple[slice, slice]  # rows and columns, within the picture


@dataclass(frozen=True)
class Frame:
    """A square over the pictures of a series, rows first.

    Attributes:
        inside: the part of the picture that is seen; the rest of the square is filled.
        start: first row and column of the square; below 0 where it begins outside the picture.
        extent: rows and columns of the square. They differ where it is a square in mm of pixels that are not square.
    """

    inside: Box
    start: Pair
    extent: Pair

    @classmethod
    def around(cls, box: Box) -> Frame:
        """A box within the picture, centred on a square of pixels, as :func:`ich_pipeline.windowing.windows.prepare` centres it."""
        lengths = [span.stop - span.start for span in box]
        side = max(lengths)
        top, left = (span.start - (side - length) // 2 for span, length in zip(box, lengths, strict=True))
        return cls(box, (top, left), (side, side))

    @classmethod
    def of_millimetres(
        cls, side_mm: float, spacing_mm: Millimetres, twice_centre: Sequence[int], shape: Sequence[int]
    ) -> Frame:
        """The square of a side in mm about a place.

        Each axis has the whole number of pixels that is nearest to ``side_mm / spacing``, at least one: half a pixel too
        many or too few at most, so that the scale is true within ``spacing / (2 side_mm)`` (0.11 % at 0.5 mm and 230 mm).
        The start is rounded down to whole pixels, which moves the picture by half a pixel at most.

        Args:
            side_mm: of the square.
            spacing_mm: between rows, between columns; positive.
            twice_centre: twice the row and column of the place, which keeps halves whole; 0 is the outer edge of the first
                pixel.
            shape: rows and columns of the picture.
        """
        extent = [max(round(side_mm / step), 1) for step in spacing_mm]
        start = [(double - length) // 2 for double, length in zip(twice_centre, extent, strict=True)]
        rows, columns = (
            slice(min(max(low, 0), whole), max(min(low + length, whole), 0))
            for low, length, whole in zip(start, extent, shape, strict=True)
        )
        return cls((rows, columns), (start[0], start[1]), (extent[0], extent[1]))

    @property
    def stretched(self) -> bool:
        """Whether the pixels are not square, so that each axis is resized by itself."""
        return self.extent[0] != self.extent[1]

    def cut(self, pictures: NDArray[Any], fill: float) -> NDArray[Any]:
        """The square of pictures (..., Rows, Columns): (..., \\*extent), a view where nothing is filled."""
        seen = pictures[..., *self.inside]
        if seen.shape[-2:] == self.extent:
            return seen
        whole = np.full((*pictures.shape[:-2], *self.extent), fill, pictures.dtype)
        rows, columns = (
            slice(span.start - first, span.stop - first) for span, first in zip(self.inside, self.start, strict=True)
        )
        whole[..., rows, columns] = seen
        return whole

    def even(self, square: NDArray[Any]) -> NDArray[Any]:
        """What :meth:`cut` gave, with square pixels: the axis with fewer is repeated (nearest) up to the other; for display.

        As it is where pixels are square.
        """
        if not self.stretched:
            return square
        side = max(self.extent)
        rows, columns = ((2 * np.arange(side) + 1) * length // (2 * side) for length in self.extent)
        return square[..., rows[:, None], columns]

    def even_spacing_mm(self, spacing_mm: Millimetres) -> Millimetres:
        """Distance of rows and of columns after :meth:`even`, from PixelSpacing."""
        side = max(self.extent)
        down, right = (step * length / side for step, length in zip(spacing_mm, self.extent, strict=True))
        return down, right

    def at(self, axis: int, share: float) -> float:
        """Row (axis 0) or column (1) of the picture, 0 the centre of the first, from a share of the square, 0 its edge."""
        return self.start[axis] + share * self.extent[axis] - 0.5


def check_spacing(spacing_mm: Sequence[float] | None, allowed_mm: Millimetres, series: str) -> Millimetres:
    """PixelSpacing, where the setting ``windowing.field_of_view_mm`` needs it.

    Args:
        spacing_mm: between rows, between columns; None: not known.
        allowed_mm: ``validate.pixel_spacing_mm``.
        series: how a sentence calls the series.

    Raises:
        InputError: it is missing, not two positive numbers, or outside the range.
    """
    low, high = allowed_mm
    values = [] if spacing_mm is None else [float(step) for step in spacing_mm]
    if len(values) == 2 and all(math.isfinite(step) and low <= step <= high for step in values):
        return values[0], values[1]
    found = ", ".join(f"{step:g}" for step in values if not math.isnan(step))
    said = f"is {found} mm, outside validate.pixel_spacing_mm ({low:g} to {high:g})" if found else "is missing"
    raise InputError(
        f"PixelSpacing of {series} {said}, and windowing.field_of_view_mm is set, which needs it: correct it at its source, "
        "leave the series out, or use windowing.field_of_view_mm: null."
    )
