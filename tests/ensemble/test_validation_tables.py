"""Joining the networks' validation tables with truth and neighbours."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from ich_pipeline.core.errors import InputError
from ich_pipeline.core.files import write_table
from ich_pipeline.ensemble.validation_tables import load_validation
from ich_pipeline.tables.labels import Labels

LABELS = Labels("any", ("epidural",))
DEGREES = (0.0, 0.3)


def predictions(uids, degrees=DEGREES) -> pd.DataFrame:
    parts = []
    for degree in degrees:
        value = np.array([int(u[1:]) for u in uids]) / 100 + degree
        parts.append(
            pd.DataFrame(
                {
                    "SOPInstanceUID": uids,
                    "case_id": "C",
                    "patient_key": "P",
                    "degree": degree,
                    "any": value,
                    "epidural": value / 2,
                }
            )
        )
    # Rows in another order than the index's: the join must not trust it.
    return pd.concat(parts).iloc[::-1]


@pytest.fixture
def folder(tmp_path):
    """Six slices of two cases; s3 has no label; the training case comes first in the index."""
    index = pd.DataFrame(
        {
            "row": range(7),
            "SOPInstanceUID": [f"s{i}" for i in range(7)],
            "case_id": ["C0", "C1", "C1", "C1", "C2", "C2", "C2"],
            "patient_key": ["P0", "P9", "P9", "P9", "P2", "P2", "P2"],
            "cohort": ["train"] + ["validation"] * 6,
            "before": [-1, -1, 1, 2, -1, 4, 5],
            "after": [-1, 2, 3, -1, 5, 6, -1],
        }
    )
    write_table(tmp_path / "index.parquet", index, "window/1")
    (tmp_path / "validation.csv").write_text("SOPInstanceUID,any,epidural\ns2,1,1\ns1,0,0\ns4,0,0\ns5,1,1\ns6,0,0\n")
    for name in ("x", "y"):
        write_table(tmp_path / name / "validation.parquet", predictions(["s1", "s2", "s4", "s5", "s6"]), "validation/1")
    return tmp_path


def load(folder, degrees=DEGREES, labels=None):
    return load_validation(folder, labels or [folder / "validation.csv"], folder, ("x", "y"), degrees, LABELS)


def test_everything_is_in_the_order_of_the_index(folder) -> None:
    found = load(folder)
    assert list(found.table["SOPInstanceUID"]) == ["s1", "s2", "s4", "s5", "s6"]
    np.testing.assert_array_equal(found.predictions.truth[:, 0], [0, 1, 0, 1, 0])
    np.testing.assert_array_equal(found.case_index, [0, 0, 1, 1, 1])
    np.testing.assert_array_equal(found.neighbours, [[-1, 1], [0, -1], [-1, 3], [2, 4], [3, -1]])
    np.testing.assert_allclose(found.predictions.probabilities["x"][1, :, 0], np.array([1, 2, 4, 5, 6]) / 100 + 0.3)
    np.testing.assert_array_equal(found.predictions.patients, [1, 1, 0, 0, 0])


def test_missing_degree_foreign_slices_and_unknown_labels_are_named(folder) -> None:
    with pytest.raises(InputError, match=r"degree 0\.5"):
        load(folder, (0.0, 0.5))
    write_table(folder / "y" / "validation.parquet", predictions(["s1", "s2", "s4", "s5", "s3"]), "validation/1")
    with pytest.raises(InputError, match=r"y/validation\.parquet has other slices"):
        load(folder)
    (folder / "validation.csv").write_text("SOPInstanceUID,any,epidural\ns99,0,0\n")
    with pytest.raises(InputError, match="s99"):
        load(folder)


def test_with_folds_the_labels_of_train_and_validation_are_one_table(folder) -> None:
    (folder / "train.csv").write_text("SOPInstanceUID,any,epidural\ns0,1,1\n")
    for name in ("x", "y"):
        everyone = predictions(["s0", "s1", "s2", "s4", "s5", "s6"])
        write_table(folder / name / "validation.parquet", everyone, "validation/1")
    found = load(folder, labels=[folder / "train.csv", folder / "validation.csv"])
    assert list(found.table["SOPInstanceUID"]) == ["s0", "s1", "s2", "s4", "s5", "s6"]
    np.testing.assert_array_equal(found.predictions.truth[:, 0], [1, 0, 1, 0, 1, 0])
    np.testing.assert_array_equal(found.case_index, [0, 1, 1, 2, 2, 2])
    with pytest.raises(InputError, match="has other slices than the labels"):
        load(folder)
    (folder / "train.csv").write_text("SOPInstanceUID,any,epidural\ns0,1,1\ns4,0,0\n")
    with pytest.raises(InputError, match=r"train\.csv and .*validation\.csv both label SOPInstanceUID s4"):
        load(folder, labels=[folder / "train.csv", folder / "validation.csv"])
