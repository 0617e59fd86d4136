"""Label tables: what is read, and the sentence for each thing that can be wrong."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ich_pipeline.core.errors import InputError
from ich_pipeline.tables.label_tables import (
    UID,
    check_against,
    read_case_labels,
    read_labels,
    write_case_labels,
    write_labels,
)
from ich_pipeline.tables.labels import Labels

LABELS = Labels("any", ("epidural", "subdural"))
HEADER = "SOPInstanceUID,any,epidural,subdural"


def written(folder: Path, text: str | bytes) -> Path:
    path = folder / "labels.csv"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def test_reads_values_types_and_canonical_order(tmp_path: Path) -> None:
    path = written(tmp_path, "subdural,SOPInstanceUID,epidural,any\n1,1.2.3,0,1\n0,1.2.4,0,0\n")
    table = read_labels(path, LABELS)
    assert list(table.columns) == [UID, "any", "epidural", "subdural"]
    assert table.to_numpy().tolist() == [["1.2.3", 1, 0, 1], ["1.2.4", 0, 0, 0]]
    assert [str(kind) for kind in table.dtypes[1:]] == ["int8"] * 3


@pytest.mark.parametrize("ending", ["\n", "\r\n"])
def test_byte_order_mark_line_ends_and_blank_lines(tmp_path: Path, ending: str) -> None:
    text = ending.join([HEADER, "1.2,1,0,1", "", ""])
    assert read_labels(written(tmp_path, b"\xef\xbb\xbf" + text.encode()), LABELS)[UID].tolist() == ["1.2"]


def test_header_only_is_an_empty_table(tmp_path: Path) -> None:
    table = read_labels(written(tmp_path, HEADER + "\n"), LABELS)
    assert len(table) == 0
    assert list(table.columns) == [UID, *LABELS.columns]


WRONG = {
    "empty": ("", "{path} is empty: its first line must be SOPInstanceUID,any,epidural,subdural."),
    "semicolon": (
        "SOPInstanceUID;any;epidural;subdural\n",
        "{path} separates its columns by semicolon or tab: save it with commas, first line SOPInstanceUID,any,epidural,subdural.",
    ),
    "missing column": (
        "SOPInstanceUID,any,epidural\n",
        "{path} lacks the columns subdural: its first line must be SOPInstanceUID,any,epidural,subdural.",
    ),
    "unknown column": (
        HEADER + ",chronic\n",
        "{path} has unknown columns 'chronic': the columns are SOPInstanceUID,any,epidural,subdural; remove the others, "
        "or name the labels in params.yaml (labels).",
    ),
    "repeated column": (HEADER + ",any\n", "{path} has the column any more than once: keep one."),
    "short row": (
        HEADER + "\n1.2,0,0,0\n1.3,1,1\n",
        "{path}, line 3 has 3 values where the header has 4 columns: mend that line.",
    ),
    "quote": (HEADER + '\n1.2,0,0,"0\n', "{path}, line 2 is not CSV (unexpected end of data): mend that line."),
    "no uid": (
        HEADER + "\n,0,0,0\n",
        "{path}, line 2: SOPInstanceUID '' is empty or has blanks around it: mend that row.",
    ),
    "repeated uid": (
        HEADER + "\n1.2,0,0,0\n1.3,0,0,0\n1.2,0,0,0\n",
        "{path}, line 4: SOPInstanceUID 1.2 is labelled twice, first in line 2: keep one row.",
    ),
    "probability": (
        HEADER + "\n1.2,1,0.5,1\n1.3,1,2,1\n",
        "{path}, line 2 (SOPInstanceUID 1.2): epidural is '0.5', but must be 0 or 1: mend that value (1 more in this column).",
    ),
    "blank value": (
        HEADER + "\n1.2,1,1,\n",
        "{path}, line 2 (SOPInstanceUID 1.2): subdural is '', but must be 0 or 1: mend that value.",
    ),
    "any too low": (
        HEADER + "\n1.2,0,0,1\n",
        "{path}, line 2 (SOPInstanceUID 1.2): any is 0, but at least one subtype is 1; any must be 1 exactly when a subtype "
        "is: mend that row.",
    ),
    "any too high": (
        HEADER + "\n1.2,1,0,0\n",
        "{path}, line 2 (SOPInstanceUID 1.2): any is 1, but no subtype is 1; any must be 1 exactly when a subtype is: mend "
        "that row.",
    ),
    "not UTF-8": (
        b"SOPInstanceUID,any,\xe9pidural\n",
        "{path} is not UTF-8 text: save the table as CSV (UTF-8).",
    ),
}


@pytest.mark.parametrize("name", WRONG)
def test_one_sentence_for_each_fault(tmp_path: Path, name: str) -> None:
    text, sentence = WRONG[name]
    path = written(tmp_path, text)
    with pytest.raises(InputError) as caught:
        read_labels(path, LABELS)
    assert str(caught.value) == sentence.replace("{path}", str(path))


def test_missing_file_and_folder(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"labels\.csv is missing: put the label table there"):
        read_labels(tmp_path / "labels.csv", LABELS)
    with pytest.raises(InputError, match="is a folder"):
        read_labels(tmp_path, LABELS)


def test_case_labels_may_have_any_without_a_subtype_but_not_the_reverse(tmp_path: Path) -> None:
    header = "StudyInstanceUID,any,epidural,subdural"
    path = written(tmp_path, f"{header}\n1.2,1,0,0\n1.3,0,0,0\n")
    table = read_case_labels(path, LABELS)
    assert table.to_numpy().tolist() == [["1.2", 1, 0, 0], ["1.3", 0, 0, 0]]
    write_case_labels(tmp_path / "again.csv", table, LABELS)
    assert (tmp_path / "again.csv").read_bytes() == path.read_bytes()
    with pytest.raises(InputError, match=r"line 2 \(StudyInstanceUID 1\.2\): any is 0, but at least one subtype is 1"):
        read_case_labels(written(tmp_path, f"{header}\n1.2,0,0,1\n"), LABELS)
    with pytest.raises(InputError, match="unknown columns 'SOPInstanceUID'"):
        read_case_labels(written(tmp_path, f"{HEADER}\n1.2,0,0,0\n"), LABELS)


@given(st.lists(st.tuples(st.sampled_from("01"), st.sampled_from("01")), max_size=20))
def test_round_trip(tmp_path_factory: pytest.TempPathFactory, rows: list[tuple[str, str]]) -> None:
    folder = tmp_path_factory.mktemp("labels")
    lines = [f"2.25.{i},{int('1' in row)},{row[0]},{row[1]}" for i, row in enumerate(rows)]
    path = written(folder, "\n".join([HEADER, *lines]) + "\n")
    write_labels(folder / "again.csv", read_labels(path, LABELS), LABELS)
    assert (folder / "again.csv").read_bytes() == path.read_bytes()


def tables(labelled: list[str], present: list[str]) -> tuple[pd.DataFrame, pd.DataFrame]:
    table = pd.DataFrame({UID: labelled, "any": 0, "epidural": 0, "subdural": 0})
    return table, pd.DataFrame({UID: present, "volume": [f"V{uid[0]}" for uid in present]})


def test_coverage_counts() -> None:
    table, slices = tables(["1.1", "1.2", "9.9"], ["1.1", "1.2", "1.3", "2.1", "2.2"])
    coverage = check_against(table, slices, set_aside=["9.9", "9.8"])
    assert (coverage.slices, coverage.labelled, coverage.unlabelled, coverage.set_aside) == (5, 2, 3, 1)
    assert coverage.unlabelled_volumes == 2
    assert coverage.share == 0.4
    assert coverage.sentence == (
        "2 of 5 slices are labelled; 3 without a label (in 2 series) are left out of every cohort; "
        "label rows for files that ingest set aside, not used: 1"
    )
    table.loc[table[UID] == "9.9", ["any", "subdural"]] = 1
    again = check_against(table, slices, set_aside=["9.9", "9.8"])
    assert again.sentence.endswith("not used: 1 (1 of them with a finding)")


@pytest.mark.parametrize(
    ("unknown", "sentence"),
    [
        (
            ["8.1"],
            "data/labels.csv names 1 slice that is not in the DICOM files under data/dicom (SOPInstanceUID 8.1): "
            "remove these rows or add their files.",
        ),
        (
            ["8.4", "8.1", "8.3", "8.2"],
            "data/labels.csv names 4 slices that are not in the DICOM files under data/dicom (SOPInstanceUID 8.1, 8.2, 8.3, …): "
            "remove these rows or add their files.",
        ),
    ],
)
def test_unknown_slices_are_named(unknown: list[str], sentence: str) -> None:
    table, slices = tables(["1.1", *unknown], ["1.1"])
    with pytest.raises(InputError) as caught:
        check_against(table, slices)
    assert str(caught.value) == sentence
