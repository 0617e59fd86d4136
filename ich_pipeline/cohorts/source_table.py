"""Label tables as users bring them: columns found by name, one row an identifier, every fault accounted for."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import pandas as pd

from ich_pipeline.cohorts.faults import LabelAccount, LabelFault
from ich_pipeline.core.errors import InputError
from ich_pipeline.dicom.header import Header
from ich_pipeline.tables.labels import Labels
from ich_pipeline.tables.sheets import table_rows

KEY, LINE = "key", "line"
ICH_LABELS = Labels("any", ("epidural", "intraparenchymal", "intraventricular", "subarachnoid", "subdural"))
Level = Literal["slice", "case"]


@dataclass(frozen=True)
class LabelRows:
    """What an adapter makes of a label table, before it meets the images.

    Attributes:
        level: one row a slice, or one row a case (study).
        table: ``key`` (the source's own identifier, unique), ``line`` (of the table), the label columns (int8, 0 or 1).
        key_of: the identifier that a CT image would have in the table; None where it can have none.
        aside: the source's other columns (text), indexed by ``key``; None where there are none.
        votes: reader → finding (int8, 0 or 1) by ``key``, for a source with several readers.
        patient_of: the patient of an identifier, for a source in which single slices are known to be missing.
    """

    level: Level
    table: pd.DataFrame
    key_of: Callable[[Header], str | None]
    aside: pd.DataFrame | None = None
    votes: Mapping[str, pd.DataFrame] | None = None
    patient_of: Callable[[str], str] | None = None


@dataclass(frozen=True)
class Row:
    """One row of a table: its line, its identifier, its cells by column name without blanks and invisible characters around them."""

    line: int
    key: str
    cells: dict[str, str]


def open_table(
    path: Path, needed: Sequence[str], optional: Sequence[str] = (), *, others: bool = False, example: str = ""
) -> tuple[list[str], Iterator[tuple[int, list[str]]]]:
    """The header and the rows of a table.

    Args:
        path: CSV, UTF-8 with or without byte order mark, comma-separated.
        needed: columns that must be there; order, upper and lower case do not matter.
        optional: columns that may be there.
        others: further columns are kept, not refused.
        example: a first line that sentences show; "" is ``needed``.

    Returns:
        the header with the names of ``needed`` and ``optional``, and line number and cells of every row that is not blank.
        Columns at the end that have neither a name nor a value are left out.

    Raises:
        InputError: the file is missing or no such CSV; columns are missing, unknown or repeated; while rows are read, a
            column without a name has a value.
    """
    rows = table_rows(path)
    given = [" ".join(name.split()) for name in next(rows, (0, []))[1]]
    example = example or ",".join(needed if len(needed) < 10 else [*needed[:8], "…"])
    if not given:
        raise InputError(f"{path} is empty: its first line must be {example}.")
    names = {name.lower(): name for name in (*needed, *optional)}
    header = [names.get(name.lower(), name) for name in given]
    while header[-1] == "":  # the first is not: a row of empty cells is no header
        header.pop()
    if len(header) == 1 and any(mark in header[0] for mark in ";\t"):
        raise InputError(
            f"{path} separates its columns by semicolon or tab: save it with commas, first line {example}."
        )
    if "" in header:
        raise InputError(f"{path}, column {header.index('') + 1} has no name: name it, or delete it where it is empty.")
    repeated = sorted(name for name, count in Counter(header).items() if count > 1)
    if repeated:
        raise InputError(f"{path} has the column {_listed(repeated)} more than once: keep one.")
    missing = [name for name in needed if name not in header]
    if missing:
        raise InputError(f"{path} lacks the columns {_listed(missing)}: its first line must be {example}.")
    unknown = [name for name in header if name not in needed and name not in optional]
    if unknown and not others:
        raise InputError(
            f"{path} has unknown columns {_listed([repr(name) for name in unknown])}: the columns are "
            f"{','.join([*needed, *optional])}; remove the others, or name the labels in params.yaml (labels)."
        )
    return header, ((line, _named_cells(path, line, row, len(header), len(given))) for line, row in rows)


def _named_cells(path: Path, line: int, cells: list[str], named: int, columns: int) -> list[str]:
    """The cells of the named columns; those of columns without a name, which are the last ones, must be empty."""
    if len(cells) > columns:
        return cells  # longer than the header: a fault of the row
    if any(cells[named:]):
        raise InputError(
            f"{path} has columns without a name, and a value in one of them (line {line}): name it, or delete it."
        )
    return cells[:named]


def keyed_rows(
    header: Sequence[str],
    rows: Iterable[tuple[int, list[str]]],
    key_of: Callable[[dict[str, str]], str | None],
    account: LabelAccount,
) -> list[Row]:
    """The rows with an identifier that occurs once; of equal rows the first. All others are in the account.

    Args:
        header: column names.
        rows: line number and cells.
        key_of: the identifier from a row's cells, None where it has no usable one.
        account: gets the faults.
    """
    by_key: dict[str, Row] = {}
    contradicting: dict[str, Row] = {}
    for line, values in rows:
        if len(values) != len(header):
            account.add(LabelFault.ROW_LENGTH, "", line, f"{len(values)} values, {len(header)} columns")
            continue
        cells = dict(zip(header, values, strict=True))
        key = key_of(cells)
        if key is None:
            account.add(LabelFault.NO_IDENTIFIER, "", line, ",".join(values)[:80])
            continue
        row = Row(line, key, cells)
        first = by_key.setdefault(key, row)
        if first is row:
            continue
        if first.cells == cells:
            account.add(LabelFault.DUPLICATE_EQUAL, key, line, f"first in line {first.line}")
        else:
            differing = next(name for name in header if first.cells[name] != cells[name])
            detail = f"{differing} is {cells[differing]!r}, in line {first.line} {first.cells[differing]!r}"
            account.leave_out(LabelFault.DUPLICATE_CONTRADICTING, key, line, detail)
            contradicting[key] = row
    return [row for row in by_key.values() if row.key not in contradicting]


def binary(row: Row, columns: Sequence[str], account: LabelAccount) -> list[int] | None:
    """The cells of ``columns`` as 0 and 1; None, and a fault in the account, where one is neither."""
    wrong = [name for name in columns if row.cells[name] not in ("0", "1")]
    if not wrong:
        return [int(row.cells[name]) for name in columns]
    seen = ", ".join(f"{name} is {row.cells[name]!r}" for name in wrong[:3]) + (", …" if len(wrong) > 3 else "")
    account.leave_out(LabelFault.BAD_VALUE, row.key, row.line, seen)
    return None


def label_table(
    keys: Sequence[str],
    lines: Sequence[int],
    values: Sequence[Sequence[int]] | np.ndarray,
    labels: Labels,
    level: Level,
    account: LabelAccount,
) -> pd.DataFrame:
    """The table of :class:`LabelRows` without the rows that break the rule of "any".

    A slice's "any" is 1 exactly when a subtype is. A case's may be 1 without one: readers may agree on blood and not on
    its kind; that is noted.
    """
    array = np.asarray(values, dtype=np.int8).reshape(len(keys), len(labels))
    given, expected = array[:, 0], labels.any_of(array[:, 1:])
    keep = np.ones(len(keys), bool)
    for i in np.flatnonzero(given != expected).tolist():
        if level == "case" and given[i]:
            account.add(LabelFault.NO_SUBTYPE_AGREED, keys[i], lines[i])
            continue
        keep[i] = False
        subtype = "a subtype is 1" if expected[i] else "no subtype is 1"
        account.leave_out(LabelFault.ANY_CONTRADICTION, keys[i], lines[i], f"{labels.any} is {given[i]}, but {subtype}")
    table = pd.DataFrame(array, columns=list(labels.columns))
    table.insert(0, KEY, pd.Series(list(keys), dtype="str"))
    table.insert(1, LINE, np.asarray(lines, dtype=np.int64))
    return table[keep].reset_index(drop=True)


def need_ich_labels(kind: str, labels: Labels) -> None:
    """Refuse params whose labels are not the six that the public data sets have."""
    if labels.any != ICH_LABELS.any or set(labels.subtypes) != set(ICH_LABELS.subtypes):
        raise InputError(
            f"params.yaml names the labels {', '.join(labels.columns)}, but {kind} has {', '.join(ICH_LABELS.columns)}: set "
            "labels as in `ich profile --show paper`."
        )


def _listed(names: Sequence[str], shown: int = 8) -> str:
    return ", ".join(names[:shown]) + (f" and {len(names) - shown:,} more" if len(names) > shown else "")
