"""One way to store every volume: rows towards the back, columns towards the patient's left, slices towards the head.

The patient's axes are DICOM's (PS3.3 C.7.6.2.1.1: x to the left, y to the back, z to the head), so what a scanner wrote for
a prone, decubitus or feet-first patient, or a picture seen from above, is turned by whole quarter turns and flips, told by
ImageOrientationPatient alone. Nothing is resampled. A usual scan (supine, seen from the feet) stays as it is.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

AS_STORED = "as_stored"
_STEPS = ("transpose", "flip_rows", "flip_columns")


@dataclass(frozen=True)
class Turn:
    """How a picture was turned: first transposed, then its rows flipped, then its columns.

    Attributes:
        transpose: rows and columns change places.
        flip_rows: the first row becomes the last.
        flip_columns: the first column becomes the last.
    """

    transpose: bool = False
    flip_rows: bool = False
    flip_columns: bool = False

    @classmethod
    def to_standard(cls, orientation: Sequence[float]) -> Turn:
        """The turn that brings an axial plane nearest to rows towards the back and columns towards the left.

        Args:
            orientation: ImageOrientationPatient; its first three values point along a row, where the column index rises.
        """
        along_row, along_column = np.reshape(np.asarray(orientation, dtype=np.float64), (2, 3))
        straight = abs(along_row[0]) + abs(along_column[1])
        crossed = abs(along_row[1]) + abs(along_column[0])
        transpose = bool(crossed > straight)
        to_left, to_back = (along_column[0], along_row[1]) if transpose else (along_row[0], along_column[1])
        return cls(transpose, flip_rows=bool(to_back < 0), flip_columns=bool(to_left < 0))

    @classmethod
    def from_code(cls, code: str) -> Turn:
        """The turn that :attr:`code` names.

        Raises:
            ValueError: no turn has this code.
        """
        steps = () if code == AS_STORED else tuple(code.split("+"))
        turn = cls(*(step in steps for step in _STEPS))
        if turn.code != code:
            raise ValueError(f"{code!r} names no turn: expected {AS_STORED} or {'+'.join(_STEPS)} or parts of it")
        return turn

    @property
    def code(self) -> str:
        """``as_stored``, or the steps joined by ``+`` in the order in which they are done."""
        done = (self.transpose, self.flip_rows, self.flip_columns)
        return "+".join(step for step, wanted in zip(_STEPS, done, strict=True) if wanted) or AS_STORED

    def apply(self, array: NDArray[Any]) -> NDArray[Any]:
        """Turn the last two axes (Rows, Columns) of the file's picture to the standard view; contiguous."""
        if self.transpose:
            array = np.swapaxes(array, -1, -2)
        return np.ascontiguousarray(self._flipped(array))

    def undo(self, array: NDArray[Any]) -> NDArray[Any]:
        """From the standard view back to the file's own; contiguous."""
        array = self._flipped(array)
        return np.ascontiguousarray(np.swapaxes(array, -1, -2) if self.transpose else array)

    def _flipped(self, array: NDArray[Any]) -> NDArray[Any]:
        rows = slice(None, None, -1 if self.flip_rows else None)
        columns = slice(None, None, -1 if self.flip_columns else None)
        return array[..., rows, columns]
