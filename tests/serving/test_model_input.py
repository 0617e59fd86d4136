"""How rows become cases."""

from __future__ import annotations

import base64
import io

import numpy as np
import pandas as pd
import pytest
from numpy.typing import NDArray

from ich_pipeline.core.errors import InputError
from ich_pipeline.serving.model_input import cases


def npy(array: NDArray) -> bytes:
    """The array in the .npy format."""
    buffer = io.BytesIO()
    np.save(buffer, array)
    return buffer.getvalue()


def test_dicom_rows_group_by_study_in_order_of_appearance(studies) -> None:
    first, second = ([path.read_bytes() for path in files] for files in studies.files)
    mixed = [second[0], first[0], second[1], first[1]]
    found = cases(pd.DataFrame({"dicom": mixed}))
    assert [case.files for case in found] == [(second[0], second[1]), (first[0], first[1])]
    text = cases(pd.DataFrame({"dicom": [base64.b64encode(one).decode() for one in mixed]}))
    assert [case.files for case in text] == [case.files for case in found]


def test_a_case_column_groups_and_names(studies) -> None:
    files = [path.read_bytes() for path in studies.files[0]][:4]
    found = cases(pd.DataFrame({"dicom": files, "case": ["x", "y", "x", "y"]}))
    assert [(case.case, case.files) for case in found] == [("x", (files[0], files[2])), ("y", (files[1], files[3]))]


def test_arrays_are_ordered_by_position() -> None:
    slices = [np.full((2, 3), value, np.int16) for value in (5, 1, 3)]
    (found,) = cases(pd.DataFrame({"hu": [npy(one) for one in slices], "position_mm": [50.0, 10.0, 30.0]}))
    assert found.hu is not None and found.positions_mm is not None
    assert found.hu[:, 0, 0].tolist() == [1, 3, 5]
    assert found.positions_mm.tolist() == [10.0, 30.0, 50.0]


def test_a_whole_volume_in_one_row() -> None:
    volume = np.arange(24, dtype=np.int16).reshape(4, 2, 3)
    (found,) = cases(pd.DataFrame({"hu": [npy(volume)]}))
    assert found.hu is not None and (found.hu == volume).all() and found.positions_mm is None


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ({"pixels": [b""]}, "'pixels'"),
        ({"case": ["a"]}, "one of the two"),
        ({"dicom": [b"x"], "hu": [b"x"]}, "one of the two"),
        ({"dicom": [b"not dicom"]}, "row 0"),
        ({"dicom": ["%%%"], "case": ["a"]}, "base64"),
        ({"hu": [b"not npy"]}, ".npy"),
        ({"hu": [npy(np.zeros((2, 2))), npy(np.zeros((2, 3)))]}, "different shapes"),
        ({"hu": [npy(np.zeros((2, 2)))] * 2, "position_mm": [1.0, None]}, "all or none"),
        ({"hu": [npy(np.zeros((2, 2))), None]}, "row 1"),
        ({"hu": [npy(np.array([{"pickled": 1}], dtype=object))]}, ".npy"),
    ],
)
def test_what_it_refuses(table: dict, message: str) -> None:
    with pytest.raises(InputError) as error:
        cases(pd.DataFrame(table))
    assert message in str(error.value)
