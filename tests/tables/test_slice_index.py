"""The slice index: rows, neighbours of any part of it, labels joined to it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from ich_pipeline.core.errors import InputError
from ich_pipeline.tables.label_tables import UID, write_labels
from ich_pipeline.tables.labels import Labels
from ich_pipeline.tables.slice_index import COLUMNS, join_labels, make_index, neighbours_among

LABELS = Labels("any", ("a", "b"))


@pytest.fixture
def index() -> pd.DataFrame:
    """The index of two volumes of six slices; in the second lies a gap, and its first slice is in no cohort."""
    of = {"position_mm": 5.0, "case_id": "C", "patient_key": "P", "cohort": "train"}
    slices = [
        {"volume": volume, "index": k, UID: f"{volume}.{k}", **of, "neighbour_before": k - 1, "neighbour_after": k + 1}
        for volume in ("1", "2")
        for k in range(6)
    ]
    table = pd.DataFrame(slices)
    table.loc[table["index"] == 5, "neighbour_after"] = -1
    gap = table["volume"] == "2"
    table.loc[gap & (table["index"] == 2), "neighbour_after"] = table.loc[
        gap & (table["index"] == 3), "neighbour_before"
    ] = -1
    return make_index(table.drop(index=6).reset_index(drop=True))


def test_the_index_of_slices_in_cohorts(index: pd.DataFrame) -> None:
    assert list(index.columns) == ["row", *COLUMNS] and list(index["row"]) == list(range(11))
    assert list(index["before"]) == [-1, 0, 1, 2, 3, 4, -1, 6, -1, 8, 9]
    assert list(index["after"]) == [1, 2, 3, 4, 5, -1, 7, -1, 9, 10, -1]


def test_neighbours_of_any_part_in_any_order(index: pd.DataFrame) -> None:
    rng = np.random.default_rng(5)
    for count in (1, 4, 8, len(index)):
        part = index.sample(count, random_state=int(rng.integers(1 << 30)))
        rows = list(part["row"])
        wanted = [
            [rows.index(row) if row in rows else -1 for row in pair]
            for pair in zip(part["before"], part["after"], strict=True)
        ]
        np.testing.assert_array_equal(neighbours_among(part), wanted)


def test_labels_are_joined_by_their_slices(index: pd.DataFrame, tmp_path: Path) -> None:
    one, other = tmp_path / "one.csv", tmp_path / "other.csv"
    of = {"any": [1, 0], "a": [0, 0], "b": [1, 0]}
    write_labels(one, pd.DataFrame({UID: ["2.4", "1.1"], **of}), LABELS)
    write_labels(other, pd.DataFrame({UID: ["1.0", "2.4"], **of}), LABELS)
    labelled, truth = join_labels(index, [one], LABELS, "the window index")
    assert list(index.loc[labelled, UID]) == ["1.1", "2.4"]
    np.testing.assert_array_equal(truth, [[0, 0, 0], [1, 0, 1]])
    with pytest.raises(InputError, match=r"other.csv both label SOPInstanceUID 2.4"):
        join_labels(index, [one, other], LABELS, "the window index")
    with pytest.raises(InputError, match=r"one.csv names SOPInstanceUID 2.4, which is no slice of cohort 'train'"):
        join_labels(index.iloc[:6], [one], LABELS, "cohort 'train'")
