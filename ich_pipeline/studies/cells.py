"""Rows and values of a table that somebody else wrote, or the sentence that says what is wrong with them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np
from numpy.typing import NDArray

from ich_pipeline.core.errors import InputError
from ich_pipeline.tables.identifiers import spoilt
from ich_pipeline.tables.reader_tables import MISSING, binary
from ich_pipeline.tables.text_tables import TextTable


def suspicion(*tables: tuple[object, Iterable[str]]) -> str:
    """The tables (as they are called, and their names of rows) that look as a spreadsheet leaves them, as a further part of a sentence."""
    return "".join(f"; {called} {found}" for called, names in tables if (found := spoilt(names)))


def rows_by_name(table: TextTable, column: str) -> dict[str, int]:
    rows: dict[str, int] = {}
    for i, name in enumerate(table.columns[column]):
        if not name:
            raise InputError(f"{table.path}, line {table.lines[i]}: {column} is empty: name the row or remove it.")
        if name in rows:
            raise InputError(
                f"{table.path}, line {table.lines[i]}: {column} {name!r} stands twice, first in line "
                f"{table.lines[rows[name]]}: keep one row, or name another column with --id{suspicion((table.path, table.columns[column]))}."
            )
        rows[name] = i
    return rows


def lacking(
    here: Mapping[str, int], table: TextTable, there: Mapping[str, int], other: TextTable, allow_missing: bool
) -> list[int]:
    """The rows ``here`` of a table whose names are not ``there`` in the other.

    Raises:
        InputError: there are such rows, and they may not be missing; or a spreadsheet has spoilt the names that find no like, so
            that they are not missing.
    """
    alone = [i for name, i in here.items() if name not in there]
    if not alone:
        return alone
    lacks = f"{other.path} lacks {len(alone):,} of the {len(here):,} rows of {table.path} (first: line {table.lines[alone[0]]})"
    both = ((table.path, here, there), (other.path, there, here))
    if broken := suspicion(*((path, [n for n in own if n not in others]) for path, own, others in both)):
        raise InputError(f"{lacks}, and they may be there under a spoilt name (--allow-missing or not){broken}.")
    if not allow_missing:
        raise InputError(
            f"{lacks}: add them, or --allow-missing to leave them out and have them counted"
            f"{suspicion((table.path, here), (other.path, there))}."
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
