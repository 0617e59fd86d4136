"""Masks of findings in slices, as run lengths in a CSV: SOPInstanceUID, label, Rows, Columns, runs.

``runs`` holds "start length start length …" over the row-major pixels, counted from 0, in rising order.
"""

from __future__ import annotations

import csv
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


def write_masks(path: Path, masks: Iterable[tuple[str, str, Mask]]) -> None:
    """Write ``(SOPInstanceUID, label, mask)`` in the order given, atomically; header only when there are none."""
    with atomic_file(path) as partial, partial.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(COLUMNS)
        for uid, label, mask in masks:
            writer.writerow([harmless(uid), label, mask.shape[0], mask.shape[1], encode_runs(mask)])


@dataclass(frozen=True)
class _Encoded:
    rows: int
    columns: int
    runs: str
    line: int


class Masks(Mapping[str, dict[str, Mask]]):
    """SOPInstanceUID → label → mask (Rows, Columns); a slice is decoded when it is asked for."""

    def __init__(self, path: Path, encoded: dict[str, dict[str, _Encoded]]) -> None:
        self._path, self._encoded = path, encoded

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
    """Read a mask table.

    Raises:
        InputError: the file is missing, has other columns, or a row twice or with sizes that are no numbers.
    """
    encoded: dict[str, dict[str, _Encoded]] = {}
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
                if label in encoded.setdefault(uid, {}):
                    raise InputError(f"{path} line {line}: label {label!r} of this slice occurs twice; remove one row.")
                encoded[uid][label] = _Encoded(int(rows), int(columns), runs, line)
    except FileNotFoundError:
        raise InputError(
            f"{path} is missing: the cohort's adapter writes it, header-only when there are no masks."
        ) from None
    return Masks(Path(path), encoded)
