"""What spreadsheets and web pages leave in a table: rows of nothing, a line for themselves, characters that nobody sees."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator
from pathlib import Path

from ich_pipeline.core.errors import InputError
from ich_pipeline.tables.label_tables import csv_rows

_SEPARATOR_LINE = re.compile(r"sep=(.),*", re.IGNORECASE)


def table_rows(path: Path) -> Iterator[tuple[int, list[str]]]:
    """Line number and cells of every row of a CSV file that is not blank, the header first; cells are :func:`trimmed`.

    A row of empty cells is blank too. A first line ``sep=,`` is passed over.

    Raises:
        InputError: see :func:`ich_pipeline.tables.label_tables.csv_rows`; or the first line names another separator.
    """
    for line, row in csv_rows(path):
        cells = [trimmed(cell) for cell in row]
        if any(cells) and not (line == 1 and _is_separator_line(path, row)):
            yield line, cells


def trimmed(cell: str) -> str:
    """A cell without blanks and characters of no width around it."""
    if cell.isascii():
        return cell.strip()
    start, end = 0, len(cell)
    while start < end and _is_invisible(cell[start]):
        start += 1
    while end > start and _is_invisible(cell[end - 1]):
        end -= 1
    return cell[start:end]


def visible(text: str) -> str:
    """The text with characters that nobody can see written as escapes: ``1.2\\u200b.3``."""
    return "".join(c if c.isprintable() or c.isspace() else c.encode("unicode_escape").decode() for c in text)


def _is_invisible(character: str) -> bool:
    return character.isspace() or unicodedata.category(character) == "Cf"


def _is_separator_line(path: Path, row: list[str]) -> bool:
    found = _SEPARATOR_LINE.fullmatch(",".join(row))
    if found is None:
        return False
    if found[1] != ",":
        raise InputError(
            f"{path} says in its first line (sep=) that {found[1]!r} separates its columns: save it with commas."
        )
    return True
