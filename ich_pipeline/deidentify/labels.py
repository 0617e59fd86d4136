"""A label table with the UIDs of the export, mapped to those of the de-identified files by the same key."""

from __future__ import annotations

from collections.abc import Collection

import pandas as pd

from ich_pipeline.deidentify.key import Key
from ich_pipeline.dicom.frames import frame_name, split_frame

SLICE_COLUMN = "SOPInstanceUID"
UID_COLUMNS = (SLICE_COLUMN, "SeriesInstanceUID", "StudyInstanceUID")
PATIENT_COLUMN = "PatientID"


def pseudonymise_labels(labels: pd.DataFrame, key: Key, keep: Collection[str]) -> pd.DataFrame:
    """The table with its UID and PatientID columns replaced, and no other columns than those in ``keep``.

    Args:
        labels: one row a slice or a study; identifier columns as text.
        key: of the de-identification.
        keep: the label columns (others may hold names, numbers and free text).
    """
    out = labels[[c for c in labels.columns if c in (*UID_COLUMNS, PATIENT_COLUMN, *keep)]].copy()
    for column in out.columns:
        if column in UID_COLUMNS:
            out[column] = [new_name(str(v), key) for v in out[column]]
        elif column == PATIENT_COLUMN:
            out[column] = [key.patient_id(str(v)) for v in out[column]]
    return out


def new_name(uid: str, key: Key) -> str:
    """What the de-identified object of this UID is called. A frame keeps its number; empty stays empty."""
    uid, frame = split_frame(uid.strip())
    new = key.uid(uid) if uid else ""
    return new if frame is None else frame_name(new, frame)
