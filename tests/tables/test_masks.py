"""Run-length masks: round trip and refusals."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from ich_pipeline.core.errors import InputError
from ich_pipeline.tables.masks import (
    COLUMNS,
    Box,
    Boxes,
    decode_boxes,
    decode_runs,
    encode_boxes,
    encode_runs,
    read_masks,
    write_masks,
)

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
        ("1.2,a,2,2,0 1\n1.2,a,2,2,box 0 0 1 1", "twice"),
        ("1.2,a,2,2,box 0 0 1", "four numbers"),
        ("1.2,a,2,2,box 0 0 1 3", "leaves the image of 2 × 2"),
        ("1.2,a,2,2,box 0 0 0 1", "no area"),
        ("1.2,a,2,2,box nan 0 1 1", "leaves the image"),
        ("1.2,a,2,2,box 0 0 x 1", "could not convert"),
    ],
)
def test_broken_rows_are_named(tmp_path: Path, line: str, complaint: str) -> None:
    path = tmp_path / "masks.csv"
    path.write_text(",".join(COLUMNS) + "\n" + line + "\n")
    with pytest.raises(InputError, match=complaint):
        dict(read_masks(path))


@given(
    st.lists(st.tuples(*[st.floats(0, 5, width=16)] * 2, *[st.floats(0.125, 5, width=16)] * 2), min_size=1, max_size=5)
)
@settings(max_examples=40)
def test_boxes_round_trip_and_hold_what_lies_in_them(given: list) -> None:
    boxes = Boxes(10, 11, tuple(Box(*one) for one in given))
    assert decode_boxes(encode_boxes(boxes), 10, 11) == boxes
    for box, mask in zip(boxes.boxes[:3], boxes.masks(), strict=False):
        centres = [
            (r, c)
            for r in range(10)
            for c in range(11)
            if box.y <= r + 0.5 < box.y + box.height and box.x <= c + 0.5 < box.x + box.width
        ]
        assert mask.any()
        assert {tuple(at) for at in np.argwhere(mask)} >= set(centres)
        assert mask.sum() == (len(centres) or mask.sum())


def test_boxes_are_no_masks(tmp_path: Path) -> None:
    path = tmp_path / "masks.csv"
    write_masks(
        path,
        [
            ("1.2", "a", np.eye(2, dtype=bool)),
            ("1.2", "b", Boxes(2, 2, (Box(0, 1, 2, 1),))),
            ("1.3", "a", Boxes(2, 2, (Box(0.5, 0, 1, 1.25),))),
        ],
    )
    table = read_masks(path)
    assert list(table) == ["1.2"]
    assert list(table["1.2"]) == ["a"]
    assert table.boxes["1.3"]["a"].boxes == (Box(0.5, 0, 1, 1.25),)
    assert table.boxes["1.2"]["b"].masks()[0].tolist() == [[False, False], [True, True]]


def test_missing_and_foreign_files(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="is missing"):
        read_masks(tmp_path / "masks.csv")
    (tmp_path / "masks.csv").write_text("a,b\n")
    with pytest.raises(InputError, match="first line"):
        read_masks(tmp_path / "masks.csv")
