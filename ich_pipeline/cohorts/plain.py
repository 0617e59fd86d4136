"""The plain label table: SOPInstanceUID (a row a slice) or StudyInstanceUID (a row a case) and a 0/1 column a label."""

from __future__ import annotations

from pathlib import Path

from ich_pipeline.cohorts.faults import LabelAccount
from ich_pipeline.cohorts.source_table import LabelRows, Level, binary, keyed_rows, label_table, open_table
from ich_pipeline.core.progress import Track, quiet
from ich_pipeline.dicom.header import Header
from ich_pipeline.tables.label_tables import STUDY, UID
from ich_pipeline.tables.labels import Labels
from ich_pipeline.tables.sheets import table_rows


def read_plain(path: Path, labels: Labels, account: LabelAccount, track: Track = quiet) -> LabelRows:
    """Read a table of one's own; "any" may be left out, it follows from the subtypes.

    Args:
        path: CSV with SOPInstanceUID or StudyInstanceUID and the label columns of params, in any order.
        labels: label names.
        account: gets the faults and notes.
        track: progress over the rows.

    Raises:
        InputError: the file is no such table.
    """
    level = _level(path)
    name = UID if level == "slice" else STUDY
    header, rows = open_table(path, (name, *labels.subtypes), (labels.any,))
    columns = [column for column in labels.columns if column in header]
    keys, lines, values = [], [], []
    for row in keyed_rows(header, track(rows, "reading labels"), lambda cells: cells[name] or None, account):
        found = binary(row, columns, account)
        if found is not None:
            keys.append(row.key)
            lines.append(row.line)
            values.append(found if labels.any in header else [int(any(found)), *found])
    key_of = _slice_key if level == "slice" else _study_key
    return LabelRows(level, label_table(keys, lines, values, labels, level, account), key_of)


def _level(path: Path) -> Level:
    header = {name.lower() for name in next(table_rows(path), (0, []))[1]}
    return "case" if STUDY.lower() in header and UID.lower() not in header else "slice"


def _slice_key(header: Header) -> str | None:
    return header.sop_instance_uid or None


def _study_key(header: Header) -> str | None:
    return header.study_uid or None
