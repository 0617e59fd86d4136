"""Label tables: CSV files with one row a slice, SOPInstanceUID and a 0 or 1 for every label.

Two readers, one parser. :func:`read_labels` is for the pipeline's own tables (``data/labels.csv``, the cohorts' label
files): exactly the columns that params.yaml names. :func:`read_source_labels` is for a table that a user brings: column
order and upper or lower case do not matter, and "any" may be left out (it follows from the subtypes).
"""

from __future__ import annotations

import csv
import io
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from ich_pipeline.errors import InputError
from ich_pipeline.files import write_text
from ich_pipeline.labels import Labels

UID = "SOPInstanceUID"
SHOWN = 3  # identifiers named in a sentence; the count says the rest


@dataclass(frozen=True)
class Coverage:
    """How a label table and the slices of the chosen series meet; all counts are slices.

    Attributes:
        slices: slices of the chosen series.
        labelled: those of them that the table labels.
        set_aside: rows of the table for files that ingest set aside or rejected; they are not used.
        unlabelled_volumes: chosen series in which at least one slice has no label.
    """

    slices: int
    labelled: int
    set_aside: int
    unlabelled_volumes: int

    @property
    def unlabelled(self) -> int:
        """Slices without a label: in no label file, so neither trained on nor tested on."""
        return self.slices - self.labelled

    @property
    def share(self) -> float:
        """Labelled share of the slices, 0 when there are none."""
        return self.labelled / self.slices if self.slices else 0.0

    @property
    def sentence(self) -> str:
        """The counts in words."""
        parts = [f"{self.labelled:,} of {self.slices:,} slices are labelled"]
        if self.unlabelled:
            parts.append(
                f"{self.unlabelled:,} without a label (in {self.unlabelled_volumes:,} series) are left out of every cohort"
            )
        if self.set_aside:
            parts.append(f"label rows for files that ingest set aside, not used: {self.set_aside:,}")
        return "; ".join(parts)


def read_labels(path: Path, labels: Labels) -> pd.DataFrame:
    """Read a label table of the pipeline.

    Args:
        path: CSV with the columns ``SOPInstanceUID`` and ``labels.columns``, in any order; UTF-8, comma-separated.
        labels: the label names and the rule of "any".

    Returns:
        ``SOPInstanceUID`` (str) and the label columns (int8, 0 or 1) in the order of ``labels.columns``; rows as in the file.
        Zero rows when there is only a header.

    Raises:
        InputError: a missing or unreadable file, missing, unknown or repeated columns, a row of another length, an empty
            or repeated SOPInstanceUID, a value other than 0 or 1, "any" that differs from the subtypes.
    """
    return _read(Path(path), labels, as_brought=False)


def read_source_labels(path: Path, labels: Labels) -> pd.DataFrame:
    """Read a label table that a user brings; like :func:`read_labels`, but upper and lower case of the column names do not
    matter, blanks around a cell are dropped, and a missing "any" column is computed from the subtypes.
    """
    return _read(Path(path), labels, as_brought=True)


def write_labels(path: Path, table: pd.DataFrame, labels: Labels) -> None:
    """Write a label table atomically: ``SOPInstanceUID``, then ``labels.columns``; rows in the table's order."""
    text = io.StringIO()
    table.loc[:, [UID, *labels.columns]].to_csv(text, index=False, lineterminator="\n")
    write_text(path, text.getvalue())


def check_against(
    table: pd.DataFrame, slices: pd.DataFrame, set_aside: Iterable[str] = (), source: Path | str = "data/labels.csv"
) -> Coverage:
    """Compare a label table with the slices of the chosen series.

    Args:
        table: what :func:`read_labels` returned.
        slices: the slice table of ingest; needs ``SOPInstanceUID`` and ``volume``.
        set_aside: SOPInstanceUIDs of the other files of the input (another series, a broken file), from the account of
            ingest: a label for one of these is unused, not wrong.
        source: how a sentence names the table.

    Raises:
        InputError: the table labels a slice that is nowhere in the input.
    """
    known = set(slices[UID])
    labelled = table[UID].isin(known)
    others = table.loc[~labelled, UID]
    unknown = sorted(set(others) - set(set_aside))
    if unknown:
        raise InputError(unknown_slices(source, unknown, "the DICOM files under data/dicom"))
    has_label = slices[UID].isin(set(table[UID]))
    return Coverage(
        slices=len(slices),
        labelled=int(has_label.sum()),
        set_aside=len(others),
        unlabelled_volumes=int(slices.loc[~has_label, "volume"].nunique()),
    )


def unknown_slices(source: Path | str, unknown: Sequence[str], place: str) -> str:
    """The sentence for labels whose slices are not in ``place``: the first SOPInstanceUIDs, the count, what to do."""
    count = len(unknown)
    what, are = ("slice", "is") if count == 1 else ("slices", "are")
    named = ", ".join(unknown[:SHOWN]) + (", …" if count > SHOWN else "")
    return (
        f"{source} names {count:,} {what} that {are} not in {place} (SOPInstanceUID {named}): "
        "remove these rows or add their files."
    )


def _read(path: Path, labels: Labels, *, as_brought: bool) -> pd.DataFrame:
    rows = _rows(path)
    header = rows[0][1] if rows else []
    if as_brought:
        rows = [(line, [cell.strip() for cell in row]) for line, row in rows]
        header = _canonical(rows[0][1] if rows else [], labels)
    _check_header(path, header, labels, any_needed=not as_brought)
    body = rows[1:]
    for line, row in body:
        if len(row) != len(header):
            raise InputError(
                f"{path}, line {line} has {len(row)} values where the header has {len(header)} columns: mend that line."
            )
    cells = {name: [row[i] for _, row in body] for i, name in enumerate(header)}
    lines = [line for line, _ in body]
    _check_uids(path, cells[UID], lines)
    values = {name: _binary(path, name, cells, lines) for name in labels.columns if name in cells}
    expected = labels.any_of(np.stack([values[name] for name in labels.subtypes], axis=1))
    given = values.setdefault(labels.any, expected)
    for i in np.flatnonzero(given != expected)[:1]:
        rule = f"{'at least one subtype is 1' if expected[i] else 'no subtype is 1'}"
        raise InputError(
            f"{path}, line {lines[i]} (SOPInstanceUID {cells[UID][i]}): {labels.any} is {given[i]}, but {rule}; "
            f"{labels.any} must be 1 exactly when a subtype is: mend that row."
        )
    columns = {name: values[name] for name in labels.columns}
    return pd.DataFrame({UID: pd.Series(cells[UID], dtype="str"), **columns})


def _rows(path: Path) -> list[tuple[int, list[str]]]:
    """Line number (of the row's last line) and cells of every row that is not blank."""
    try:
        text = path.read_text(encoding="utf-8-sig")  # spreadsheets like to write a byte order mark
    except FileNotFoundError:
        raise InputError(
            f"{path} is missing: put the label table there (SOPInstanceUID and a 0/1 column a label)."
        ) from None
    except IsADirectoryError:
        raise InputError(f"{path} is a folder: name the CSV file of the label table.") from None
    except UnicodeDecodeError:
        raise InputError(f"{path} is not UTF-8 text: save the label table as CSV (UTF-8).") from None
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    try:
        return [(reader.line_num, row) for row in reader if row]
    except csv.Error as error:
        raise InputError(f"{path}, line {reader.line_num} is not CSV ({error}): mend that line.") from None


def _canonical(header: list[str], labels: Labels) -> list[str]:
    """The header with the names of params where they differ in upper and lower case only."""
    names = {name.lower(): name for name in (UID, *labels.columns)}
    return [names.get(name.lower(), name) for name in header]


def _check_header(path: Path, header: list[str], labels: Labels, *, any_needed: bool) -> None:
    wanted = [UID, *labels.columns]
    example = ",".join(wanted)
    if not header:
        raise InputError(f"{path} is empty: its first line must be {example}.")
    if len(header) == 1 and any(mark in header[0] for mark in ";\t"):
        raise InputError(
            f"{path} separates its columns by semicolon or tab: save it with commas, first line {example}."
        )
    repeated = sorted(name for name, count in Counter(header).items() if count > 1)
    if repeated:
        raise InputError(f"{path} has the column {', '.join(repeated)} more than once: keep one.")
    unknown = [name for name in header if name not in wanted]
    if unknown:
        raise InputError(
            f"{path} has unknown columns {', '.join(repr(name) for name in unknown)}: the columns are {example}; "
            "remove the others, or name the labels in params.yaml (labels)."
        )
    needed = wanted if any_needed else [UID, *labels.subtypes]
    missing = [name for name in needed if name not in header]
    if missing:
        raise InputError(f"{path} lacks the columns {', '.join(missing)}: its first line must be {example}.")


def _check_uids(path: Path, uids: list[str], lines: list[int]) -> None:
    first_line: dict[str, int] = {}
    for uid, line in zip(uids, lines, strict=True):
        if not uid or uid != uid.strip():
            raise InputError(
                f"{path}, line {line}: SOPInstanceUID {uid!r} is empty or has blanks around it: mend that row."
            )
        if uid in first_line:
            raise InputError(
                f"{path}, line {line}: SOPInstanceUID {uid} is labelled twice, first in line {first_line[uid]}: keep one row."
            )
        first_line[uid] = line


def _binary(path: Path, name: str, cells: dict[str, list[str]], lines: list[int]) -> np.ndarray:
    values = np.array(cells[name], dtype=object)
    wrong = np.flatnonzero((values != "0") & (values != "1"))
    for i in wrong[:1]:
        more = f" ({len(wrong) - 1} more in this column)" if len(wrong) > 1 else ""
        raise InputError(
            f"{path}, line {lines[i]} (SOPInstanceUID {cells[UID][i]}): {name} is {values[i]!r}, but must be 0 or 1: "
            f"mend that value{more}."
        )
    return (values == "1").astype(np.int8)
