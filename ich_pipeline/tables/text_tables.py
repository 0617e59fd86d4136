"""A table that somebody else wrote: CSV (UTF-8, commas) or Parquet, as text cells with the line of every row."""

from __future__ import annotations

import math
import re
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ich_pipeline.core.errors import InputError
from ich_pipeline.tables.label_tables import csv_rows
from ich_pipeline.tables.sheets import trimmed

# The row numbers that pandas writes, or what is right of a last comma; pandas itself reads it as "Unnamed: 0".
_NAMELESS = re.compile(r"|Unnamed: \d+")


@dataclass(frozen=True)
class TextTable:
    """Cells without blanks and characters of no width around them; rows of nothing are left out.

    Attributes:
        path: where it was read from, for sentences.
        columns: name to cells, all of one length, in the file's order.
        lines: line of each row in the file (the header is line 1); of a Parquet file the row's number.
        nameless: how many columns of the file have no name; they are not in ``columns``.
    """

    path: Path
    columns: dict[str, list[str]]
    lines: list[int]
    nameless: int = 0

    def find(self, name: str) -> str | None:
        """The column of this name; where there is none, the only one that differs in upper and lower case alone."""
        if name in self.columns:
            return name
        near = [column for column in self.columns if column.casefold() == name.casefold()]
        return near[0] if len(near) == 1 else None

    def need(self, name: str, option: str) -> str:
        """The column that an option names; InputError lists those that there are."""
        found = self.find(name)
        if found is None:
            raise InputError(f"{self.path} has no column {name!r} ({option}); it has {_listed(self.columns)}.")
        return found

    def numbers(self, column: str) -> NDArray[np.float64]:
        """The cells as numbers; NaN where a cell is empty, ``nan``, ``NA`` or ``null``.

        Raises:
            InputError: a cell is something else, or infinite.
        """
        values = np.full(len(self.lines), np.nan)
        for i, cell in enumerate(self.columns[column]):
            if cell.casefold() in ("", "nan", "na", "null", "none", "<na>"):
                continue
            values[i] = as_number(cell)
            if not np.isfinite(values[i]):
                raise InputError(
                    f"{self.path}, line {self.lines[i]}: {column} is {cell!r}, which is no number: mend that value, or "
                    "leave the cell empty where there is none."
                )
        return values


def as_number(text: str) -> float:
    """The number that a person wrote; infinite where it is none (Python takes 0_1 for 1)."""
    try:
        return math.inf if "_" in text else float(text)
    except ValueError:
        return math.inf


def read_text_table(path: Path) -> TextTable:
    """Read a CSV, or a Parquet file by its suffix; columns without a name are counted and left.

    Raises:
        InputError: the file is missing, a folder, no UTF-8, no CSV, has no rows, a repeated column, or a row of another
            length than the header.
    """
    path = Path(path)
    if path.is_dir():
        raise InputError(f"{path} is a folder: name a CSV or Parquet file.")
    if not path.is_file():
        raise InputError(f"{path} is missing: name a CSV or Parquet file.")
    rows = _parquet_rows(path) if path.suffix.casefold() == ".parquet" else _csv_rows(path)
    if len(rows) < 2:
        raise InputError(f"{path} holds no row below its header: name the table that holds the cases.")
    header = rows[0][1]
    if len(header) == 1 and any(mark in header[0] for mark in ";\t"):
        raise InputError(f"{path} separates its columns by semicolon or tab: save it with commas.")
    named = [(i, name) for i, name in enumerate(header) if not _NAMELESS.fullmatch(name)]
    repeated = sorted(name for name, count in Counter(name for _, name in named).items() if count > 1)
    if repeated:
        raise InputError(f"{path} has the column {repeated[0]!r} more than once: keep one.")
    for line, row in rows:
        if len(row) != len(header):
            raise InputError(
                f"{path}, line {line} has {len(row)} values where the header has {len(header)} columns: mend that line."
            )
    body = rows[1:]
    columns = {name: [row[i] for _, row in body] for i, name in named}
    return TextTable(path, columns, [line for line, _ in body], len(header) - len(named))


def _csv_rows(path: Path) -> list[tuple[int, list[str]]]:
    rows = [(line, [trimmed(cell) for cell in row]) for line, row in csv_rows(path)]
    return rows[:1] + [(line, cells) for line, cells in rows[1:] if any(cells)]  # spreadsheets leave rows of nothing


def _parquet_rows(path: Path) -> list[tuple[int, list[str]]]:
    import pandas as pd

    try:
        table = pd.read_parquet(path)
    except (ValueError, OSError) as error:
        raise InputError(f"{path} is not a Parquet file ({' '.join(str(error).split())[:120]}): mend it.") from None
    cells = [_as_text(table[name]) for name in table.columns]
    rows = [(i + 1, list(row)) for i, row in enumerate(zip(*cells, strict=True))]
    return [(0, [str(name) for name in table.columns]), *rows]


def _as_text(column) -> list[str]:  # a pandas Series
    # Truth values are 0 and 1 here, and a missing value is an empty cell.
    return [
        "" if missing else str(int(value)) if isinstance(value, (bool, np.bool_)) else str(value)
        for value, missing in zip(column.tolist(), column.isna().tolist(), strict=True)
    ]


def _listed(names, most: int = 12) -> str:
    shown = list(names)
    return ", ".join(shown[:most]) + (f" and {len(shown) - most} more" if len(shown) > most else "")
