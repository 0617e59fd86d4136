"""Slices and labels of one cohort, as the window and split stages left them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ich_pipeline.core.errors import InputError
from ich_pipeline.tables.labels import Labels
from ich_pipeline.tables.slice_index import INDEX_FILE, join_labels, neighbours_among, read_index


class SliceRows:
    """Chosen rows of a slice array, read when asked for: ``SliceRows(hu, rows)[i]`` is ``hu[rows[i]]``."""

    def __init__(self, hu: NDArray[Any], rows: NDArray[np.integer]) -> None:
        self._hu = hu
        self._rows = np.asarray(rows)
        self.shape = (len(self._rows), *hu.shape[1:])

    def __len__(self) -> int:
        return len(self._rows)

    def of(self, rows: NDArray[np.integer]) -> SliceRows:
        """Other rows of the same array."""
        return SliceRows(self._hu, rows)

    def __getitem__(self, key: Any) -> NDArray[Any]:
        return np.asarray(self._hu[self._rows[key]])


@dataclass(frozen=True)
class CohortSlices:
    """One cohort: its rows of the index, its slices and its truth, all in the same order."""

    table: pd.DataFrame  # SOPInstanceUID, case_id, patient_key, ...; n rows
    hu: SliceRows  # (n, s, s) int16 HU
    neighbours: NDArray[np.int64]  # (n, 2) indices into these n, -1 for none
    truth: NDArray[np.int8]  # (n, labels)

    def __len__(self) -> int:
        return len(self.table)


def hu_file(image_size: int) -> str:
    """Name of the window stage's array for an image size."""
    return f"hu_{image_size}.npy"


def open_slices(window: Path, image_size: int) -> tuple[pd.DataFrame, NDArray[np.int16]]:
    """The window stage's index and its memory-mapped array (N, image_size, image_size), HU.

    Raises:
        InputError: a file is missing, or the two do not belong together.
    """
    index = read_index(window)
    path = window / hu_file(image_size)
    if not path.is_file():
        raise InputError(f"{path} is missing: run the window stage (`dvc repro window`) with this image_size.")
    hu = np.load(path, mmap_mode="r")
    if hu.shape != (len(index), image_size, image_size):
        raise InputError(
            f"{path} has shape {hu.shape}, but {window / INDEX_FILE} lists {len(index)} slices: run `dvc repro -f window`."
        )
    return index, hu


def load_cohort(window: Path, image_size: int, cohort: str, labels_csv: Path, labels: Labels) -> CohortSlices:
    """The slices of a cohort that carry labels, in the index's order.

    Args:
        window: folder of the window stage.
        image_size: rows and columns in pixels.
        cohort: its name in the index.
        labels_csv: the label table of this cohort alone.
        labels: names and order of the columns.

    Raises:
        InputError: a file is missing or broken, or the label table names a slice that is not of this cohort.
    """
    if not labels_csv.is_file():
        raise InputError(f"{labels_csv} is missing: run the split stage (`dvc repro split`).")
    index, hu = open_slices(window, image_size)
    table = index.loc[index["cohort"] == cohort]
    labelled, truth = join_labels(table, [labels_csv], labels, f"cohort {cohort!r}")
    if not labelled.any():
        raise InputError(f"{labels_csv} labels no slice of cohort {cohort!r}: more patients are needed in it.")
    table = table.loc[labelled].reset_index(drop=True)
    return CohortSlices(table, SliceRows(hu, table["row"].to_numpy()), neighbours_among(table), truth)


def joined(first: CohortSlices, second: CohortSlices) -> CohortSlices:
    """Two cohorts of one window stage as one, in the index's order; patients of both have no slice in common."""
    table = pd.concat([first.table, second.table], ignore_index=True)
    order = np.argsort(table["row"].to_numpy(), kind="stable")
    truth = np.concatenate([first.truth, second.truth])[order]
    table = table.iloc[order].reset_index(drop=True)
    return CohortSlices(table, first.hu.of(table["row"].to_numpy()), neighbours_among(table), truth)
