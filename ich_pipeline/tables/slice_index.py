"""The slice index, one row a slice of a cohort: the row of its picture, its neighbours, and the labels that are joined to it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ich_pipeline.core.errors import InputError
from ich_pipeline.core.files import read_table
from ich_pipeline.tables.label_tables import UID, read_labels
from ich_pipeline.tables.labels import Labels
from ich_pipeline.tables.schemas import WINDOW_INDEX

INDEX_FILE = "index.parquet"  # in the window stage's folder
COLUMNS = (UID, "case_id", "patient_key", "cohort", "before", "after", "position_mm")


def make_index(slices: pd.DataFrame) -> pd.DataFrame:
    """The index of these slices, in their order: ``row``, :data:`COLUMNS`.

    Args:
        slices: rows of the ingest's slice table with their ``cohort``. A neighbour that is not among them counts as none.
    """
    slices = slices.assign(row=np.arange(len(slices)))
    row_of = slices.set_index(["volume", "index"])["row"]
    for side in ("before", "after"):
        wanted = list(zip(slices["volume"], slices[f"neighbour_{side}"], strict=True))
        slices[side] = row_of.reindex(wanted).fillna(-1).to_numpy(np.int64)
    return slices[["row", *COLUMNS]]


def read_index(window: Path) -> pd.DataFrame:
    """The index in the window stage's folder; InputError where it is missing or of another version."""
    return read_table(window / INDEX_FILE, WINDOW_INDEX)


def neighbours_among(table: pd.DataFrame) -> NDArray[np.int64]:
    """Neighbours (n, 2), before and after, of these n rows of the index as positions among them; -1 where there is none."""
    position = pd.Series(np.arange(len(table)), index=table["row"])
    found = [position.reindex(table[side]).fillna(-1).to_numpy(np.int64) for side in ("before", "after")]
    return np.stack(found, axis=1)


def join_labels(
    table: pd.DataFrame, files: Sequence[Path], labels: Labels, what: str
) -> tuple[NDArray[np.bool_], NDArray[np.int8]]:
    """Labels of rows of the index.

    Args:
        table: the rows, n of them.
        files: label tables.
        labels: names and order of their columns.
        what: what the rows are all slices of, for the sentence.

    Returns:
        which rows carry labels (n,), and the labels of these (m, labels), in the rows' order.

    Raises:
        InputError: a file cannot be read, names a slice that is not among the rows, or one that another file names too.
    """
    tables = []
    for file in files:
        read = read_labels(file, labels).set_index(UID)
        strangers = read.index.difference(pd.Index(table[UID]))
        if len(strangers):
            raise InputError(
                f"{file} names SOPInstanceUID {strangers[0]}, which is no slice of {what}: run `dvc repro split window`."
            )
        tables.append(read)
    truth = pd.concat(tables)
    twice = truth.index[truth.index.duplicated()]
    if len(twice):
        raise InputError(
            f"{' and '.join(map(str, files))} both label SOPInstanceUID {twice[0]}: run `dvc repro -f split`."
        )
    labelled = table[UID].isin(truth.index).to_numpy()
    return labelled, truth.loc[table.loc[labelled, UID], list(labels.columns)].to_numpy(np.int8)
