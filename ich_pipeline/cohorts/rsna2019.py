"""Labels of the RSNA 2019 Brain CT Hemorrhage Challenge (Flanders et al. 2020, doi 10.1148/ryai.2020190211).

``stage_2_train.csv`` is long: ``ID,Label`` with six rows a slice, ID being ``ID_<hexadecimal>_<label>``. The images' files are
named ``ID_<hexadecimal>.dcm`` and carry that name as SOPInstanceUID.
"""

from __future__ import annotations

import re
from array import array
from pathlib import Path

import numpy as np

from ich_pipeline.cohorts.faults import LabelAccount, LabelFault
from ich_pipeline.cohorts.source_table import LabelRows, label_table, need_ich_labels, open_table
from ich_pipeline.core.progress import Track, quiet
from ich_pipeline.dicom.header import Header
from ich_pipeline.tables.labels import Labels

KIND = "rsna2019"
NAME = re.compile(r"(ID_[0-9A-Za-z]+)_([A-Za-z]+)")
UNSET = 255


def read_rsna2019(path: Path, labels: Labels, account: LabelAccount, track: Track = quiet) -> LabelRows:
    """Read the long table; memory holds one byte a label beside the names (the full table has 4.5 million rows).

    Args:
        path: CSV ``ID,Label``.
        labels: the label names of params: the challenge's six.
        account: gets the faults.
        track: progress over the rows.

    Raises:
        InputError: the file is no such table, or params name other labels.
    """
    need_ich_labels(KIND, labels)
    header, rows = open_table(path, ("ID", "Label"))
    id_at, value_at = header.index("ID"), header.index("Label")
    position = {name: i for i, name in enumerate(labels.columns)}
    width = len(labels)
    slices: dict[str, int] = {}
    values, lines = bytearray(), array("q")
    for line, cells in track(rows, "reading labels"):
        if len(cells) != 2:
            account.add(LabelFault.ROW_LENGTH, "", line, f"{len(cells)} values, 2 columns")
            continue
        found = NAME.fullmatch(cells[id_at])
        if found is None:
            account.add(LabelFault.NO_IDENTIFIER, "", line, cells[id_at][:80])
            continue
        name, label = found.groups()
        if label not in position:
            account.add(LabelFault.UNKNOWN_LABEL, name, line, label)
            continue
        row = slices.setdefault(name, len(slices))
        if row == len(lines):
            values.extend([UNSET] * width)
            lines.append(line)
        value = cells[value_at]
        if value not in ("0", "1"):
            account.leave_out(LabelFault.BAD_VALUE, name, line, f"{label} is {value!r}")
            continue
        place = row * width + position[label]
        if values[place] == UNSET:
            values[place] = int(value)
        elif values[place] == int(value):
            account.add(LabelFault.DUPLICATE_EQUAL, name, line, label)
        else:
            account.leave_out(
                LabelFault.DUPLICATE_CONTRADICTING, name, line, f"{label} is {value}, before {values[place]}"
            )
    table = np.frombuffer(bytes(values), np.uint8).reshape(-1, width)
    keep = []
    for name, row in slices.items():
        if name in account.left_out:
            continue
        missing = [label for label, value in zip(labels.columns, table[row].tolist(), strict=True) if value == UNSET]
        if missing:
            account.leave_out(LabelFault.INCOMPLETE, name, lines[row], f"no row for {', '.join(missing)}")
        else:
            keep.append((name, row))
    kept = [row for _, row in keep]
    names, first = [name for name, _ in keep], [lines[row] for row in kept]
    return LabelRows("slice", label_table(names, first, table[kept], labels, "slice", account), _slice_key)


def _slice_key(header: Header) -> str | None:
    return header.sop_instance_uid or None
