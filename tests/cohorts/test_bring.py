"""A user's export comes into data/ whole, checked, and nothing else changes."""

from __future__ import annotations

import csv
import json
import re
import shutil
import tarfile
import zipfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import data_store  # the package pydicom-data
import numpy as np
import pandas as pd
import pydicom
import pytest

from flows.engine import data as flow_data
from ich_pipeline.cohorts import bring as adapters
from ich_pipeline.config import Params
from ich_pipeline.core.errors import InputError
from ich_pipeline.tables.cohort_mark import has_case_labels_only
from ich_pipeline.tables.label_tables import STUDY, UID, read_case_labels, read_labels
from ich_pipeline.tables.masks import read_masks

WriteExport = Callable[[Path, Sequence[Mapping[str, object]]], Path]


def bring_folder(
    source: Path, labels: Path, target: Path, params: Params, replace: bool = False, lenient: bool = False
) -> str:
    return adapters.bring("folder", source, labels, target, params, replace=replace, lenient=lenient)[0]


def report(data: Path) -> list[tuple[str, str, str, str]]:
    """code, kind, identifier and line of every row of the report."""
    with (data / "labels_report.csv").open(encoding="utf-8", newline="") as file:
        header, *rows = csv.reader(file)
    assert header == ["code", "kind", "identifier", "line", "detail"]
    return [(code, kind, identifier, line) for code, kind, identifier, line, _ in rows]


@pytest.fixture
def source(tmp_path: Path, write_export: WriteExport) -> Path:
    """Three CT slices of one series and a text file, in folders."""
    root = write_export(tmp_path / "export", [{UID: f"2.25.{100 + n}"} for n in range(3)])
    (root / "README.txt").write_text("an export, and a file that is no DICOM")
    return root


def write_table(path: Path, params, uids: list[str], **columns: list[int]) -> Path:
    names = params.labels.subtypes
    table = pd.DataFrame({"SOPInstanceUID": uids} | {n: columns.get(n, [0] * len(uids)) for n in names})
    table.to_csv(path, index=False)
    return path


ALL = [f"2.25.{100 + n}" for n in range(3)]


def snapshot(folder: Path) -> dict[str, tuple[bytes, int]]:
    return {
        str(p.relative_to(folder)): (p.read_bytes(), p.stat().st_mtime_ns) for p in folder.rglob("*") if p.is_file()
    }


def test_round_trip(tmp_path, params, source):
    labels = write_table(tmp_path / "mine.csv", params, ["2.25.102", "2.25.100", "2.25.101"], subdural=[1, 0, 0])
    before = snapshot(source)
    summary = bring_folder(source, labels, tmp_path / "data", params)
    assert snapshot(source) == before
    copied = snapshot(tmp_path / "data" / "dicom")
    assert {name: data for name, (data, _) in copied.items()} == {name: data for name, (data, _) in before.items()}
    table = read_labels(tmp_path / "data" / "labels.csv", params.label_set)
    assert table["SOPInstanceUID"].tolist() == ["2.25.100", "2.25.101", "2.25.102"]
    assert table["any"].tolist() == [0, 0, 1]
    assert table["subdural"].tolist() == [0, 0, 1]
    assert (tmp_path / "data" / "readers.csv").read_text() == "reader,case,decision\n"
    assert len(read_masks(tmp_path / "data" / "masks.csv")) == 0
    mark = json.loads((tmp_path / "data" / "cohort.json").read_text())
    assert mark["kind"] == "folder" and len(mark["settings_sha256"]) == 64
    assert str(tmp_path) not in json.dumps(mark)
    assert summary == "4 files copied, 3 CT images among them, 3 labelled (1 with any)."
    assert report(tmp_path / "data") == []
    assert sorted(path.name for path in (tmp_path / "data").iterdir()) == [
        "cohort.json", "dicom", "labels.csv", "labels_report.csv", "masks.csv", "readers.csv",
    ]  # fmt: skip


def test_the_order_of_rows_does_not_change_a_byte(tmp_path, params, source):
    uids = ["2.25.102", "2.25.100", "2.25.101"]
    for name, order in (("a", uids), ("b", uids[::-1])):
        bring_folder(source, write_table(tmp_path / f"{name}.csv", params, order), tmp_path / name, params)
    for name in ("labels.csv", "cohort.json", "labels_report.csv"):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()


def test_order_and_case_of_columns_do_not_matter(tmp_path, params, source):
    names = [n.upper() for n in reversed(params.labels.subtypes)]
    rows = np.eye(len(names), dtype=int)[0]
    cells = ",".join([*map(str, rows), "1"])
    lines = [",".join([*names, "ANY", "sopinstanceuid"]), *(f"{cells},2.25.{100 + n}" for n in range(3))]
    (tmp_path / "mine.csv").write_text("\n".join(lines))
    bring_folder(source, tmp_path / "mine.csv", tmp_path / "data", params)
    table = read_labels(tmp_path / "data" / "labels.csv", params.label_set)
    assert table[list(params.label_set.columns)].to_numpy().tolist() == [[1, 0, 0, 0, 0, 1]] * 3


def check_refused(tmp_path, params, source, labels, match, **options) -> None:
    """One sentence, and not a byte of anything has changed."""
    before = snapshot(tmp_path)
    with pytest.raises(InputError, match=match) as error:
        bring_folder(source, labels, tmp_path / "data", params, **options)
    assert "\n" not in str(error.value)
    assert snapshot(tmp_path) == before


def test_labels_of_unknown_slices(tmp_path, params, source):
    uids = [*ALL, *(f"2.25.{n}" for n in range(900, 905))]
    labels = write_table(tmp_path / "mine.csv", params, uids)
    check_refused(
        tmp_path, params, source, labels,
        r"mine\.csv cannot be used for .*export as it is: 5 labels without an image in the folder "
        r"\(line 5 2\.25\.900, line 6 2\.25\.901, line 7 2\.25\.902, …\); mend these, or add --lenient",
    )  # fmt: skip
    summary = bring_folder(source, labels, tmp_path / "data", params, lenient=True)
    assert "3 labelled" in summary and "Left out: 5 labels without an image in the folder." in summary
    assert report(tmp_path / "data") == [("unknown_image", "fault", f"2.25.{900 + n}", str(5 + n)) for n in range(5)]
    mark = json.loads((tmp_path / "data" / "cohort.json").read_text())
    assert mark["settings"]["left_out"] == {"unknown_image": 5}


def test_every_kind_of_fault_is_counted_in_one_sentence_and_left_out_when_told(tmp_path, params, write_export):
    source = write_export(tmp_path / "export", [{UID: f"2.25.{100 + n}"} for n in range(9)])
    rows = [
        "2.25.100,1,0,0,0,0,1",
        "2.25.101,0,0,0,0,0,0",
        "2.25.101,0,0,0,0,0,0",  # equal
        "2.25.102,0,0,0,0,0,0",
        "2.25.102,1,1,0,0,0,0",  # contradicting
        "2.25.103,0,1,0,0,0,0",  # any too low
        "2.25.104,1,0,0,0,0,0",  # any too high
        "2.25.105,0,0,x,0,0,0",
        "2.25.106,0,0",
        ",0,0,0,0,0,0",
        "2.25.999,0,0,0,0,0,0",
        "2.25.107,0,0,0,0,0,0",
    ]
    header = ",".join([UID, *params.label_set.columns])
    labels = tmp_path / "mine.csv"
    labels.write_text("\n".join([header, *rows]) + "\n")
    words = (
        "1 row with another number of values than the header (line 10: 3 values, 7 columns); "
        "1 row without a usable identifier (line 11: ,0,0,0,0,0,0); "
        "1 row with a value other than 0 or 1 (line 9 2.25.105: intraparenchymal is 'x'); "
        "1 repeated row that says the same (line 4 2.25.101: first in line 3); "
        "1 slice or case with rows that contradict one another (line 6 2.25.102: any is '1', in line 5 '0'); "
        "2 rows whose subtypes contradict their “any” (line 7 2.25.103: any is 0, but a subtype is 1, "
        "line 8 2.25.104: any is 1, but no subtype is 1); "
        "1 label without an image in the folder (line 12 2.25.999); "
        "2 slices without a label in labelled series (2.25.106, 2.25.108); mend these"
    )
    check_refused(tmp_path, params, source, labels, re.escape(words))
    summary = bring_folder(source, labels, tmp_path / "data", params, lenient=True)
    assert read_labels(tmp_path / "data/labels.csv", params.label_set)[UID].tolist() == [
        "2.25.100", "2.25.101", "2.25.107",
    ]  # fmt: skip
    assert len(report(tmp_path / "data")) == 10
    assert "3 labelled (1 with any)" in summary and summary.endswith("labels_report.csv.")
    assert len(list((tmp_path / "data" / "dicom").rglob("IM[0-9]"))) == 9


def test_a_label_table_of_another_folder_is_refused_even_so(tmp_path, params, source):
    labels = write_table(tmp_path / "mine.csv", params, ["2.25.7", "2.25.8"])
    check_refused(tmp_path, params, source, labels, "labels nothing that is in", lenient=True)


def test_holes_and_unlabelled_studies_are_faults_other_series_are_not(tmp_path, params, write_export):
    slices = [{UID: f"2.25.{100 + n}"} for n in range(3)]
    slices.append({UID: "2.25.200", "SeriesInstanceUID": "2.25.3"})  # a second series of the study
    slices += [{UID: f"2.25.{300 + n}", STUDY: "2.25.4", "SeriesInstanceUID": "2.25.5"} for n in range(2)]
    source = write_export(tmp_path / "export", slices)
    labels = write_table(tmp_path / "mine.csv", params, ["2.25.100", "2.25.101"])
    check_refused(
        tmp_path, params, source, labels,
        r"1 slice without a label in a labelled series \(2\.25\.102\); 1 study without any label \(2\.25\.4: 2 slices\);",
    )  # fmt: skip
    summary = bring_folder(source, labels, tmp_path / "data", params, lenient=True)
    assert "Noted: 1 series without a label in a labelled study." in summary
    assert report(tmp_path / "data") == [
        ("unlabelled_slice", "fault", "2.25.102", ""),
        ("unlabelled_study", "fault", "2.25.4", ""),
        ("unlabelled_series", "note", "2.25.3", ""),
    ]


def test_a_table_with_a_row_a_study_gives_case_labels(tmp_path, params, write_export, monkeypatch):
    slices = [{UID: f"2.25.{n}", STUDY: f"2.25.{50 + n % 2}"} for n in range(100, 104)]
    source = write_export(tmp_path / "export", slices)
    labels = tmp_path / "mine.csv"
    labels.write_text(
        "studyinstanceuid,any," + ",".join(params.labels.subtypes) + "\n2.25.51,1,0,0,0,0,0\n2.25.50,0,0,0,0,0,0\n"
    )
    summary, level = adapters.bring("folder", source, labels, tmp_path / "data", params)
    assert level == "case"
    assert "2 cases labelled (1 with any). Noted: 1 case with haemorrhage but no subtype." in summary
    table = read_case_labels(tmp_path / "data/case_labels.csv", params.label_set)
    assert table[[STUDY, "any"]].to_numpy().tolist() == [["2.25.50", 0], ["2.25.51", 1]]
    assert len(read_labels(tmp_path / "data/labels.csv", params.label_set)) == 0
    assert has_case_labels_only(tmp_path / "data")
    monkeypatch.chdir(tmp_path)
    before = snapshot(tmp_path)
    with pytest.raises(InputError, match="labels of cases only, and training needs a label for every slice"):
        flow_data.ensure(params)
    assert snapshot(tmp_path) == before


def test_one_case_is_counted_as_one(tmp_path, params, write_export):
    source = write_export(tmp_path / "export", [{UID: "2.25.100"}])
    (tmp_path / "mine.csv").write_text(f"{STUDY},{','.join(params.labels.subtypes)},\n2.25.1,0,0,0,0,0,\n,,,,,,\n")
    summary = bring_folder(source, tmp_path / "mine.csv", tmp_path / "data", params)
    assert summary == "1 file copied, 1 CT image among them, 1 case labelled (0 with any)."


def test_unknown_column(tmp_path, params, source):
    labels = write_table(tmp_path / "mine.csv", params, ALL)
    table = pd.read_csv(labels, dtype=str)
    table["chronic"] = "0"
    table.to_csv(labels, index=False)
    check_refused(tmp_path, params, source, labels, "chronic")


def test_source_missing_empty_without_ct_or_around_the_target(tmp_path, params, source):
    labels = write_table(tmp_path / "mine.csv", params, ALL)
    check_refused(tmp_path, params, tmp_path / "nowhere", labels, "nowhere is missing: name a folder, an archive")
    (tmp_path / "empty").mkdir()
    check_refused(tmp_path, params, tmp_path / "empty", labels, "holds no files")
    (tmp_path / "text").mkdir()
    (tmp_path / "text" / "a").write_text("nothing to see here, really")
    check_refused(tmp_path, params, tmp_path / "text", labels, "no CT image")
    check_refused(tmp_path, params, tmp_path, labels, "contain one another")
    check_refused(tmp_path, params, source, tmp_path / "none.csv", "none.csv is missing")


def test_only_a_phantom_is_replaced(tmp_path, params, source):
    labels = write_table(tmp_path / "mine.csv", params, ALL)
    data = tmp_path / "data"
    data.mkdir()
    (data / "dicom").mkdir()
    (data / "dicom" / "precious").write_text("mine")
    check_refused(tmp_path, params, source, labels, "not a phantom")
    (data / "cohort.json").write_text(json.dumps({"kind": "folder"}))
    check_refused(tmp_path, params, source, labels, "not a phantom")
    (data / "cohort.json").write_text(json.dumps({"kind": "phantom"}))
    bring_folder(source, labels, data, params)
    assert not (data / "dicom" / "precious").exists()
    check_refused(tmp_path, params, source, labels, "not a phantom")
    first = {name: content for name, (content, _) in snapshot(data).items()}
    bring_folder(source, labels, data, params, replace=True)
    assert {name: content for name, (content, _) in snapshot(data).items()} == first


def test_a_file_that_cannot_be_read_is_named(tmp_path, params, source):
    labels = write_table(tmp_path / "mine.csv", params, ALL)
    (source / "lost").symlink_to(source / "nowhere")
    with pytest.raises(InputError, match="lost cannot be read"):
        bring_folder(source, labels, tmp_path / "data", params)
    assert not (tmp_path / "data").exists()
    shutil.rmtree(source)


def zipped(folder: Path, place: Path, name: str = "{}") -> Path:
    """The files below a folder as a zip; ``name`` says how members are called."""
    with zipfile.ZipFile(place, "w", zipfile.ZIP_DEFLATED) as archive:
        for path in sorted(p for p in folder.rglob("*") if p.is_file()):
            archive.write(path, name.format(path.relative_to(folder).as_posix()))
    return place


def test_an_archive_is_copied_whole_and_its_slices_meet_their_labels(tmp_path, params, source):
    """A zip in a tar in a folder, and the zip itself as the source, give the labels that the folder gives."""
    labels = write_table(tmp_path / "mine.csv", params, ALL, subdural=[1, 0, 0])
    bring_folder(source, labels, tmp_path / "plain", params)
    inner = zipped(source, tmp_path / "study.zip")
    folder = tmp_path / "folder"
    folder.mkdir()
    with tarfile.open(folder / "all.tar.gz", "w:gz") as archive:
        archive.add(inner, "deep/study.zip")
    sentence = "1 file copied, 3 CT images among them and their members, 3 labelled (1 with any)."
    for name, export, copied in (("a", inner, "study.zip"), ("b", folder, "all.tar.gz")):
        before = snapshot(export.parent)
        assert bring_folder(export, labels, tmp_path / name / "data", params) == sentence
        assert {k: v for k, v in snapshot(export.parent).items() if not k.startswith(f"{name}/")} == before
        data = tmp_path / name / "data"
        assert {p: c for p, (c, _) in snapshot(data / "dicom").items()} == {
            copied: (export if export.is_file() else export / copied).read_bytes()
        }
        assert (data / "labels.csv").read_bytes() == (tmp_path / "plain" / "labels.csv").read_bytes()
        assert report(data) == []
        assert [path.name for path in data.parent.iterdir()] == ["data"], "no member is left"


def test_what_an_archive_does_not_hand_over_is_named(tmp_path, params, source):
    labels = write_table(tmp_path / "mine.csv", params, ALL)
    whole = zipped(source, tmp_path / "whole.zip").read_bytes()
    export = tmp_path / "archives"
    export.mkdir()
    (export / "cut.zip").write_bytes(whole[: len(whole) // 2])
    zipped(source, export / "up.zip", "../{}")
    check_refused(
        tmp_path, params, zipped(source, tmp_path / "only.zip", "../{}"), labels,
        r"only\.zip holds no CT image among its 5 files \(not read: only\.zip/\.\./README\.txt: archive_member_unsafe",
    )  # fmt: skip
    zipped(source, export / "whole.zip")
    check_refused(
        tmp_path, params, export, labels,
        r"files or archives that cannot be read whole \(cut\.zip: archive_broken, .*mend these, or add --lenient",
    )  # fmt: skip
    summary = bring_folder(export, labels, tmp_path / "data", params, lenient=True)
    assert "3 labelled" in summary and "files or archives that cannot be read whole" in summary
    named = {identifier for code, _, identifier, _ in report(tmp_path / "data") if code == "not_read"}
    assert "cut.zip" in named and sum(name.startswith("up.zip/../") for name in named) == 4
    assert sorted(p.name for p in (tmp_path / "data" / "dicom").iterdir()) == ["cut.zip", "up.zip", "whole.zip"]


def test_archives_stay_within_the_limits_of_params(tmp_path, params, source):
    labels = write_table(tmp_path / "mine.csv", params, ALL)
    archives = params.ingest.archives.model_copy(update={"members": 2})
    tight = params.model_copy(update={"ingest": params.ingest.model_copy(update={"archives": archives})})
    export = zipped(source, tmp_path / "study.zip")
    check_refused(tmp_path, tight, export, labels, r"study\.zip.* archive_bomb")
    assert not list(tmp_path.glob(".*"))


def test_a_dicomdir_brings_the_files_that_it_names(tmp_path, params, write_export):
    from pydicom.fileset import FileSet

    made = write_export(tmp_path / "made", [{UID: uid} for uid in ALL])
    files = FileSet()
    for path in sorted(made.rglob("IM[0-9]")):
        ds = pydicom.dcmread(path)
        ds.PatientID, ds.PatientName = "7", "A^B"
        files.add(ds)
    files.write(tmp_path / "disc")
    (tmp_path / "disc" / "viewer.exe").write_bytes(b"no part of the file-set")
    labels = write_table(tmp_path / "mine.csv", params, ALL)
    summary = bring_folder(tmp_path / "disc" / "DICOMDIR", labels, tmp_path / "data", params)
    assert summary.startswith("4 files copied, 3 CT images among them, 3 labelled")
    copied = snapshot(tmp_path / "data" / "dicom")
    assert "DICOMDIR" in copied and "viewer.exe" not in copied and len(copied) == 4


def test_a_link_to_a_folder_is_named(tmp_path, params, source):
    labels = write_table(tmp_path / "mine.csv", params, ALL)
    (source / "elsewhere").symlink_to(tmp_path, target_is_directory=True)
    with pytest.raises(
        InputError, match=r"1 file or archive that cannot be read whole \(elsewhere: unreadable, a link"
    ):
        bring_folder(source, labels, tmp_path / "data", params)


@pytest.mark.parametrize("whole", [True, False], ids=["frames judged one by one", "a part of a concatenation"])
def test_labels_of_frames_that_the_ingest_does_not_use_are_known(tmp_path, params, source, whole):
    """Two perfusion maps in one enhanced object: set aside, as single slices of another series would be."""
    [path] = Path(next(iter(data_store.__path__))).rglob("eCT_Supplemental.dcm")
    ds = pydicom.dcmread(path)
    if not whole:
        ds.ConcatenationUID = "2.25.5"
    ds.save_as(source / "enhanced")
    frames = [f"{ds.SOPInstanceUID}#{n}" for n in (1, 2)]
    wrong = write_table(tmp_path / "wrong.csv", params, [*ALL, frames[0], f"{ds.SOPInstanceUID}#3"])
    check_refused(tmp_path, params, source, wrong, r"1 label without an image in the folder \(line 6 .*#3\)")
    summary = bring_folder(
        source, write_table(tmp_path / "mine.csv", params, [*ALL, *frames]), tmp_path / "data", params
    )
    assert "5 labelled" in summary and report(tmp_path / "data") == []
    assert set(frames) <= set(read_labels(tmp_path / "data" / "labels.csv", params.label_set)[UID])
    bring_folder(source, write_table(tmp_path / "some.csv", params, ALL), tmp_path / "none", params)
    assert report(tmp_path / "none") == [], "a frame that is not used needs no label"
