"""``ich cohort add``: only what is new comes into data/, and nothing that is there changes."""

from __future__ import annotations

import csv
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pandas as pd
import pydicom
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ich_pipeline.cohorts.add import add
from ich_pipeline.cohorts.bring import bring
from ich_pipeline.commands.cohort import add as commands_add
from ich_pipeline.config import Params
from ich_pipeline.core.errors import InputError
from ich_pipeline.dicom.identity import case_id, patient_key
from ich_pipeline.ingest.scan import read_headers
from ich_pipeline.sources.folder import list_folder
from ich_pipeline.sources.remote import Remote
from ich_pipeline.splits.frozen import (
    Manifest,
    assign,
    find_key,
    frozen_test,
    label_digest,
    make_key,
    read_manifest,
    refuse_changed,
    write_manifest,
)
from ich_pipeline.splits.patient_cohorts import split_cases
from ich_pipeline.tables.cohort_names import PROSPECTIVE, RETROSPECTIVE
from ich_pipeline.tables.label_tables import UID, read_labels
from tests.made.arriving import WriteExport, contents, export, table


def test_only_what_is_new_is_copied(tmp_path: Path, params: Params, write_export: WriteExport, data: Path) -> None:
    before = {path: (path.read_bytes(), path.stat().st_ino) for path in (data / "dicom").rglob("*") if path.is_file()}
    (data / "frozen.key").write_text("ab" * 32)
    source = export(write_export, tmp_path / "second", [2, 3])
    said = add(source, table(tmp_path / "second.csv", params, [2, 3]), data, params)
    assert (
        said
        == "3 of 6 files copied, the others are in " + f"{data} already; new patients: 1; slices newly labelled: 3."
    )
    assert {path: (path.read_bytes(), path.stat().st_ino) for path in before} == before  # not copied anew either
    new = {path for path in (data / "dicom").rglob("*") if path.is_file()} - set(before)
    assert len(new) == 3 and {path.relative_to(data / "dicom").parts[1] for path in new} == {"p3"}
    assert (data / "frozen.key").read_text() == "ab" * 32
    mark = json.loads((data / "cohort.json").read_text())
    assert (mark["kind"], mark["settings"]["files"], mark["settings"]["labelled"]) == ("folder", 9, 9)
    whole = export(write_export, tmp_path / "whole", [1, 2, 3])
    bring("folder", whole, table(tmp_path / "whole.csv", params, [1, 2, 3]), tmp_path / "other", params)
    for name in ("labels.csv", "masks.csv", "readers.csv", "cohort.json"):
        assert (data / name).read_bytes() == (tmp_path / "other" / name).read_bytes()
    after = contents(data)
    assert (
        add(source, tmp_path / "second.csv", data, params)
        == f"{data} holds all of {source} already; nothing was changed."
    )
    assert contents(data) == after and not (tmp_path / ".data.partial").exists()


@settings(max_examples=8, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.lists(st.integers(3, 7), min_size=1, max_size=3, unique=True), min_size=1, max_size=3))
def test_in_whatever_batches_the_labels_end_the_same(
    tmp_path: Path, params: Params, write_export: WriteExport, batches: list[list[int]]
) -> None:
    here = tmp_path / "run"
    shutil.rmtree(here, ignore_errors=True)
    bring(
        "folder", export(write_export, here / "0", [1, 2]), table(here / "0.csv", params, [1, 2]), here / "data", params
    )
    for number, batch in enumerate(batches, start=1):
        add(
            export(write_export, here / str(number), batch),
            table(here / f"{number}.csv", params, batch),
            here / "data",
            params,
        )
    everyone = sorted({1, 2, *(one for batch in batches for one in batch)})
    found = read_labels(here / "data" / "labels.csv", params.label_set)
    assert sorted(found[UID]) == sorted(f"2.25.{100 * i + n}" for i in everyone for n in range(3))
    files = [path for path in (here / "data" / "dicom").rglob("*") if path.is_file()]
    assert len(files) == 3 * len(everyone) == len({path.read_bytes() for path in files})


def test_a_growing_table_and_labels_that_come_later(
    tmp_path: Path, params: Params, write_export: WriteExport, data: Path
) -> None:
    source = export(write_export, tmp_path / "second", [3])
    add(source, table(tmp_path / "all.csv", params, [1, 2, 3]), data, params)  # the table names patients that are there
    assert len(read_labels(data / "labels.csv", params.label_set)) == 9
    kept = [line for line in (data / "labels.csv").read_text().splitlines() if not line.startswith("2.25.10")]
    (data / "labels.csv").write_text("\n".join(kept) + "\n")
    said = add(source, tmp_path / "all.csv", data, params)
    assert said.startswith("0 of 3 files copied") and said.endswith("new patients: 0; slices newly labelled: 3.")
    assert len(read_labels(data / "labels.csv", params.label_set)) == 9


def refused(match: str, data: Path, *arguments: object) -> None:
    before = contents(data)
    with pytest.raises(InputError, match=match) as error:
        add(*arguments)  # type: ignore[arg-type]
    assert "\n" not in str(error.value)
    assert contents(data) == before
    assert not data.with_name(".data.partial").exists()


def test_contradictions_are_one_sentence(tmp_path: Path, params: Params, write_export: WriteExport, data: Path) -> None:
    source = export(write_export, tmp_path / "second", [2, 3])
    other = table(tmp_path / "other.csv", params, [2, 3], subdural=1)
    refused(r"contradicts .*data/labels.csv on 3 slices \(SOPInstanceUID 2.25.200, ", data, source, other, data, params)
    path = next((source / "p2").rglob("IM0"))
    image = pydicom.dcmread(path)
    image.ImageComments = "sent again"
    image.save_as(path)
    labels = table(tmp_path / "second.csv", params, [2, 3])
    refused("1 images have the SOPInstanceUID of one in .* and another content", data, source, labels, data, params)
    wrong = table(tmp_path / "wrong.csv", params, [2, 3, 5])
    path.unlink()
    refused("cannot be used for", data, source, wrong, data, params)


def test_what_nothing_can_be_added_to(tmp_path: Path, params: Params, write_export: WriteExport, data: Path) -> None:
    source = export(write_export, tmp_path / "second", [3])
    labels = table(tmp_path / "second.csv", params, [3])
    with pytest.raises(InputError, match="holds no cohort to add to"):
        add(source, labels, tmp_path / "none", params)
    pd.read_csv(labels).rename(columns={UID: "StudyInstanceUID"}).to_csv(tmp_path / "cases.csv", index=False)
    refused("labels cases, and .* holds labels of slices", data, source, tmp_path / "cases.csv", data, params)
    (data / "deidentification_report.json").write_text("{}")
    refused("holds de-identified copies, and 3 files of .* may tell whose they are", data, source, labels, data, params)
    (data / "deidentification_report.json").unlink()
    mark = json.loads((data / "cohort.json").read_text())
    (data / "cohort.json").write_text(json.dumps({**mark, "kind": "phantom"}))
    refused("holds the synthetic cohort", data, source, labels, data, params)


def test_a_report_grows(tmp_path: Path, params: Params, write_export: WriteExport, data: Path) -> None:
    source = export(write_export, tmp_path / "second", [3])
    labels = table(tmp_path / "second.csv", params, [3])
    with labels.open("a") as file:
        file.write("2.25.77," + ",".join("0" * len(params.labels.subtypes)) + "\n")
    refused("1 label", data, source, labels, data, params)
    said = add(source, labels, data, params, lenient=True)
    assert "Left out: 1 " in said
    with (data / "labels_report.csv").open() as file:
        assert [row["identifier"] for row in csv.DictReader(file)] == ["2.25.77"]


def test_a_mark_made_by_hand_is_no_fault(tmp_path: Path, params: Params, write_export: WriteExport, data: Path) -> None:
    source = export(write_export, tmp_path / "second", [3])
    (data / "cohort.json").write_text("{}")
    add(source, table(tmp_path / "second.csv", params, [3]), data, params)
    mark = json.loads((data / "cohort.json").read_text())
    assert (mark["kind"], mark["settings"]["files"]) == ("folder", 9)


def copies(write_export: WriteExport, root: Path, number: int, key: str | None) -> Path:
    """Like what ``ich deidentify`` writes of a patient: dicom/ and a report beside it."""
    rows = [{UID: f"2.25.{100 * number + n}", "PatientID": f"ICH{number:016x}", "InstanceNumber": n} for n in range(3)]
    uids = {"StudyInstanceUID": f"2.25.{9000 + number}", "SeriesInstanceUID": f"2.25.{8000 + number}"}
    write_export(root / "dicom" / f"p{number}", [row | uids for row in rows])
    if key is not None:
        (root / "report.json").write_text(json.dumps({"key": key}))
    return root / "dicom"


def test_copies_come_to_copies_of_the_same_key_alone(
    tmp_path: Path, params: Params, write_export: WriteExport, data: Path
) -> None:
    labels = table(tmp_path / "third.csv", params, [3])
    mine = copies(write_export, tmp_path / "mine", 3, "a" * 16)
    refused("a cohort with its own PatientIDs, and .*mine/dicom de-identified", data, mine, labels, data, params)
    own = copies(write_export, tmp_path / "own", 1, "a" * 16)
    bring("folder", own, table(tmp_path / "one.csv", params, [1]), data, params, replace=True)
    shutil.copy(tmp_path / "own" / "report.json", data / "deidentification_report.json")
    other = copies(write_export, tmp_path / "other", 3, "b" * 16)
    refused(f"of the key {'a' * 16}, and .* such of the key {'b' * 16}", data, other, labels, data, params)
    nameless = copies(write_export, tmp_path / "nameless", 3, None)
    refused("of a key that nothing names", data, nameless, labels, data, params)
    for wrong in ({"SOPClassUID": "1.2.840.10008.5.1.4.1.1.7"}, {"PatientID": ""}):
        image = pydicom.dcmread(next((mine / "p3").rglob("IM0")))
        for name, value in wrong.items():
            setattr(image, name, value)
        image.SOPInstanceUID = "2.25.77"
        image.save_as(mine / "beside.dcm")
        refused("and 1 files of .*mine/dicom are no such CT images", data, mine, labels, data, params)
    (mine / "beside.dcm").write_bytes(b"%PDF-1.4")
    refused("and 1 files of .*mine/dicom are no such CT images", data, mine, labels, data, params)
    (mine / "beside.dcm").unlink()
    assert add(mine, labels, data, params).startswith("3 of 3 files copied")


def test_what_comes_later_of_a_frozen_test_is_left_out(
    tmp_path: Path, params: Params, write_export: WriteExport, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    data, everyone = Path("data"), list(range(1, 7))
    labels = table(tmp_path / "first.csv", params, everyone)
    lines = labels.read_text().splitlines(keepends=True)
    labels.write_text("".join(line for line in lines if not line.startswith("2.25.102,")))  # it is labelled later
    bring("folder", export(write_export, tmp_path / "first", everyone), labels, data, params, lenient=True)
    cases, slices = cases_of(data, params)
    key = make_key(data, synthetic=False)
    manifest = Manifest(key.fingerprint, 4, 0.5)
    for name, number in ((RETROSPECTIVE, 1), (PROSPECTIVE, 2)):
        case = cases[cases["patient_key"] == patient_key(f"ID{number}")]
        digest = label_digest(
            case["case_id"], slices, read_labels(data / "labels.csv", params.label_set), params.label_set
        )
        manifest = manifest.with_test(frozen_test(name, case, key, "2026-01-01", digest))
    write_manifest(manifest)

    second = export(write_export, tmp_path / "second", [3, 7])
    slices_of_2 = [{UID: f"2.25.{200 + n}", "PatientID": "ID2", "InstanceNumber": n} for n in range(5)]
    uids = {"StudyInstanceUID": "2.25.9002", "SeriesInstanceUID": "2.25.8002"}
    write_export(second / "late", [row | uids for row in slices_of_2])  # two slices more
    archived = [
        {UID: f"2.25.{1600 + n}", "PatientID": "ID1", "StudyInstanceUID": "2.25.5", "SeriesInstanceUID": "2.25.6"}
        for n in range(3)
    ]
    write_export(tmp_path / "again", archived)
    shutil.make_archive(str(second / "again"), "zip", tmp_path / "again")
    more = table(tmp_path / "second.csv", params, [1, 2, 7, 3])
    row = more.read_text().splitlines()[1].partition(",")[2]
    extra = [*(f"2.25.{200 + n}" for n in (3, 4)), *(f"2.25.{1600 + n}" for n in range(3))]
    with more.open("a") as file:
        file.writelines(f"{uid},{row}\n" for uid in extra if uid not in more.read_text())
    said = commands_add(second, more, params, False, Remote())
    assert said.startswith("3 of 12 files copied")
    assert "Left out, since frozen tests must not change: 3 files and 6 labels of their patients." in said
    cases, slices = cases_of(data, params)
    placed = assign(cases, read_manifest(), find_key(data, manifest))
    known = read_labels(data / "labels.csv", params.label_set)
    refuse_changed(placed, manifest, placed.digests(slices, known, params.label_set))
    split = split_cases(placed.cases, params.label_set, params.split, 1, placed.tests)
    assert set(split.cohorts.loc[split.cohorts["cohort"] == RETROSPECTIVE, "patient_key"]) == {patient_key("ID1")}
    again = commands_add(second, more, params, False, Remote())
    assert f"data holds all else of {second} already; nothing was changed." in again
    write_export(tmp_path / "again" / "beside", [{"PatientID": "ID8", UID: "2.25.801", "StudyInstanceUID": "2.25.8"}])
    shutil.make_archive(str(second / "again"), "zip", tmp_path / "again")
    before = contents(data)
    with pytest.raises(InputError, match=r"again\.zip holds studies of frozen tests, .* beside others: unpack it"):
        commands_add(second, more, params, False, Remote())
    assert contents(data) == before


def cases_of(data: Path, params: Params) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Cases and slices of a folder as ingest and split know them, of one series a study."""
    rows = [
        {
            "case_id": case_id(h.study_uid),
            "patient_key": patient_key(h.patient_id),
            "StudyInstanceUID": h.study_uid,
            "SeriesInstanceUID": h.series_uid,
            "StudyDate": h.study_date,
            UID: h.sop_instance_uid,
        }
        for h in read_headers(list_folder(data / "dicom").files, params.ingest)
    ]
    slices = pd.DataFrame(rows).sort_values(["case_id", UID], ignore_index=True)
    cases = slices.drop(columns=UID).drop_duplicates("case_id", ignore_index=True)
    return cases.assign(person=cases["patient_key"], **dict.fromkeys(params.label_set.columns, 0)), slices


@pytest.mark.long
def test_a_kill_leaves_the_old_or_the_new(
    tmp_path: Path, params: Params, write_export: WriteExport, data: Path, project_root: Path
) -> None:
    source = export(write_export, tmp_path / "second", list(range(3, 12)))
    table(tmp_path / "second.csv", params, list(range(3, 12)))
    old = contents(data)
    shutil.copy(project_root / "ich_pipeline" / "profiles" / "phantom.yaml", tmp_path / "params.yaml")
    command = [sys.executable, "-m", "ich_pipeline.cli.main", "cohort", "add", str(source), "--labels", "second.csv"]
    environment = {**os.environ, "PYTHONPATH": str(project_root)}
    began = time.monotonic()
    assert subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True).returncode == 0
    whole, new = time.monotonic() - began, contents(data)
    assert len(new) == len(old) + 27
    for share in (0.8, 0.95):
        shutil.rmtree(data)
        for name, content in old.items():
            (data / name).parent.mkdir(parents=True, exist_ok=True)
            (data / name).write_bytes(content)
        process = subprocess.Popen(
            command, cwd=tmp_path, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        time.sleep(whole * share)
        process.send_signal(signal.SIGKILL)
        process.wait()
        if data.exists():
            assert contents(data) in (old, new)
        assert subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True).returncode == 0
        assert contents(data) == new
