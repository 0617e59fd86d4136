"""`ich evaluate`: one sentence for every mistake, and nothing lost in silence."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from ich_pipeline.studies.match import match_tables
from ich_pipeline.studies.matched import Choices
from ich_pipeline.tables.reader_tables import majority
from tests.made.study_tables import refused, run, write

P, L = "case,any,subdural", "case,any,subdural"
MISTAKES = {
    "missing file": ((None, None), "is missing"),
    "no common row": (([P, "x,0.1,0.2"], [L, "y,0,1"]), "--id PREDICTIONS_COLUMN=LABELS_COLUMN"),
    "unknown row": (([P, "a,0.1,0.2", "b,0.1,0.2"], [L, "a,0,1"]), "--allow-missing"),
    "row without prediction": (([P, "a,0.1,0.2"], [L, "a,0,1", "b,0,1"]), "--allow-missing"),
    "repeated row": (([P, "a,0.1,0.2", "a,0.1,0.3"], [L, "a,0,1"]), "line 3: case 'a' stands twice, first in line 2"),
    "above one": (([P, "a,1.2,0.2"], [L, "a,0,1"]), "line 2: any is '1.2'"),
    "percent": (([P, "a,-3,0.2"], [L, "a,0,1"]), "between 0 and 1"),
    "not a number": (([P, "a,high,0.2"], [L, "a,0,1"]), "any is 'high'"),
    "number of a program": (([P, "a,0_1,0.2"], [L, "a,0,1"]), "any is '0_1', which is no number"),
    "label of a program": (([P, "a,0.1,0.2"], [L, "a,0_1,1"]), "any is '0_1', which is no number"),
    "no named column": (([",", "0,0.3"], [L, "a,0,1"]), "share no column that names"),
    "infinite": (([P, "a,inf,0.2"], [L, "a,0,1"]), "any is 'inf'"),
    "nan": (([P, "a,NaN,0.2"], [L, "a,0,1"]), "no probability"),
    "empty label": (([P, "a,0.3,0.2"], [L, "a,,1"]), "any is empty"),
    "label of two": (([P, "a,0.3,0.2"], [L, "a,2,1"]), "must be 0 or 1"),
    "no common finding": (([P, "a,0.3,0.2"], ["case,tumour", "a,1"]), "share no finding"),
    "no common id": ((["who,any", "a,0.3"], ["case,any", "a,1"]), "share no column that names"),
    "two columns of one finding": ((["case,EDH,epidural", "a,0.3,0.2"], ["case,edh", "a,1"]), "name the same finding"),
    "ragged": (([P, "a,0.3"], [L, "a,0,1"]), "line 2 has 2 values"),
    "semicolons": ((["case;any", "a;0.3"], [L, "a,0,1"]), "semicolon"),
    "header alone": (([P], [L, "a,0,1"]), "holds no row"),
    "repeated column": ((["case,any,any", "a,0.3,0.1"], [L, "a,0,1"]), "more than once"),
    "empty id": (([P, ",0.3,0.1"], [L, "a,0,1"]), "is empty"),
    "readers with other findings": ((["case,ICH", "a,0.3"], ["case,R1:ICH,R2:ICH,R2:SDH", "a,1,1,0"]), "R1:SDH"),
}  # fmt: skip


@pytest.mark.parametrize("name", MISTAKES)
def test_one_sentence_for_each_mistake_and_nothing_is_written(tmp_path: Path, name: str) -> None:
    (predictions, labels), sentence = MISTAKES[name]
    paths = tmp_path / "p.csv", tmp_path / "l.csv"
    for path, rows in zip(paths, (predictions, labels), strict=True):
        if rows:
            write(path, *rows)
    assert sentence in refused(paths[0], "--labels", paths[1], "--out", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_wrong_options_are_one_sentence(tables, tmp_path: Path) -> None:
    common = (tables[0], "--labels", tables[1])
    assert "no finding 'EDH'" in refused(*common, "--threshold", "EDH=0.4")
    assert "no number from 0 to 1" in refused(*common, "--threshold", "7")
    assert "'0_1' is no number from 0 to 1" in refused(*common, "--threshold", "0_1")
    assert "--map" in refused(*common, "--map", "ICH")
    assert "no column 'nil'" in refused(*common, "--id", "nil")
    assert "--level 'patient'" in refused(*common, "--level", "patient")
    assert "--margin 2" in refused(*common, "--margin", "2")
    assert "40 patients needs" in refused(*common, "--bootstrap", "100000000", "--out", tmp_path / "o")
    mine = tmp_path / "mine"
    mine.mkdir()
    (mine / "thesis.txt").write_text("years of work")
    assert "thesis.txt" in refused(*common, "--out", mine) and (mine / "thesis.txt").is_file()
    strangers = write(tmp_path / "r.csv", "reader,case,decision", "A,nobody,1")
    assert "not among those evaluated" in refused(*common, "--readers", strangers, "--out", tmp_path / "o")


def test_what_is_left_out_is_counted(tmp_path: Path) -> None:
    predictions = write(tmp_path / "p.csv", "case,any", *(f"c{i},{'' if i == 3 else 0.1 * (i % 9)}" for i in range(30)))
    labels = write(tmp_path / "l.csv", "case,any", *(f"c{i},{'' if i == 4 else i % 2}" for i in range(1, 33)))
    out = tmp_path / "out"
    status, said, error = run(predictions, "--labels", labels, "--allow-missing", "--out", out, "--bootstrap", "20")
    assert status == 0, error
    found = json.loads((out / "metrics.json").read_text())
    assert {e["what"]: e["count"] for e in found["excluded"]} == {
        "rows of the predictions without labels": 1, "rows of the labels without a prediction": 3,
        "any: rows without a probability": 1, "any: rows without a label": 1,
    }  # fmt: skip
    assert found["case"]["any"]["n"]["value"] == 27
    assert "rows without a probability: 1" in said


def test_majority_needs_more_than_half() -> None:
    reads = np.array([[1, 1, 0], [1, 0, -1], [0, -1, -1], [-1, -1, -1], [0, 0, 1]], dtype=np.int8)[:, :, None]
    np.testing.assert_array_equal(majority(reads)[:, 0], [1, -1, 0, -1, 0])


def test_a_named_column_is_used(tables, tmp_path: Path) -> None:
    found = match_tables(tables[0], tables[1], None, Choices(pairs=(("Other", "sdh"),)))
    assert found.columns == (("Other", "SDH"),) and (found.scores == 0.1).all()


def test_nothing_is_lost_in_silence(tmp_path: Path) -> None:
    """Each of these once gave figures of other rows than the tables hold, and said that nothing was left out."""
    p = write(tmp_path / "p.csv", "case,A,B", *(f"c{i},0.{i % 10},0.{9 - i % 10}" for i in range(20)))
    b = write(tmp_path / "l.csv", "case,ICH,SDH", *(f"c{i},{i % 2},{i % 3 // 2}" for i in range(20)))
    out = ("--out", tmp_path / "o")
    assert "'ICH' twice" in refused(p, "--labels", b, "--map", "A=ICH", "--map", "B=ich", *out)
    same = ("--map", "A=ICH", "--threshold", "ICH=0.3", "--threshold", "ich=0.4")
    assert "contradicts --threshold ICH=0.3" in refused(p, "--labels", b, *same, *out)
    assert "--seed -1" in refused(p, "--labels", b, "--map", "A=ICH", "--seed", "-1", *out)

    # Slices without a patient or a case are not all of one patient, or one case.
    rows = [f"1.{i},{'' if i == 7 else f'C{i // 4}'},P{i // 4},0.{i % 10}" for i in range(40)]
    p = write(tmp_path / "p.csv", "SOPInstanceUID,case_id,PatientID,any", *rows)
    b = write(tmp_path / "l.csv", "SOPInstanceUID,any", *(f"1.{i},{i % 2}" for i in range(40)))
    assert "line 9: case_id is empty" in refused(p, "--labels", b, "--level", "case", *out)
    write(p, "SOPInstanceUID,PatientID,any", *(f"1.{i},{'' if i > 20 else i},0.{i % 10}" for i in range(40)))
    assert "line 23: PatientID is empty" in refused(p, "--labels", b, *out)

    # A finding that no row can be judged by, and one that the mean's figures would replace.
    p = write(tmp_path / "p.csv", "case,any,mean", *(f"c{i},,0.{i % 10}" for i in range(20)))
    b = write(tmp_path / "l.csv", "case,any,mean", *(f"c{i},{i % 2},{i % 2}" for i in range(20)))
    assert "no row has both a probability and a label of any" in refused(p, "--labels", b, "--allow-missing", *out)
    assert "a finding is called 'mean'" in refused(p, "--labels", b, "--map", "mean=mean", *out)

    # Rows on which the system did not decide.
    p = write(
        tmp_path / "p.csv", "case,any,decision", *(f"c{i},0.{i % 10},{i % 2 if i > 4 else ''}" for i in range(20))
    )
    assert "decision is empty (5 rows in all)" in refused(p, "--labels", b, "--map", "any=any", *out)
    found = match_tables(p, b, None, Choices(pairs=(("any", "any"),), allow_missing=True))
    assert [(e.what, e.count) for e in found.excluded] == [("rows without the system's own decision", 5)]
    assert found.unused["predictions"] == ()
    # A decision is about "any": where that is not evaluated, the column is named as not used.
    p = write(tmp_path / "p.csv", "case,SDH,Decision", *(f"c{i},0.{i % 10},{i % 2}" for i in range(20)))
    b = write(tmp_path / "l.csv", "case,SDH", *(f"c{i},{i % 2}" for i in range(20)))
    found = match_tables(p, b, None, Choices())
    assert found.decisions is None and found.unused["predictions"] == ("Decision",)


def test_readers_may_name_a_finding_either_way_and_cases_of_slices(tmp_path: Path) -> None:
    p = write(tmp_path / "p.csv", "SOPInstanceUID,case_id,any", *(f"1.{i},C{i // 4},0.{i % 10}" for i in range(80)))
    b = write(tmp_path / "l.csv", "SOPInstanceUID,any", *(f"1.{i},{i // 4 % 2}" for i in range(80)))
    rows = [f"{name},C{c},{c % 3 // 2},{label}" for name, label in (("A", "any"), ("B", "ICH")) for c in range(20)]
    r = write(tmp_path / "r.csv", "reader,case,decision,label", *rows, "A,C3,1,tumour")
    found = match_tables(p, b, r, Choices(level="case"))
    assert found.readers == ("A", "B") and found.unused["readers"] == ("tumour",)
    np.testing.assert_array_equal(found.reads[:, :, 0], np.repeat([[c % 3 // 2] for c in range(20)], 2, axis=1))
    assert "not among those evaluated" in refused(p, "--labels", b, "--readers", r, "--out", tmp_path / "o")
    r = write(tmp_path / "r.csv", "reader,case,decision,label", "A,C3,1,any", "A,C3,0,ICH")
    arguments = ("--level", "case", "--readers", r, "--out", tmp_path / "o")
    assert "decided twice on any in one case" in refused(p, "--labels", b, *arguments)
    write(r, "case,A:any,B:any", "C3,1,0", "C4,1,0", "C3,0,0")
    assert "line 4: 'C3' stands twice" in refused(p, "--labels", b, *arguments)


def test_two_readers_are_not_promised_a_fair_comparison(tmp_path: Path) -> None:
    p = write(tmp_path / "p.csv", "case,ICH", *(f"c{i},0.{i % 10}" for i in range(20)))
    b = write(tmp_path / "l.csv", "case,R1:ICH,R2:ICH", *(f"c{i},{i % 2},{i % 2 if i > 3 else 1}" for i in range(20)))
    status, said, error = run(p, "--labels", b, "--out", tmp_path / "o", "--bootstrap", "20")
    assert status == 0, error
    said = " ".join(said.split())
    assert "needs three readers at least" in said and "Fair are the tables" not in said


def test_cases_of_different_patients_may_bear_the_same_name(tmp_path: Path) -> None:
    """Studies 1 and 2 of 20 patients are 40 cases: they once were two, of the first patient."""
    rows = [(f"s{i}", f"P{i // 4}", 1 + i // 2 % 2, round((i * 37 % 80) / 80, 4), int(i % 5 == 0)) for i in range(80)]
    p = write(tmp_path / "p.csv", "image,any,patient,study", *(f"{i},{v},{who},{c}" for i, who, c, v, _ in rows))
    b = write(tmp_path / "l.csv", "image,any", *(f"{i},{t}" for i, _, _, _, t in rows))
    for choices in (Choices(level="case"), Choices(level="case", case="study", patient="patient")):
        found = match_tables(p, b, None, choices)
        assert len(found.names) == 40 and found.grouped_by == "patient"
        np.testing.assert_array_equal(found.patients, np.repeat(np.arange(20), 2))
        np.testing.assert_array_equal(found.scores[:, 0], [max(r[3] for r in rows[i : i + 2]) for i in range(0, 80, 2)])
        np.testing.assert_array_equal(found.truth[:, 0], [max(r[4] for r in rows[i : i + 2]) for i in range(0, 80, 2)])

    # A reader who says "study 1" does not say whose; one who names the slices does.
    r = write(tmp_path / "r.csv", "reader,case,decision", "A,1,1", "A,2,0")
    said = refused(p, "--labels", b, "--readers", r, "--level", "case", "--out", tmp_path / "o")
    assert "names the case '1', which several patients have" in said and not (tmp_path / "o").exists()
    write(r, "reader,case,decision", *(f"A,{i},{t}" for i, _, _, _, t in rows))
    found = match_tables(p, b, r, Choices(level="case"))
    np.testing.assert_array_equal(found.reads[:, 0, 0], found.truth[:, 0])


def test_rows_that_nobody_read_are_missing_and_not_split(tmp_path: Path) -> None:
    p = write(tmp_path / "p.csv", "case,any", *(f"c{i},0.{i % 10}" for i in range(60)))
    reads = [",," if i < 10 else "1,0," if i < 15 else f"{i % 2},{i % 2},{i % 3 // 2}" for i in range(60)]
    b = write(tmp_path / "l.csv", "case,R1:any,R2:any,R3:any", *(f"c{i},{r}" for i, r in enumerate(reads)))
    said = refused(p, "--labels", b, "--out", tmp_path / "o")
    assert "l.csv, line 2: no reader has read any (10 rows in all)" in said and not (tmp_path / "o").exists()
    found = match_tables(p, b, None, Choices(allow_missing=True))
    assert [(e.what, e.count) for e in found.excluded] == [
        ("any: rows without a read", 10), ("any: rows on which the readers are split", 5),
    ]  # fmt: skip
    # Slices that are gathered: a case with an unread slice and no positive one is unread.
    p = write(tmp_path / "p.csv", "image,study,any", *(f"c{i},S{i // 5},0.{i % 10}" for i in range(60)))
    write(b, "image,R1:any,R2:any,R3:any", *(f"c{i},{r}" for i, r in enumerate(reads)))
    found = match_tables(p, b, None, Choices(level="case", allow_missing=True))
    assert [(e.what, e.count) for e in found.excluded] == [
        ("any: rows without a read", 2), ("any: rows on which the readers are split", 1),
    ]  # fmt: skip


@pytest.mark.parametrize("names", [("", ""), ("Unnamed: 0", "")])
def test_a_column_without_a_name_is_no_finding(tmp_path: Path, names: tuple[str, str]) -> None:
    """The row numbers that pandas writes, on the left, and what a last comma makes, on the right."""
    left, right = names
    p = write(tmp_path / "p.csv", f"{left},case,any,{right}", *(f"{i % 2},c{i},0.{i % 10}," for i in range(20)))
    b = write(tmp_path / "l.csv", f"{left},case,any", *(f"{i % 2},c{i},{i % 2}" for i in range(20)))
    r = write(tmp_path / "r.csv", f"{left},case,A:any,B:any", *(f"{i},c{i},{i % 2},0" for i in range(20)))
    found = match_tables(p, b, r, Choices())
    assert found.labels == ("any",) and found.readers == ("A", "B")
    one = "(a column without a name)"
    assert found.unused == {"predictions": (one, one), "labels": (one,), "readers": (one,)}
    b = write(tmp_path / "l.csv", f"{left},case,R1:any,R2:any", *(f"{i},c{i},{i % 2},{i % 2}" for i in range(20)))
    assert match_tables(p, b, None, Choices()).reference == ("R1", "R2")
    p = write(tmp_path / "p.csv", f"{left},ID,Label", *(f"{i},c{i}_any,0.{i % 10}" for i in range(20)))
    b = write(tmp_path / "l.csv", f"{left},ID,Label", *(f"{i},c{i}_any,{i % 2}" for i in range(20)))
    assert match_tables(p, b, None, Choices()).labels == ("any",)


def test_a_readers_table_of_a_cohort_without_readers(tables, tmp_path: Path) -> None:
    labels = write(tmp_path / "l.csv", "name,ICH", *(f"case-{i},{i % 2}" for i in range(40)))
    for name, header in (("r1.csv", "reader,case,decision"), ("r2.csv", "\nreader,case,label,decision\n")):
        found = match_tables(tables[0], labels, write(tmp_path / name, header), Choices())
        assert found.readers == () and found.reads.shape == (40, 0, 1)
    empty = write(tmp_path / "r3.csv", "reader,case")
    assert "holds no row" in refused(tables[0], "--labels", labels, "--readers", empty, "--out", tmp_path / "o")


def test_a_column_that_is_the_same_in_every_row_names_no_patients(tmp_path: Path) -> None:
    """A study called CQ500 once made one patient of all cases, of whom no figure can be given."""
    p = write(tmp_path / "p.csv", "case,any,study", *(f"c{i},0.{i % 10},CQ500" for i in range(40)))
    b = write(tmp_path / "l.csv", "case,any,PatientName", *(f"c{i},{i // 5 % 2},X" for i in range(40)))
    out = ("--out", tmp_path / "o", "--bootstrap", "20")
    status, said, error = run(p, "--labels", b, *out)
    assert status == 0, error
    assert "Every case counts as a patient of its own" in said and "the same in every row: study." in said
    groups = json.loads((tmp_path / "o" / "metrics.json").read_text())["groups"]
    assert groups == {"column": None, "count": 40, "passed_over": ["study"]}
    said = refused(p, "--labels", b, "--patient", "study", *out)
    assert "the column study is 'CQ500' in every row of" in said and "--patient (the rows' own case" in said
    assert "l.csv: all would be one patient's" in refused(p, "--labels", b, "--patient", "patientname", *out)
    assert match_tables(p, b, None, Choices(patient="case")).patients.max() == 39

    # Slices of one study are of one patient; and a patient is never passed over.
    p = write(tmp_path / "p.csv", "image,any,study", *(f"c{i},0.{i % 10},CQ500" for i in range(40)))
    b = write(tmp_path / "l.csv", "image,any", *(f"c{i},{i // 5 % 2}" for i in range(40)))
    assert "the column study is 'CQ500'" in refused(p, "--labels", b, *out)
    assert "all slices would be one case" in refused(p, "--labels", b, "--level", "case", *out)
    write(p, "case,any,PatientID", *(f"c{i},0.{i % 10},P1" for i in range(40)))
    write(b, "case,any", *(f"c{i},{i // 5 % 2}" for i in range(40)))
    assert "the column patientid is 'P1'" in refused(p, "--labels", b, *out)
    # One row is one patient's, whatever its columns say.
    write(p, "case,any,study", "c1,0.3,CQ500")
    assert match_tables(p, write(b, "case,any", "c1,1"), None, Choices()).grouped_by == "study"
