from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from ich_pipeline.core.errors import InputError
from ich_pipeline.core.files import write_table
from ich_pipeline.tables.label_tables import write_labels
from ich_pipeline.tables.labels import Labels
from ich_pipeline.tables.schemas import WINDOW_INDEX
from ich_pipeline.training.data import load_cohort

LABELS = Labels("any", ("a", "b"))


@pytest.fixture
def window(tmp_path: Path) -> Path:
    """Two cases of three slices, of train and validation; the arrays' values are the rows."""
    index = pd.DataFrame(
        {
            "row": range(6),
            "SOPInstanceUID": [f"1.{k}" for k in range(6)],
            "case_id": ["C1"] * 3 + ["C2"] * 3,
            "patient_key": ["P1"] * 3 + ["P2"] * 3,
            "cohort": ["validation"] * 3 + ["train"] * 3,
            "before": [-1, 0, 1, -1, 3, -1],
            "after": [1, 2, -1, 4, -1, -1],
            "position_mm": [0.0, 5.0, 10.0, 0.0, 5.0, 20.0],
        }
    )
    write_table(tmp_path / "index.parquet", index, WINDOW_INDEX)
    np.save(tmp_path / "hu_4.npy", np.repeat(np.arange(6, dtype=np.int16), 16).reshape(6, 4, 4))
    return tmp_path


def labels_file(window: Path, uids: list[str]) -> Path:
    table = pd.DataFrame({"SOPInstanceUID": uids, "any": 0, "a": 0, "b": 0})
    table.loc[table["SOPInstanceUID"] == "1.4", ["any", "b"]] = 1
    path = window / "labels.csv"
    write_labels(path, table, LABELS)
    return path


def test_slices_truth_and_neighbours_belong_together(window: Path) -> None:
    cohort = load_cohort(window, 4, "train", labels_file(window, ["1.5", "1.4", "1.3"]), LABELS)
    assert list(cohort.table["SOPInstanceUID"]) == ["1.3", "1.4", "1.5"]
    np.testing.assert_array_equal(cohort.truth, [[0, 0, 0], [1, 0, 1], [0, 0, 0]])
    np.testing.assert_array_equal(cohort.hu[:][:, 0, 0], [3, 4, 5])
    np.testing.assert_array_equal(cohort.hu[np.array([2, 0])][:, 0, 0], [5, 3])
    np.testing.assert_array_equal(cohort.neighbours, [[-1, 1], [0, -1], [-1, -1]])


def test_what_is_missing_or_foreign_is_named(window: Path) -> None:
    with pytest.raises(InputError, match=r"nowhere.csv is missing"):
        load_cohort(window, 4, "train", window / "nowhere.csv", LABELS)
    with pytest.raises(InputError, match=r"SOPInstanceUID 1.0, which is no slice of cohort 'train'"):
        load_cohort(window, 4, "train", labels_file(window, ["1.0", "1.3"]), LABELS)
    with pytest.raises(InputError, match=r"hu_8.npy is missing"):
        load_cohort(window, 8, "train", labels_file(window, ["1.3"]), LABELS)
    np.save(window / "hu_4.npy", np.zeros((5, 4, 4), np.int16))
    with pytest.raises(InputError, match=r"lists 6 slices"):
        load_cohort(window, 4, "train", labels_file(window, ["1.3"]), LABELS)
