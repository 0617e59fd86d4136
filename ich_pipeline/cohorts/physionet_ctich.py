"""Labels of PhysioNet CT-ICH v1 (Hssayeni et al. 2020, doi 10.3390/data5010014): ``hemorrhage_diagnosis.csv``, a row a slice.

PatientNumber is the number at the end of PatientID, SliceNumber is InstanceNumber. The table names some slices whose image
the data set lacks. ``No_Hemorrhage`` is the opposite of "any"; ``Fracture_Yes_No`` is kept aside.
"""

from __future__ import annotations

import re
from pathlib import Path

import pandas as pd

from ich_pipeline.cohorts.faults import LabelAccount
from ich_pipeline.cohorts.source_table import (
    LabelRows,
    binary,
    keyed_rows,
    label_table,
    need_ich_labels,
    open_table,
)
from ich_pipeline.core.progress import Track, quiet
from ich_pipeline.dicom.header import Header
from ich_pipeline.tables.labels import Labels

KIND = "physionet-ctich"
PATIENT, SLICE, NEGATIVE = "PatientNumber", "SliceNumber", "No_Hemorrhage"
TRAILING_NUMBER = re.compile(r"([0-9]{1,9})$")


def read_physionet_ctich(path: Path, labels: Labels, account: LabelAccount, track: Track = quiet) -> LabelRows:
    """Read the slice table.

    Args:
        path: CSV with PatientNumber, SliceNumber, one column a subtype and No_Hemorrhage; others are kept aside.
        labels: the label names of params: the data set's six.
        account: gets the faults.
        track: progress over the rows.

    Raises:
        InputError: the file is no such table, or params name other labels.
    """
    need_ich_labels(KIND, labels)
    subtypes = [name.capitalize() for name in labels.subtypes]
    needed = (PATIENT, SLICE, *subtypes, NEGATIVE)
    header, rows = open_table(path, needed, others=True)
    keys, lines, values, aside = [], [], [], []
    others = [name for name in header if name not in needed]
    for row in keyed_rows(header, track(rows, "reading labels"), _row_key, account):
        found = binary(row, [NEGATIVE, *subtypes], account)
        if found is not None:
            keys.append(row.key)
            lines.append(row.line)
            values.append([1 - found[0], *found[1:]])
            aside.append([row.cells[name] for name in others])
    table = label_table(keys, lines, values, labels, "slice", account)
    kept_aside = pd.DataFrame(aside, index=pd.Index(keys, dtype="str"), columns=others, dtype="str") if others else None
    return LabelRows("slice", table, _image_key, kept_aside, patient_of=_patient_of)


def _row_key(cells: dict[str, str]) -> str | None:
    patient, number = cells[PATIENT], cells[SLICE]
    if not all(text.isascii() and text.isdecimal() and len(text) < 10 for text in (patient, number)):
        return None
    return _key(int(patient), int(number))


def _image_key(header: Header) -> str | None:
    found = TRAILING_NUMBER.search(header.patient_id)
    if found is None or header.instance_number is None:
        return None
    return _key(int(found[1]), header.instance_number)


def _key(patient: int, number: int) -> str:
    return f"patient {patient} slice {number}"


def slice_of(key: str) -> tuple[int, int]:
    """PatientNumber and SliceNumber of a key of this table."""
    _, patient, _, number = key.split(" ")
    return int(patient), int(number)


def _patient_of(key: str) -> str:
    return key.rpartition(" slice ")[0]
