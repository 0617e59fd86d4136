"""Cells of CSV tables that a spreadsheet would run as formulas: a patient's file may be called ``=cmd|' /C calc'!A0``.

Such a cell gets an apostrophe in front, which spreadsheets take for "this is text". Where one begins so by itself it gets one
more, so that :func:`plain` always leads back. Numbers stay: ``-12.5`` is no formula. Where the computer's language has commas in
numbers, a spreadsheet ends cells at semicolons: what follows one counts as a cell too.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pandas as pd

# What spreadsheets begin a formula with; the last are the same signs as East Asian keyboards write them.
_SIGN = r"[=+\-@\uff1d\uff0b\uff0d\uff20]"
_FORMULA = re.compile(rf"['\s]*{_SIGN}|'*[\t\r\n]")
_LATER = re.compile(rf"""(;[\s"]*)('*{_SIGN})""")
_LATER_SAFE = re.compile(rf"""(;[\s"]*)'('*{_SIGN})""")
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?")


def harmless(cell: Any) -> Any:
    """The cell, with an apostrophe in front where it is text that begins a formula, or where it does so behind a semicolon."""
    if not isinstance(cell, str) or _NUMBER.fullmatch(cell):
        return cell
    later = _LATER.sub(r"\1'\2", cell)
    return f"'{later}" if _FORMULA.match(later) else later


def plain(cell: str) -> str:
    """What :func:`harmless` made the cell of."""
    first = cell[1:] if cell.startswith("'") and _FORMULA.match(cell) else cell
    return _LATER_SAFE.sub(r"\1\2", first)


def csv_text(columns: Sequence[str], rows: Iterable[Iterable[Any]]) -> str:
    """A table as CSV, its cells harmless; lines end with ``\\n`` on every system."""
    text = io.StringIO()
    for row in (columns, *rows):
        cells = [harmless(cell) for cell in row]
        csv.writer(text, lineterminator="\n", quoting=_quoting(cells)).writerow(cells)  # type: ignore[arg-type]
    return text.getvalue()


def table_text(table: pd.DataFrame) -> str:
    """A table as CSV without its index, its cells harmless."""
    from pandas.api.types import is_numeric_dtype

    safe = table.rename(columns=harmless)
    texts = safe.columns[[not is_numeric_dtype(kind) for kind in safe.dtypes]]
    for name in texts:
        safe[name] = safe[name].map(harmless, na_action="ignore")
    quoting = max((_quoting(safe[name]) for name in texts), default=csv.QUOTE_MINIMAL)
    return safe.to_csv(index=False, lineterminator="\n", quoting=max(quoting, _quoting(safe.columns)))  # type: ignore[arg-type]


def _quoting(cells: Iterable[Any]) -> int:
    """Python quotes a carriage return only where lines end in one, and a reader takes it for the end of the row."""
    broken = any(isinstance(cell, str) and "\r" in cell for cell in cells)
    return csv.QUOTE_NONNUMERIC if broken else csv.QUOTE_MINIMAL
