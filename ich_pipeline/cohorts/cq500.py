"""Labels of CQ500 (Chilamkurthy et al. 2018, doi 10.1016/S0140-6736(18)31645-3): ``reads.csv``, a row a scan, three readers.

The truth of a scan is, for each finding by itself, what at least two of the three readers say, as the publication has it. So a
scan may have haemorrhage without any subtype (``no_subtype_agreed``), and a reader's slip stays a vote
(``reader_contradiction``). ``name`` is the scan's PatientID (``CQ500-CT-310``).
"""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pandas as pd

from ich_pipeline.cohorts.faults import LabelAccount, LabelFault
from ich_pipeline.cohorts.source_table import (
    LabelRows,
    Row,
    binary,
    keyed_rows,
    label_table,
    need_ich_labels,
    open_table,
)
from ich_pipeline.core.progress import Track, quiet
from ich_pipeline.dicom.header import Header
from ich_pipeline.tables.cohort_mark import CQ500
from ich_pipeline.tables.labels import Labels
from ich_pipeline.tables.reader_tables import majority

NAME = "name"
READERS = ("R1", "R2", "R3")
FINDINGS = {
    "any": "ICH",
    "epidural": "EDH",
    "intraparenchymal": "IPH",
    "intraventricular": "IVH",
    "subarachnoid": "SAH",
    "subdural": "SDH",
}
SCAN = re.compile(r"CQ500-?CT-?([0-9]{1,6})", re.IGNORECASE)  # the folders are called CQ500CT310


def read_cq500(path: Path, labels: Labels, account: LabelAccount, track: Track = quiet) -> LabelRows:
    """Read the three readers' table.

    Args:
        path: CSV with ``name`` and ``R1:ICH`` … ``R3:SAH``; other columns (``R1:MassEffect``, ``Category``) are kept aside.
        labels: the label names of params: any and the five subtypes.
        account: gets the faults and notes.
        track: progress over the rows.

    Returns:
        case labels by majority; ``votes`` hold every finding that all three readers were asked for, the labels under their
        names of params, the others under the table's.

    Raises:
        InputError: the file is no such table, or params name other labels.
    """
    need_ich_labels(CQ500, labels)
    needed = [f"{reader}:{FINDINGS[label]}" for reader in READERS for label in labels.columns]
    header, rows = open_table(path, (NAME, *needed), others=True)
    others = _other_findings(header, needed)
    keys, lines, votes, aside = [], [], [], []
    for row in keyed_rows(header, track(rows, "reading labels"), _row_key, account):
        found = binary(row, needed, account)
        if found is None:
            continue
        keys.append(row.key)
        lines.append(row.line)
        votes.append(found)
        aside.append([row.cells[name] for name in header if name != NAME])
        _note_reader_contradictions(row, found, labels, account)
    cube = np.asarray(votes, dtype=np.int8).reshape(len(keys), len(READERS), len(labels))
    table = label_table(keys, lines, majority(cube), labels, "case", account)
    index = pd.Index(keys, dtype="str")
    kept_aside = pd.DataFrame(aside, index=index, columns=[name for name in header if name != NAME], dtype="str")
    by_reader = {
        reader: pd.DataFrame(cube[:, i], index=index, columns=list(labels.columns)) for i, reader in enumerate(READERS)
    }
    for finding in others:
        columns = kept_aside[[f"{reader}:{finding}" for reader in READERS]]
        if columns.isin(["0", "1"]).to_numpy().all():  # kappa needs three votes on every scan
            for reader in READERS:
                by_reader[reader][finding] = columns[f"{reader}:{finding}"].astype(np.int8)
    return LabelRows("case", table, _image_key, kept_aside, by_reader)


def _other_findings(header: list[str], needed: list[str]) -> list[str]:
    """Findings beside the labels that all readers have a column for."""
    first = [name.partition(":")[2] for name in header if name.startswith(f"{READERS[0]}:") and name not in needed]
    return [finding for finding in first if all(f"{reader}:{finding}" in header for reader in READERS)]


def _note_reader_contradictions(row: Row, found: list[int], labels: Labels, account: LabelAccount) -> None:
    width = len(labels)
    slips = [
        reader
        for i, reader in enumerate(READERS)
        if not found[i * width] and any(found[i * width + 1 : (i + 1) * width])
    ]
    if slips:
        detail = f"{', '.join(slips)} marked a subtype but no haemorrhage"
        account.add(LabelFault.READER_CONTRADICTION, row.key, row.line, detail)


def _row_key(cells: dict[str, str]) -> str | None:
    return _key(cells[NAME])


def _image_key(header: Header) -> str | None:
    return _key(header.patient_id)


def _key(name: str) -> str | None:
    found = SCAN.fullmatch(name.strip())
    return f"CQ500-CT-{int(found[1])}" if found else None
