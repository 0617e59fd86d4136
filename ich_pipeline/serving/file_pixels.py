"""Attention maps of a read case, back over the pixels of its files.

The networks read a square of the standard view (:mod:`ich_pipeline.dicom.orientation`, :func:`ich_pipeline.windowing.crop.focus`,
:mod:`ich_pipeline.windowing.frame`), which may reach beyond the picture. Who draws a map over a file of a prone or feet-first patient knows none of that.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ich_pipeline.dicom.orientation import Turn
from ich_pipeline.explain.case import ExplainedCase
from ich_pipeline.explain.geometry import Pair
from ich_pipeline.explain.placed import PlacedMap
from ich_pipeline.serving.load_case import Facts
from ich_pipeline.windowing.frame import Frame


@dataclass(frozen=True)
class FilePixels:
    """From the square picture that the networks read to the pixels of the files.

    Attributes:
        shape: rows and columns of the volume, in the standard view.
        frame: the square of it that was read.
        turn: from a file's picture to its slice of the volume.
        shifts_px: (n, 2), see :class:`ich_pipeline.serving.load_case.Case`.
    """

    shape: tuple[int, int]
    frame: Frame
    turn: Turn
    shifts_px: NDArray[np.float64]

    def back(self, index: int, found: PlacedMap) -> tuple[NDArray[np.float32], Pair, Pair]:
        """One slice's map as its file has it.

        Args:
            index: of the slice.
            found: map over the square picture.

        Returns:
            The map, turned; and in pixels of the file, (rows, columns), the centre of its first cell (0 is the centre of
            the first pixel) and the step to the next; outside the file where the square reaches beyond it. The same as :meth:`ich_pipeline.series.placement.Placement.to_file`
            does with the map drawn over the slice.
        """
        first, step = np.empty(2), np.empty(2)
        for axis, flipped in enumerate((self.turn.flip_rows, self.turn.flip_columns)):
            step[axis] = found.grid.step[axis] * self.frame.extent[axis]
            first[axis] = self.frame.at(axis, found.grid.first[axis])
            if flipped:
                last = first[axis] + step[axis] * (found.values.shape[axis] - 1)
                first[axis] = self.shape[axis] - 1 - last
        if self.turn.transpose:
            first, step = first[::-1], step[::-1]
        first = first - self.shifts_px[index]
        return self.turn.undo(found.values), (float(first[0]), float(first[1])), (float(step[0]), float(step[1]))


@dataclass(frozen=True)
class ReadCase(ExplainedCase):
    """A case as the system answers for it: read, explained, and with the way back to its files.

    ``scan_cautions`` says what to beware of in the scan itself, such as a part of the head that was not read. ``facts`` are for
    the record of served cases; None for an array.
    """

    pixels: FilePixels
    scan_cautions: tuple[str, ...] = ()
    facts: Facts | None = None
