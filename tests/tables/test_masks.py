"""Run-length masks: round trip and refusals."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from ich_pipeline.core.errors import InputError
from ich_pipeline.tables.masks import COLUMNS, decode_runs, encode_runs, read_masks, write_masks

masks = arrays(bool, array_shapes(min_dims=2, max_dims=2, max_side=20))


@given(masks)
def test_runs_round_trip(mask: np.ndarray) -> None:
    assert np.array_equal(decode_runs(encode_runs(mask), *mask.shape), mask)


def test_runs_are_row_major_from_zero() -> None:
    assert encode_runs(np.array([[1, 1, 0], [0, 0, 1]], bool)) == "0 2 5 1"
    assert encode_runs(np.zeros((2, 2), bool)) == ""


@given(
    st.lists(
        st.tuples(st.sampled_from(["1.2", "1.3", "1.4"]), st.sampled_from("abc"), masks), unique_by=lambda t: t[:2]
    )
)
@settings(max_examples=40)
def test_table_round_trip(tmp_path_factory: pytest.TempPathFactory, rows: list) -> None:
    path = tmp_path_factory.getbasetemp() / "masks.csv"
    write_masks(path, rows)
    table = read_masks(path)
    assert {(uid, label) for uid in table for label in table[uid]} == {(uid, label) for uid, label, _ in rows}
    for uid, label, mask in rows:
        assert np.array_equal(table[uid][label], mask)


@pytest.mark.parametrize(
    ("line", "complaint"),
    [
        ("1.2,a,2,2,0 5", "leaves the image"),
        ("1.2,a,2,2,0 2 1 1", "overlaps"),
        ("1.2,a,2,2,0", "without a length"),
        ("1.2,a,two,2,0 1", "Rows"),
        ("1.2,a,2,2,0 1\n1.2,a,2,2,0 1", "twice"),
    ],
)
def test_broken_rows_are_named(tmp_path: Path, line: str, complaint: str) -> None:
    path = tmp_path / "masks.csv"
    path.write_text(",".join(COLUMNS) + "\n" + line + "\n")
    with pytest.raises(InputError, match=complaint):
        dict(read_masks(path))


def test_missing_and_foreign_files(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="is missing"):
        read_masks(tmp_path / "masks.csv")
    (tmp_path / "masks.csv").write_text("a,b\n")
    with pytest.raises(InputError, match="first line"):
        read_masks(tmp_path / "masks.csv")
