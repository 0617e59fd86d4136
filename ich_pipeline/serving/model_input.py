"""What the registered model takes: a DataFrame of DICOM files, or of HU arrays, grouped into cases."""

from __future__ import annotations

import base64
import binascii
import io
import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ich_pipeline.core.errors import InputError
from ich_pipeline.dicom.reader import read_header

if TYPE_CHECKING:
    from ich_pipeline.serving.file_pixels import ReadCase
    from ich_pipeline.serving.system import System

SPACING = ("row_spacing_mm", "column_spacing_mm")
COLUMNS = ("dicom", "hu", "position_mm", *SPACING, "case")


@dataclass(frozen=True)
class CaseInput:
    """One case to read: DICOM files as bytes, or HU with positions and spacing; ``case`` is the caller's name for it."""

    case: str | None
    files: tuple[bytes, ...] = ()
    hu: NDArray[Any] | None = None
    positions_mm: NDArray[np.floating] | None = None
    pixel_spacing_mm: tuple[float, float] | None = None

    def read(self, system: System, demonstration: bool = False) -> ReadCase:
        """Read it; ``demonstration`` as of :meth:`~ich_pipeline.serving.system.System.read_case`."""
        if self.hu is not None:
            spacing, name = self.pixel_spacing_mm, self.case or "array"
            return system.read_hu(self.hu, self.positions_mm, name, spacing, demonstration)
        return system.read_case(self.files, demonstration)


def cases(table: pd.DataFrame) -> list[CaseInput]:
    """Group the rows into cases, in order of first appearance.

    Args:
        table: one row a slice. Column ``dicom``: the bytes of one file (or their base64 text); or ``hu``: an array in
            HU in the .npy format, (Rows, Columns) or (n, Rows, Columns), with ``position_mm`` where each row is one
            slice, and ``row_spacing_mm`` and ``column_spacing_mm`` (PixelSpacing) where the model reads at true scale.
            Optional column ``case`` groups; without it, DICOM rows are grouped by StudyInstanceUID and HU rows
            are one case.

    Raises:
        InputError: an unknown column, both or neither of ``dicom`` and ``hu``, bytes that are no DICOM or .npy, or slices of
            one case that differ.
    """
    unknown = [str(name) for name in table.columns if name not in COLUMNS]
    if unknown:
        raise InputError(f"The model's input has no column {unknown[0]!r}: it takes {', '.join(COLUMNS)}.")
    kinds = [name for name in ("dicom", "hu") if name in table.columns and table[name].notna().any()]
    if len(kinds) != 1:
        raise InputError("The model's input needs DICOM files in the column 'dicom' or arrays in 'hu', one of the two.")
    kind = kinds[0]
    if table[kind].isna().any():
        row = int(np.flatnonzero(table[kind].isna())[0])
        raise InputError(f"The model's input has an empty {kind!r} in row {row}: give every row one.")
    contents = [_content(value, kind, row) for row, value in enumerate(table[kind])]
    if "case" in table.columns and table["case"].notna().any():
        names: list[str | None] = [None if pd.isna(value) else str(value) for value in table["case"]]
        keys = [name or "" for name in names]
    else:
        keys = [_study(content, row) for row, content in enumerate(contents)] if kind == "dicom" else [""] * len(table)
        names = [None] * len(table)
    positions = table["position_mm"].tolist() if "position_mm" in table.columns else [None] * len(table)
    found = []
    for rows in _grouped(keys):
        chosen = [contents[row] for row in rows]
        if kind == "dicom":
            found.append(CaseInput(names[rows[0]], files=tuple(chosen)))
        else:
            spacing = _spacing(table.iloc[rows])
            found.append(_arrays(names[rows[0]], chosen, [positions[row] for row in rows], spacing))
    return found


def _spacing(slices: pd.DataFrame) -> tuple[float, float] | None:
    """PixelSpacing of one case; None where no slice has one."""
    given = slices.reindex(columns=list(SPACING))
    if given.isna().all(axis=None):
        return None
    pairs = {(float(down), float(right)) for down, right in given.itertuples(index=False)}
    if len(pairs) > 1 or given.isna().any(axis=None):
        raise InputError(
            f"The model's input has {' and '.join(map(repr, SPACING))} that are missing for a slice, or differ, in one case: give "
            "all its slices the same two numbers."
        )
    return pairs.pop()


def _grouped(keys: list[str]) -> Iterator[list[int]]:
    groups: dict[str, list[int]] = {}
    for row, key in enumerate(keys):
        groups.setdefault(key, []).append(row)
    yield from groups.values()


def _content(value: Any, kind: str, row: int) -> bytes:
    if isinstance(value, (bytes, bytearray, memoryview)):
        return bytes(value)
    if isinstance(value, str):
        try:
            return base64.b64decode(value, validate=True)
        except binascii.Error:
            raise InputError(f"The model's input has text in {kind!r}, row {row}, that is not base64.") from None
    raise InputError(f"The model's input has {type(value).__name__} in {kind!r}, row {row}: give bytes.")


def _study(content: bytes, row: int) -> str:
    header = read_header(content, f"row {row}", (0.0, math.inf))  # here only the study counts
    if not header.study_uid:
        raise InputError(f"The model's input has bytes in 'dicom', row {row}, that are no DICOM image of a study.")
    return header.study_uid


def _arrays(
    name: str | None, contents: list[bytes], positions: list[Any], spacing: tuple[float, float] | None
) -> CaseInput:
    arrays = []
    for content in contents:
        try:
            array = np.load(io.BytesIO(content), allow_pickle=False)
        except (ValueError, EOFError, OSError):
            raise InputError("The model's input has bytes in 'hu' that are no array in the .npy format.") from None
        arrays.append(array[None] if array.ndim == 2 else array)
    if len({array.shape[1:] for array in arrays}) != 1:
        raise InputError("The model's input has slices of different shapes in one case: give one series a case.")
    hu = np.concatenate(arrays)
    given = [position for position in positions if position is not None and not pd.isna(position)]
    if not given:
        return CaseInput(name, hu=hu, pixel_spacing_mm=spacing)
    if len(given) != len(hu):
        raise InputError(f"The model's input has {len(given)} 'position_mm' for {len(hu)} slices: give all or none.")
    order = np.argsort(given, kind="stable")
    sorted_mm = np.asarray(given, np.float64)[order]
    return CaseInput(name, hu=hu[order], positions_mm=sorted_mm, pixel_spacing_mm=spacing)
