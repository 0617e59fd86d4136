"""The label table of a de-identified export: read as strictly as a cohort's, and no original identifier in what is written."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import data_store  # the package pydicom-data
import pandas as pd
import pydicom
import pytest
from pydicom.uid import SecondaryCaptureImageStorage
from typer.testing import CliRunner

from ich_pipeline.cli import main as cli
from ich_pipeline.commands import deidentify_labels
from ich_pipeline.commands.cohort import left_of_an_identified_cohort
from ich_pipeline.deidentify import scan
from ich_pipeline.deidentify.key import Key, load_key, new_key
from ich_pipeline.deidentify.labels import new_name

LABELS = "any,epidural,intraparenchymal,intraventricular,subarachnoid,subdural"
HEADER = f"SOPInstanceUID,{LABELS}"
SERIES = "1.2.3.4.1.1"
ZEROS = "0,0,0,0,0,0"


def rows(*numbers: int) -> list[str]:
    return [f"{SERIES}.{n},{ZEROS}" for n in numbers]


@pytest.fixture
def export(project, tmp_path, make_ct, to_bytes) -> Path:
    """Five slices of one series and a screen shot; a key beside them."""
    root = tmp_path / "export"
    root.mkdir()
    for number in range(1, 6):
        (root / f"IM{number}").write_bytes(to_bytes(make_ct(number)))
    page = make_ct(9, SOPClassUID=SecondaryCaptureImageStorage, SeriesInstanceUID="1.2.3.4.1.2")
    (root / "page").write_bytes(to_bytes(page))
    new_key(tmp_path / "key")
    return root


def ich(*arguments: object) -> tuple[int, str, str]:
    done = CliRunner().invoke(cli.app, [str(a) for a in arguments], env={"COLUMNS": "240"})
    return done.exit_code, done.stdout, done.stderr


def deidentify(export: Path, table: str | bytes) -> tuple[int, str, str]:
    path = export.parent / "l.csv"
    path.write_bytes(table if isinstance(table, bytes) else table.encode())
    shutil.rmtree(export.parent / "out", ignore_errors=True)
    return ich("deidentify", export, "--out", export.parent / "out", "--key", export.parent / "key", "--labels", path)


def written(export: Path) -> pd.DataFrame:
    return pd.read_csv(export.parent / "out" / "labels.csv", dtype=str)


WRONG = {
    "a comma at every end": (
        [f"{LABELS},SOPInstanceUID", *(f"{ZEROS},{SERIES}.{n}," for n in range(1, 6))],
        "5 rows with another number of values than the header (line 2: 8 values, 7 columns,",
    ),
    "a comma at every end, identifier first": (
        [HEADER, *(f"{row}," for row in rows(1, 2))],
        "2 rows with another number of values than the header (line 2: 8 values, 7 columns,",
    ),
    "a short row": ([HEADER, *rows(1), f"{SERIES}.2,0"], "1 row with another number of values than the header (line 3"),
    "a value that is none": ([HEADER, f"{SERIES}.1,0,yes,0,0,0,0"], "1 row with a value other than 0 or 1 (line 2"),
    "a row twice": ([HEADER, *rows(1, 1)], "1 repeated row that says the same (line 3"),
    "rows that contradict": ([HEADER, *rows(1), f"{SERIES}.1,1,1,0,0,0,0"], "1 slice or case with rows that contradict"),
    "any without a subtype": ([HEADER, f"{SERIES}.1,1,0,0,0,0,0"], "1 row whose subtypes contradict its “any”"),
    "slices that are nowhere": ([HEADER, *rows(1, 6, 7)], f"2 labels without an image in the folder (line 3 {SERIES}.6, line"),
    "a frame of a slice": ([HEADER, f"{SERIES}.1#1,{ZEROS}"], "1 label without an image in the folder (line 2"),
    "another study": (
        [f"StudyInstanceUID,{HEADER}", f"1.2.9,{rows(1)[0]}"],
        f"1 label without an image in the folder (line 2 {SERIES}.1: StudyInstanceUID 1.2.9)",
    ),
    "no identifier": ([HEADER, f",{ZEROS}"], "1 row without a usable identifier (line 2"),
    "semicolons": ([HEADER.replace(",", ";")], "separates its columns by semicolon or tab: save it with commas"),
    "no column": (["PatientID,any", "P1,0"], f"lacks the columns SOPInstanceUID: its first line must be {HEADER}."),
    "no label": (["SOPInstanceUID,who", f"{SERIES}.1,me"], "has none of the label columns any, epidural"),
    "nothing": ([HEADER], "holds no row below its header"),
}  # fmt: skip


@pytest.mark.parametrize("name", WRONG)
def test_what_a_cohort_would_refuse_is_refused(export, name):
    lines, sentence = WRONG[name]
    status, out, err = deidentify(export, "\n".join(lines))
    assert (status, out, err.count("\n")) == (2, "", 1) and sentence in err and "--lenient" not in err, err
    assert not (export.parent / "out").exists() and not list(export.parent.glob(".*"))


def test_utf_16_is_named(export):
    status, _, err = deidentify(export, "\n".join([HEADER, *rows(1)]).encode("utf-16"))
    assert status == 2 and "l.csv is not UTF-8 text: save the table as CSV" in err


def test_the_form_of_the_table_is_that_of_a_cohort(export):
    key = load_key(export.parent / "key")
    header = "who, sopinstanceuid , SUBDURAL,patientid,StudyInstanceUID,"
    status, out, err = deidentify(export, f"sep=,\n{header}\nDoe^Jane, \u200b{SERIES}.1 , 1,P1,1.2.3.4.1,\n,,,,,\n")
    assert (status, err) == (0, "") and "l.csv:" not in out
    assert written(export).to_dict("records") == [
        {"SOPInstanceUID": key.uid(f"{SERIES}.1"), "subdural": "1", "PatientID": key.patient_id("P1"), "StudyInstanceUID": key.uid("1.2.3.4.1")}
    ]  # fmt: skip


def test_labels_of_files_that_are_set_aside_are_left_out_and_counted(export):
    status, out, err = deidentify(export, "\n".join([HEADER, *rows(1, 9)]))
    assert (status, err) == (0, "")
    assert "Noted: 1 label of a file that the de-identification set aside." in out
    assert written(export)["SOPInstanceUID"].tolist() == [load_key(export.parent / "key").uid(f"{SERIES}.1")]


def test_labels_of_a_file_that_nobody_could_read_are_left_out_and_counted(export):
    whole = (export / "IM3").read_bytes()
    (export / "IM3").write_bytes(whole[:200] + bytes(60))  # begins like DICOM
    status, out, err = deidentify(export, "\n".join([HEADER, *rows(1, 2, 3, 4, 5)]))
    assert status == 0, err
    assert "1 label of a file that the de-identification set aside" in out and len(written(export)) == 4


def test_the_second_pass_reads_the_written_table(export, monkeypatch):
    monkeypatch.setattr(deidentify_labels, "pseudonymise_labels", lambda table, key, keep: table)
    status, out, err = deidentify(export, "\n".join([HEADER, *rows(1)]))
    assert (status, out) == (2, "")
    assert "l.csv would not be de-identified (SOPInstanceUID: an identifier that was not replaced)" in err
    assert not (export.parent / "out").exists()


def test_what_the_second_pass_finds():
    new = Key(bytes(32)).uid("1")
    names = ("SOPInstanceUID", "PatientID")
    assert (
        scan.table_findings(f"SOPInstanceUID,PatientID,any\n{new}#3,ICH0123456789abcdef,0\n{new},,1\n", names, ()) == []
    )
    assert scan.table_findings(f"SOPInstanceUID,any\n{new}#3,0\n", names, {new}) == [
        "SOPInstanceUID: an identifier that was not replaced"
    ]
    assert scan.table_findings(f"PatientID,any\n{new}#Doe,Jane\n,0,0\n", names, ()) == [
        "3 values in a row of 2 columns", "PatientID: an identifier that was not replaced", "any: neither 0 nor 1",
    ]  # fmt: skip


def test_a_frame_keeps_its_number():
    key = Key(bytes(32))
    assert new_name("1.2#3", key) == f"{key.uid('1.2')}#3"
    assert new_name("", key) == "" and new_name(" 1.2 ", key) == key.uid("1.2")
    for odd in ("1.2#Doe", "1.2#03", "1.2#", "1.2#3#4"):
        assert new_name(odd, key) == key.uid(odd), "only a number stays"


def cohort(export: Path, table: str, *options: str) -> tuple[int, str, str]:
    path = export.parent / "l.csv"
    path.write_text(table, encoding="utf-8")
    return ich("cohort", "folder", export, "--labels", path, "--deidentify", export.parent / "key", *options)


def test_labels_of_frames_follow_their_object(export):
    [path] = Path(next(iter(data_store.__path__))).rglob("eCT_Supplemental.dcm")
    uid = pydicom.dcmread(path, stop_before_pixels=True).SOPInstanceUID
    shutil.copy(path, export / "enhanced")
    table = "\n".join([HEADER, *rows(1, 2, 3, 4, 5), *(f"{uid}#{n},{ZEROS}" for n in (1, 2))])
    new = load_key(export.parent / "key").uid(uid)
    status, out, err = cohort(export, table)
    assert status == 0 and "7 labelled" in out, err
    assert {f"{new}#1", f"{new}#2"} <= set(pd.read_csv("data/labels.csv")["SOPInstanceUID"])
    assert deidentify(export, table)[0] == 0
    assert {f"{new}#1", f"{new}#2"} <= set(written(export)["SOPInstanceUID"])
    status, _, err = deidentify(export, f"{table}\n{uid}#3,{ZEROS}\n")
    assert status == 2 and f"1 label without an image in the folder (line 9 {uid}#3)" in err


def test_a_cohort_refuses_or_leaves_out_without_a_name(export):
    key = load_key(export.parent / "key")
    odd = [f"{SERIES}.3,Doe^Jane,0,0,0,0,0", f"1.9.{SERIES},{ZEROS}", f"{SERIES}.9,{ZEROS}", f"{SERIES}.4,0"]
    table = "\n".join([HEADER, *rows(1, 2), *odd])
    status, _, err = cohort(export, table)
    assert status == 2 and "1 row with a value other than 0 or 1" in err and "or add --lenient" in err
    status, _, err = cohort(export, "\n".join([HEADER, *rows(1, 2, 3, 4, 7)]))
    assert (
        status == 2 and f"1 label without an image in the folder (line 6 {SERIES}.7); mend these, or add --len" in err
    )
    status, _, err = cohort(export, table.replace("epidural", "chronic"))
    assert status == 2 and "l.csv lacks the columns epidural" in err
    assert not Path("data").exists() and not Path(".state/deidentified").exists()
    status, out, err = cohort(export, table, "--lenient")
    assert status == 0 and "2 labelled" in out, err
    report = Path("data/labels_report.csv").read_text(encoding="utf-8")
    assert [line.split(",")[:4] for line in report.splitlines()[1:]] == [
        ["row_length", "fault", "", "7"],
        ["bad_value", "fault", key.uid(f"{SERIES}.3"), "4"],
        ["unknown_image", "fault", key.uid(f"1.9.{SERIES}"), "5"],
        *(["unlabelled_slice", "fault", uid, ""] for uid in sorted(key.uid(f"{SERIES}.{n}") for n in (4, 5))),
        ["image_set_aside", "note", key.uid(f"{SERIES}.9"), "6"],
    ]  # fmt: skip
    everything = b"".join(path.read_bytes() for path in Path("data").rglob("*") if path.is_file())
    assert b"Jane" not in everything and SERIES.encode() not in everything


def test_labels_of_cases(export):
    table = f"StudyInstanceUID,{LABELS}\n1.2.3.4.1,1,0,0,0,0,0\n"
    status, out, err = cohort(export, table)
    assert status == 0 and "1 case labelled (1 with any). Noted: 1 case with haemorrhage but no subtype." in out, err
    assert len(Path("data/labels_report.csv").read_text().splitlines()) == 2


def test_what_an_identified_cohort_left_is_said_with_the_command_that_removes_it(export):
    path = export.parent / "l.csv"
    path.write_text("\n".join([HEADER, *rows(1, 2, 3, 4, 5)]), encoding="utf-8")
    assert ich("cohort", "folder", export, "--labels", path)[0] == 0
    left = [Path(".dvc/cache/files/md5/ab/cd"), Path("work/ingest/slices.parquet"), Path(".state/faults/ingest.txt")]
    for file in left:
        file.parent.mkdir(parents=True)
        file.write_bytes((export / "IM1").read_bytes())
    left.append(Path(".state/patients.json"))
    left[-1].write_text("[]")
    kept = Path(".state/prefect/prefect.db")
    kept.parent.mkdir()
    kept.touch()
    status, out, err = cohort(export, path.read_text(), "--replace")
    assert status == 0, err
    command = re.search(
        r"The cohort that was here before still lies in work, .state/faults, .dvc/cache, .*\.state/patients\.json, .*: `(rm [^`]+)` removes",
        out,
    )
    assert command, out
    subprocess.run(command[1], shell=True, check=True)
    assert not any(file.exists() for file in left) and kept.is_file() and Path("data/labels.csv").is_file()
    for file in left:  # what is there now is of the de-identified one
        file.parent.mkdir(parents=True, exist_ok=True)
        file.touch()
    assert left_of_an_identified_cohort() == []
