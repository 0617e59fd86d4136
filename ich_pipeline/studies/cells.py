"""Rows and values of a table that somebody else wrote, or the sentence that says what is wrong with them."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from ich_pipeline.core.errors import InputError
from ich_pipeline.tables.reader_tables import MISSING, binary
from ich_pipeline.tables.text_tables import TextTable


def rows_by_name(table: TextTable, column: str) -> dict[str, int]:
    rows: dict[str, int] = {}
    for i, name in enumerate(table.columns[column]):
        if not name:
            raise InputError(f"{table.path}, line {table.lines[i]}: {column} is empty: name the row or remove it.")
        if name in rows:
            raise InputError(
                f"{table.path}, line {table.lines[i]}: {column} {name!r} stands twice, first in line "
                f"{table.lines[rows[name]]}: keep one row, or name another column with --id."
            )
        rows[name] = i
    return rows


def lacking(
    here: Mapping[str, int], table: TextTable, there: Mapping[str, int], other: TextTable, allow_missing: bool
) -> list[int]:
    """The rows ``here`` of a table whose names are not ``there`` in the other; InputError unless they may be missing."""
    alone = [i for name, i in here.items() if name not in there]
    if alone and not allow_missing:
        raise InputError(
            f"{other.path} lacks {len(alone):,} of the {len(here):,} rows of {table.path} (first: line "
            f"{table.lines[alone[0]]}): add them, or --allow-missing to leave them out and have them counted."
        )
    return alone


def probabilities(table: TextTable, column: str, allow_missing: bool) -> NDArray[np.float64]:
    values = table.numbers(column)
    for i in np.flatnonzero((values < 0) | (values > 1))[:1]:
        raise InputError(
            f"{table.path}, line {table.lines[i]}: {column} is {table.columns[column][i]!r}, but a probability lies between "
            "0 and 1: convert the scores, or choose the columns with --map."
        )
    missing = np.flatnonzero(np.isnan(values))
    if len(missing) and not allow_missing:
        raise InputError(
            f"{table.path}, line {table.lines[missing[0]]}: {column} has no probability ({len(missing):,} rows in all): fill "
            "it in, or add --allow-missing to leave such rows out of this finding and have them counted."
        )
    return values


def zero_or_one(table: TextTable, column: str, allow_missing: bool) -> NDArray[np.int8]:
    values = binary(table, column)
    missing = np.flatnonzero(values == MISSING)
    if len(missing) and not allow_missing:
        raise InputError(
            f"{table.path}, line {table.lines[missing[0]]}: {column} is empty ({len(missing):,} rows in all): fill it in, or "
            "add --allow-missing to leave such rows out of this finding and have them counted."
        )
    return values
