"""The pipeline's own label tables: CSV files with an identifier and a 0 or 1 for every label that params.yaml names.

:func:`read_labels` reads one row a slice (``data/labels.csv``, the cohorts' label files), :func:`read_case_labels` one row a
case (``data/case_labels.csv``). Tables that a user brings are read in :mod:`ich_pipeline.cohorts`.
"""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ich_pipeline.core.errors import InputError
from ich_pipeline.core.files import write_text
from ich_pipeline.tables.formulas import plain, table_text
from ich_pipeline.tables.labels import Labels

if TYPE_CHECKING:
    import pandas as pd

UID = "SOPInstanceUID"
STUDY = "StudyInstanceUID"
SHOWN = 3  # identifiers named in a sentence; the count says the rest


@dataclass(frozen=True)
class Coverage:
    """How a label table and the slices of the chosen series meet; all counts are slices.

    Attributes:
        slices: slices of the chosen series.
        labelled: those of them that the table labels.
        set_aside: rows of the table for files that ingest set aside or rejected; they are not used.
        unlabelled_volumes: chosen series in which at least one slice has no label.
        set_aside_positive: those of ``set_aside`` that say that there is a finding.
    """

    slices: int
    labelled: int
    set_aside: int
    unlabelled_volumes: int
    set_aside_positive: int = 0

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
            positive = f" ({self.set_aside_positive:,} of them with a finding)" if self.set_aside_positive else ""
            parts.append(f"label rows for files that ingest set aside, not used: {self.set_aside:,}{positive}")
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
    return _read(Path(path), labels, UID)


def read_case_labels(path: Path, labels: Labels) -> pd.DataFrame:
    """Read a table with one row a case: like :func:`read_labels`, with ``StudyInstanceUID``, and "any" may be 1 where no
    subtype is: readers may agree on blood and not on its kind.
    """
    return _read(Path(path), labels, STUDY)


def write_labels(path: Path, table: pd.DataFrame, labels: Labels) -> None:
    """Write :func:`labels_text` atomically."""
    write_text(path, labels_text(table, labels))


def labels_text(table: pd.DataFrame, labels: Labels) -> str:
    """A label table as CSV: ``SOPInstanceUID``, then ``labels.columns``; rows in the table's order."""
    return table_text(table.loc[:, [UID, *labels.columns]])


def write_case_labels(path: Path, table: pd.DataFrame, labels: Labels) -> None:
    """Write a table of case labels atomically: ``StudyInstanceUID``, then ``labels.columns``; rows in the table's order."""
    write_text(path, table_text(table.loc[:, [STUDY, *labels.columns]]))


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
        set_aside_positive=int((table.loc[~labelled].drop(columns=UID) == 1).any(axis=1).sum()),
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


def csv_rows(path: Path) -> Iterator[tuple[int, list[str]]]:
    """Line number (of the row's last line) and cells of every row that is not blank, the header first.

    Raises:
        InputError: the file is missing, is a folder, cannot be read, is not UTF-8 (a byte order mark is fine) or not CSV.
    """
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.reader(file, strict=True)
            try:
                for row in reader:
                    if row:
                        yield reader.line_num, [plain(cell) for cell in row]
            except csv.Error as error:
                raise InputError(f"{path}, line {reader.line_num} is not CSV ({error}): mend that line.") from None
    except FileNotFoundError:
        raise InputError(
            f"{path} is missing: put the label table there (an identifier and a 0/1 column a label)."
        ) from None
    except IsADirectoryError:
        raise InputError(f"{path} is a folder: name the CSV file of the label table.") from None
    except UnicodeDecodeError:
        raise InputError(f"{path} is not UTF-8 text: save the table as CSV (UTF-8).") from None
    except OSError as error:
        raise InputError(f"{path} cannot be read ({error.strerror}): mend its permissions.") from None


def _read(path: Path, labels: Labels, identifier: str) -> pd.DataFrame:
    rows = list(csv_rows(path))
    header = rows[0][1] if rows else []
    _check_header(path, header, [identifier, *labels.columns])
    body = rows[1:]
    for line, row in body:
        if len(row) != len(header):
            raise InputError(
                f"{path}, line {line} has {len(row)} values where the header has {len(header)} columns: mend that line."
            )
    cells = {name: [row[i] for _, row in body] for i, name in enumerate(header)}
    lines = [line for line, _ in body]
    names = cells[identifier]
    _check_identifiers(path, identifier, names, lines)
    values = {name: _binary(path, name, cells[name], identifier, names, lines) for name in labels.columns}
    _check_any(path, values, labels, identifier, names, lines)
    import pandas as pd

    return pd.DataFrame({identifier: pd.Series(names, dtype="str"), **values})


def _check_any(
    path: Path, values: dict[str, np.ndarray], labels: Labels, identifier: str, names: list[str], lines: list[int]
) -> None:
    expected = labels.any_of(np.stack([values[name] for name in labels.subtypes], axis=1))
    given = values[labels.any]
    wrong = given != expected if identifier == UID else given < expected
    for i in np.flatnonzero(wrong)[:1]:
        rule = f"{'at least one subtype is 1' if expected[i] else 'no subtype is 1'}"
        when = "exactly when" if identifier == UID else "when"
        raise InputError(
            f"{path}, line {lines[i]} ({identifier} {names[i]}): {labels.any} is {given[i]}, but {rule}; "
            f"{labels.any} must be 1 {when} a subtype is: mend that row."
        )


def _check_header(path: Path, header: list[str], wanted: list[str]) -> None:
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
    missing = [name for name in wanted if name not in header]
    if missing:
        raise InputError(f"{path} lacks the columns {', '.join(missing)}: its first line must be {example}.")


def _check_identifiers(path: Path, identifier: str, names: list[str], lines: list[int]) -> None:
    first_line: dict[str, int] = {}
    for name, line in zip(names, lines, strict=True):
        if not name or name != name.strip():
            raise InputError(
                f"{path}, line {line}: {identifier} {name!r} is empty or has blanks around it: mend that row."
            )
        if name in first_line:
            raise InputError(
                f"{path}, line {line}: {identifier} {name} is labelled twice, first in line {first_line[name]}: keep one row."
            )
        first_line[name] = line


def _binary(
    path: Path, label: str, cells: list[str], identifier: str, names: list[str], lines: list[int]
) -> np.ndarray:
    values = np.array(cells, dtype=object)
    wrong = np.flatnonzero((values != "0") & (values != "1"))
    for i in wrong[:1]:
        more = f" ({len(wrong) - 1} more in this column)" if len(wrong) > 1 else ""
        raise InputError(
            f"{path}, line {lines[i]} ({identifier} {names[i]}): {label} is {values[i]!r}, but must be 0 or 1: "
            f"mend that value{more}."
        )
    return (values == "1").astype(np.int8)
