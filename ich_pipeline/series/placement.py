"""From the picture of a file to its slice of the stored volume, and back: for masks on the way in, maps on the way out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ich_pipeline.dicom.orientation import AS_STORED, Turn
from ich_pipeline.series.shear import move


@dataclass(frozen=True)
class Placement:
    """A row of the slice table: ``reorientation``, ``shift_rows_px``, ``shift_columns_px``."""

    reorientation: str = AS_STORED
    shift_rows_px: float = 0.0
    shift_columns_px: float = 0.0

    def to_volume(self, picture: NDArray[Any], outside: float = 0) -> NDArray[Any]:
        """A picture over the file's pixels, in the volume's view; ``outside`` is what comes in at the edges."""
        return Turn.from_code(self.reorientation).apply(self._moved(picture, 1, outside))

    def to_file(self, picture: NDArray[Any], outside: float = 0) -> NDArray[Any]:
        """A picture over the slice of the volume, over the file's pixels."""
        return self._moved(Turn.from_code(self.reorientation).undo(picture), -1, outside)

    def _moved(self, picture: NDArray[Any], sign: int, outside: float) -> NDArray[Any]:
        shift = sign * np.array([self.shift_rows_px, self.shift_columns_px])
        return move(picture, shift, outside) if shift.any() else picture
