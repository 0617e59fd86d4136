"""Masks and boxes of findings in slices, in a CSV: SOPInstanceUID, label, Rows, Columns, runs.

``runs`` holds "start length start length …" over the row-major pixels, counted from 0, in rising order. Where nobody drew an
outline but boxes, it holds "box x y width height x y width height …" in pixels: x and y of the left upper corner, 0 the edge
of the first pixel. A box is never taken for a mask: most of what it encloses is no lesion.
"""

from __future__ import annotations

import csv
import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ich_pipeline.core.errors import InputError
from ich_pipeline.core.files import atomic_file
from ich_pipeline.tables.formulas import harmless, plain

COLUMNS = ("SOPInstanceUID", "label", "Rows", "Columns", "runs")
Mask = NDArray[np.bool_]
ROUNDING = 1e-6  # pixels by which a box may leave the picture: x + width is rounded
BOX = "box"  # the word that begins a row of boxes


@dataclass(frozen=True)
class Box:
    """A rectangle in pixels of the file; x to the right and y down, of its left upper corner, from the picture's edges."""

    x: float
    y: float
    width: float
    height: float

    def filled(self, rows: int, columns: int) -> Mask:
        """The pixels (rows, columns) whose centre lies inside; where it holds no centre, the one that its middle is in."""
        down, right = np.arange(rows) + 0.5, np.arange(columns) + 0.5
        inside_rows = (down >= self.y) & (down < self.y + self.height)
        inside_columns = (right >= self.x) & (right < self.x + self.width)
        if not inside_rows.any():
            inside_rows[min(int(self.y + self.height / 2), rows - 1)] = True
        if not inside_columns.any():
            inside_columns[min(int(self.x + self.width / 2), columns - 1)] = True
        return inside_rows[:, None] & inside_columns


@dataclass(frozen=True)
class Boxes:
    """The boxes of one finding in a slice of this many rows and columns."""

    rows: int
    columns: int
    boxes: tuple[Box, ...]

    def masks(self) -> list[Mask]:
        """Each box filled, over the file's pixels."""
        return [box.filled(self.rows, self.columns) for box in self.boxes]


def encode_boxes(boxes: Boxes) -> str:
    """The text of :func:`decode_boxes`."""
    numbers = (repr(float(value)) for box in boxes.boxes for value in (box.x, box.y, box.width, box.height))
    return " ".join((BOX, *numbers))


def decode_boxes(text: str, rows: int, columns: int) -> Boxes:
    """The boxes of :func:`encode_boxes`' text; ValueError for what is no box, or leaves the image."""
    numbers = [float(word) for word in text.split()[1:]]
    if not numbers or len(numbers) % 4:
        raise ValueError("a box holds four numbers, x y width height")
    boxes = tuple(Box(*numbers[at : at + 4]) for at in range(0, len(numbers), 4))
    for box in boxes:
        ends = (box.x, box.y, box.width, box.height, columns - box.x - box.width, rows - box.y - box.height)
        if not all(math.isfinite(end) and end >= -ROUNDING for end in ends) or not box.width * box.height > 0:
            raise ValueError(
                f"box {box.x:g} {box.y:g} {box.width:g} {box.height:g} leaves the image of {rows} × {columns}, or has no area"
            )
    return Boxes(rows, columns, boxes)


def encode_runs(mask: Mask) -> str:
    """The runs of a mask (Rows, Columns)."""
    flat = np.concatenate(([False], np.asarray(mask, bool).ravel(), [False]))
    edges = np.flatnonzero(flat[1:] != flat[:-1])
    starts, ends = edges[::2], edges[1::2]
    return " ".join(f"{start} {end - start}" for start, end in zip(starts.tolist(), ends.tolist(), strict=True))


def decode_runs(runs: str, rows: int, columns: int) -> Mask:
    """The mask (rows, columns) of :func:`encode_runs`' text; ValueError for runs that overlap or leave the image."""
    numbers = [int(word) for word in runs.split()]
    if len(numbers) % 2:
        raise ValueError("runs hold a start without a length")
    flat = np.zeros(rows * columns, bool)
    free_from = 0
    for start, length in zip(numbers[::2], numbers[1::2], strict=True):
        if start < free_from or length < 1 or start + length > flat.size:
            raise ValueError(f"run {start} {length} overlaps another or leaves the image of {rows} × {columns}")
        free_from = start + length
        flat[start:free_from] = True
    return flat.reshape(rows, columns)


def write_masks(path: Path, masks: Iterable[tuple[str, str, Mask | Boxes]]) -> None:
    """Write ``(SOPInstanceUID, label, mask or boxes)`` in the order given, atomically; header only when there are none."""
    with atomic_file(path) as partial, partial.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(COLUMNS)
        for uid, label, mask in masks:
            if isinstance(mask, Boxes):
                writer.writerow([harmless(uid), label, mask.rows, mask.columns, encode_boxes(mask)])
            else:
                writer.writerow([harmless(uid), label, mask.shape[0], mask.shape[1], encode_runs(mask)])


@dataclass(frozen=True)
class _Encoded:
    rows: int
    columns: int
    runs: str
    line: int


class Masks(Mapping[str, dict[str, Mask]]):
    """SOPInstanceUID → label → mask (Rows, Columns); a slice is decoded when it is asked for.

    Attributes:
        boxes: SOPInstanceUID → label → boxes, which are no masks.
    """

    def __init__(
        self, path: Path, encoded: dict[str, dict[str, _Encoded]], boxes: Mapping[str, Mapping[str, Boxes]]
    ) -> None:
        self._path, self._encoded, self.boxes = path, encoded, boxes

    def __getitem__(self, uid: str) -> dict[str, Mask]:
        found = {}
        for label, item in self._encoded[uid].items():
            try:
                found[label] = decode_runs(item.runs, item.rows, item.columns)
            except ValueError as error:
                raise InputError(f"{self._path} line {item.line}: {error}; mend that row.") from None
        return found

    def __iter__(self) -> Iterator[str]:
        return iter(self._encoded)

    def __len__(self) -> int:
        return len(self._encoded)


def read_masks(path: Path) -> Masks:
    """Read a table of masks and boxes.

    Raises:
        InputError: the file is missing, has other columns, a row twice or with sizes that are no numbers, or a broken box.
    """
    encoded: dict[str, dict[str, _Encoded]] = {}
    boxes: dict[str, dict[str, Boxes]] = {}
    try:
        with Path(path).open(encoding="utf-8", newline="") as file:
            reader = csv.reader(file)
            if tuple(next(reader, ())) != COLUMNS:
                raise InputError(f"{path}: the first line is not {','.join(COLUMNS)}; write these columns.")
            for line, row in enumerate(reader, start=2):
                if len(row) != len(COLUMNS) or not (row[2].isdecimal() and row[3].isdecimal()):
                    raise InputError(
                        f"{path} line {line}: Rows and Columns must be numbers and runs one field; mend that row."
                    )
                uid, label, rows, columns, runs = plain(row[0]), *row[1:]
                if label in encoded.get(uid, {}) or label in boxes.get(uid, {}):
                    raise InputError(f"{path} line {line}: label {label!r} of this slice occurs twice; remove one row.")
                if runs.split()[:1] != [BOX]:
                    encoded.setdefault(uid, {})[label] = _Encoded(int(rows), int(columns), runs, line)
                    continue
                try:
                    boxes.setdefault(uid, {})[label] = decode_boxes(runs, int(rows), int(columns))
                except ValueError as error:
                    raise InputError(f"{path} line {line}: {error}; mend that row.") from None
    except FileNotFoundError:
        raise InputError(
            f"{path} is missing: the cohort's adapter writes it, header-only when there are no masks."
        ) from None
    return Masks(Path(path), encoded, boxes)
