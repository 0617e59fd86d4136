"""The label table of ``ich deidentify``: read as ``ich cohort`` reads one, for the files that were de-identified."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pandas as pd

from ich_pipeline.cohorts.faults import LabelAccount, LabelFault
from ich_pipeline.cohorts.source_table import KEY, Level, Row, binary, keyed_rows, label_table, open_table
from ich_pipeline.core.errors import InputError
from ich_pipeline.core.files import write_text
from ich_pipeline.deidentify import scan
from ich_pipeline.deidentify.file import Cleaned
from ich_pipeline.deidentify.folder import Result
from ich_pipeline.deidentify.key import Key
from ich_pipeline.deidentify.labels import (
    PATIENT_COLUMN,
    SLICE_COLUMN,
    UID_COLUMNS,
    new_name,
    pseudonymise_labels,
)
from ich_pipeline.deidentify.reasons import Outcome
from ich_pipeline.dicom.frames import frame_name
from ich_pipeline.tables.labels import Labels
from ich_pipeline.tables.sheets import table_rows

_PLACE = {PATIENT_COLUMN: 0, "StudyInstanceUID": 1, "SeriesInstanceUID": 2, SLICE_COLUMN: 3}  # in Cleaned.old
# Any other file may hold an image.
_NO_IMAGE = (Outcome.NOT_DICOM, Outcome.EMPTY_FILE, Outcome.ARCHIVE, Outcome.MEDIA_DIRECTORY)
_NO_CELL = frozenset({LabelFault.ROW_LENGTH, LabelFault.DUPLICATE_EQUAL, LabelFault.ANY_CONTRADICTION})


@dataclass(frozen=True)
class ExportLabels:
    """A label table with the identifiers of an export, without the rows that are at fault.

    Attributes:
        identifiers: its columns of UIDs and PatientIDs; the first of :data:`UID_COLUMNS` that it has names a row.
        labels: its label columns.
        columns: both, in the table's order; what other columns hold was not read.
        rows: 0 and 1 in every label column.
    """

    path: Path
    identifiers: tuple[str, ...]
    labels: tuple[str, ...]
    columns: tuple[str, ...]
    rows: tuple[Row, ...]


def read_export_labels(path: Path, labels: Labels, account: LabelAccount) -> ExportLabels:
    """Read a table with any of the UIDs and any of the labels.

    Args:
        path: CSV; other columns are passed over, for they may hold names.
        labels: label names.
        account: gets the faults.

    Raises:
        InputError: the file is no such table.
    """
    given = {name.lower() for name in next(table_rows(path), (0, []))[1]}
    name = next((uid for uid in UID_COLUMNS if uid.lower() in given), SLICE_COLUMN)
    known = (*_PLACE, *labels.columns)
    example = ",".join((SLICE_COLUMN, *labels.columns))
    header, rows = open_table(path, (name,), [one for one in known if one != name], others=True, example=example)
    columns = tuple(one for one in header if one in known)
    found = tuple(label for label in labels.columns if label in header)
    if not found:
        raise InputError(f"{path} has none of the label columns {', '.join(labels.columns)}: check its header.")
    kept, values = [], []
    for row in keyed_rows(header, rows, lambda cells: cells[name] or None, account):
        numbers = binary(row, found, account)
        if numbers is not None:
            kept.append(row)
            values.append(numbers)
    if found == labels.columns:  # else the rule of "any" cannot be asked
        level: Level = "slice" if name == SLICE_COLUMN else "case"
        table = label_table([row.key for row in kept], [row.line for row in kept], values, labels, level, account)
        # Whoever reads the written table notes it there.
        account.findings = [one for one in account.findings if one.code is not LabelFault.NO_SUBTYPE_AGREED]
        true = set(table[KEY])
        kept = [row for row in kept if row.key in true]
    if not kept and not account.findings:
        raise InputError(f"{path} holds no row below its header: name the table that labels the export.")
    identifiers = tuple(one for one in columns if one not in found)
    return ExportLabels(path, identifiers, found, columns, tuple(kept))


def of_copies(labels: ExportLabels, result: Result, account: LabelAccount) -> ExportLabels:
    """Without the rows whose files are not in the export, which is a fault, and those whose files were set aside, a note."""
    cleaned = [row.cleaned for row in result.rows if row.cleaned.old]
    uids = [column for column in labels.identifiers if column != PATIENT_COLUMN]
    export = {column: {uid for one in cleaned for uid in _uids(one, column)} for column in uids}
    copied = {column: {uid for one in cleaned if one.uids for uid in _uids(one, column)} for column in uids}
    # What they label may be in a file whose name nobody could read.
    unnamed = any(not _instance(row.cleaned) and row.cleaned.outcome not in _NO_IMAGE for row in result.rows)
    rows = []
    for row in labels.rows:
        filled = [column for column in uids if row.cells[column]]
        unknown = [column for column in filled if row.cells[column] not in export[column]]
        if unknown and not unnamed:
            detail = "" if row.cells[unknown[0]] == row.key else f"{unknown[0]} {row.cells[unknown[0]]}"
            account.add(LabelFault.UNKNOWN_IMAGE, row.key, row.line, detail)
        elif unknown or any(row.cells[column] not in copied[column] for column in filled):
            account.add(LabelFault.IMAGE_SET_ASIDE, row.key, row.line)
        else:
            rows.append(row)
    return replace(labels, rows=tuple(rows))


def _instance(one: Cleaned) -> str:
    return one.old[3] if one.old else ""


def _uids(one: Cleaned, column: str) -> Iterator[str]:
    """What the table may call this file; of an enhanced object each frame."""
    assert one.old
    uid = one.old[_PLACE[column]]
    if uid and not (one.frames and column == SLICE_COLUMN):
        yield uid
    elif uid:
        yield from (frame_name(uid, n) for n in range(1, one.frames + 1))


def write_new_labels(path: Path, labels: ExportLabels, result: Result) -> None:
    """Write the table with the UIDs and PatientIDs of the copies, after the second pass found no other in it."""
    cells = [[row.cells[column] for column in labels.columns] for row in labels.rows]
    table = pd.DataFrame(cells, columns=list(labels.columns), dtype="str")
    text = pseudonymise_labels(table, result.key, labels.labels).to_csv(index=False, lineterminator="\n")
    originals = {name for row in result.rows for name in row.cleaned.old or () if name}
    originals |= {row.cells[column] for row in labels.rows for column in labels.identifiers}
    left = scan.table_findings(text, labels.identifiers, originals)
    if left:
        raise InputError(f"{labels.path} would not be de-identified ({'; '.join(left)}): nothing is written.")
    write_text(path, text)


def pseudonymise_account(account: LabelAccount, key: Key) -> None:
    """Replace the identifiers in an account that is given away, and leave out details that show a cell of the table."""
    account.findings = [
        replace(one, identifier=new_name(one.identifier, key), detail=one.detail if one.code in _NO_CELL else "")
        for one in account.findings
    ]
    account.left_out = {new_name(name, key) for name in account.left_out}
