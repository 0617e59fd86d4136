"""The ingest of whole folders: every file accounted for, the right series chosen, the same bytes however it is run."""

from __future__ import annotations

import dataclasses
import operator
import shutil
from collections.abc import Hashable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from pydicom.uid import (
    MediaStorageDirectoryStorage,
    MRImageStorage,
    SecondaryCaptureImageStorage,
)

from ich_pipeline.core.errors import InputError
from ich_pipeline.core.files import read_table
from ich_pipeline.dicom.header import Header
from ich_pipeline.dicom.identity import case_id, patient_key, volume_name
from ich_pipeline.dicom.reasons import Reason, Status
from ich_pipeline.ingest.ingest import ingest
from ich_pipeline.ingest.scan import read_headers, read_studies, scan
from ich_pipeline.ingest.tables import account_table
from ich_pipeline.ingest.volumes import read_volume
from ich_pipeline.tables.schemas import SERIES_TABLE, SLICES_TABLE


def reasons(account: pd.DataFrame) -> dict[str, str]:
    return dict(zip(account["path"], account["reason"], strict=True))


def tree(folder: Path) -> dict[str, bytes]:
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


@pytest.fixture
def mixed_folder(tmp_path, make_slice, save_slice, save_series):
    """Two good studies and one file, or series, for nearly every reason."""
    root = tmp_path / "dicom"
    save_series(root / "one" / "axial", 6)
    save_series(root / "one" / "bone", 8, series="bone", ConvolutionKernel="H60s")
    save_series(root / "one" / "short", 4, series="short", SeriesNumber=1)
    save_series(root / "two" / "axial", 5, patient="P2", study="two", signed=False)
    save_series(root / "few", 2, patient="P3", study="few")
    save_series(root / "contrast", 4, patient="P4", study="contrast", ContrastBolusAgent="IOMERON")
    save_series(root / "nobody", 4, patient="", study="nobody")
    save_series(root / "mixed" / "a", 3, patient="P5", study="mixed", series="a")
    save_series(root / "mixed" / "b", 3, patient="P6", study="mixed", series="b")
    odd = {
        "localizer": {"ImageType": ["ORIGINAL", "PRIMARY", "LOCALIZER"]},
        "secondary": {"ImageType": ["DERIVED", "SECONDARY", "AXIAL"]},
        "screenshot": {"SOPClassUID": SecondaryCaptureImageStorage},
        "reformat": {"ImageType": ["DERIVED", "PRIMARY", "MPR"]},
        "mr": {"SOPClassUID": MRImageStorage, "Modality": "MR"},
        "directory": {"SOPClassUID": MediaStorageDirectoryStorage},
        "coronal": {"ImageOrientationPatient": [1, 0, 0, 0, 0, -1]},
        "thick": {"SliceThickness": "40"},
        "frames": {"NumberOfFrames": 2},
        "density": {"RescaleType": "ED"},
        "no_position": {"ImagePositionPatient": None},
        "no_pixels": {"PixelData": None},
        "bent": {"ImageOrientationPatient": [1, 0, 0, 1, 0, 0]},
        "no_series": {"SeriesInstanceUID": None},
    }
    for name, fields in odd.items():
        save_slice(make_slice(patient="P9", study="odd", series=name, **fields), root / "odd" / name)
    (root / "empty").write_bytes(b"")
    (root / "notes.txt").write_text("not DICOM, but more than sixteen bytes of text")
    (root / "begins").write_bytes(b"\0" * 128 + b"DICM" + b"\xff" * 40)
    (root / "dangling").symlink_to(root / "nowhere")
    return root


EXPECTED = {
    "one/short": "not_chosen",
    "one/bone": "bone_kernel",
    "one/axial": "used",
    "two/axial": "used",
    "few": "too_few_slices",
    "contrast": "contrast",
    "nobody": "no_patient_id",
    "mixed": "mixed_identity",
    "odd/localizer": "localizer",
    "odd/secondary": "secondary",
    "odd/screenshot": "secondary",
    "odd/reformat": "reformatted",
    "odd/mr": "not_ct",
    "odd/directory": "media_directory",
    "odd/coronal": "not_axial",
    "odd/thick": "thickness_out_of_range",
    "odd/frames": "multi_frame",
    "odd/density": "not_hu",
    "odd/no_position": "header_incomplete",
    "odd/no_pixels": "pixels_missing",
    "odd/bent": "geometry_invalid",
    "odd/no_series": "header_incomplete",
    "empty": "empty_file",
    "notes.txt": "not_dicom",
    "begins": "broken_header",
    "dangling": "unreadable",
}


def test_every_file_has_its_reason(mixed_folder, tmp_path, ingest_params):
    report = ingest(mixed_folder, tmp_path / "out", ingest_params)
    files = sorted(p.relative_to(mixed_folder).as_posix() for p in mixed_folder.rglob("*") if not p.is_dir())
    assert report.account["path"].tolist() == files
    for path, reason in reasons(report.account).items():
        expected = next(r for prefix, r in EXPECTED.items() if path == prefix or path.startswith(prefix + "/"))
        assert (path, reason) == (path, expected)
    assert (report.account["status"] == [Reason(r).status for r in report.account["reason"]]).all()
    assert report.summary.startswith(f"{len(files)} files: 11 used, ")
    assert "Secret" not in report.account.to_csv()


def test_tables_and_volumes_agree(mixed_folder, tmp_path, ingest_params, make_anatomy):
    ingest(mixed_folder, tmp_path / "out", ingest_params)
    series = read_table(tmp_path / "out" / "series.parquet", SERIES_TABLE)
    slices = read_table(tmp_path / "out" / "slices.parquet", SLICES_TABLE)
    account = pd.read_csv(tmp_path / "out" / "account.csv", keep_default_na=False)
    used = account[account["status"] == "used"]
    assert sorted(slices["path"]) == sorted(used["path"])
    assert set(slices["SOPInstanceUID"]) == set(used["SOPInstanceUID"])
    chosen = series[series["chosen"]].set_index("volume")
    assert len(chosen) == 2 and (series.loc[~series["chosen"], "volume"] == "").all()
    assert (series["case_id"] == series["StudyInstanceUID"].map(case_id)).all()
    assert (series["patient_key"] == series["PatientID"].map(patient_key)).all()
    assert slices["case_id"].is_monotonic_increasing
    for name, group in slices.groupby("volume"):
        hu = read_volume(tmp_path / "out" / "volumes" / f"{name}.b2nd")
        row = chosen.loc[str(name)].to_dict()
        assert name == volume_name(row["SeriesInstanceUID"])
        assert hu.shape == (row["slices"], row["Rows"], row["Columns"]) == (len(group), 32, 32)
        assert group["position_mm"].is_monotonic_increasing
        assert group["index"].tolist() == list(range(len(group)))
        assert group["hu_min"].tolist() == hu.min(axis=(1, 2)).tolist()
        assert group["hu_median"].tolist() == np.median(hu, axis=(1, 2)).round().tolist()
        study = {"P1": "study", "P2": "two"}[row["PatientID"]]
        for item in group.to_dict("records"):
            expected = make_anatomy((row["PatientID"], study, item["InstanceNumber"]))
            np.testing.assert_array_equal(hu[item["index"]], expected)
    short = series[series["reason"].str.startswith("not_chosen")]
    assert short["reason"].tolist() == ["not_chosen: covers 20 mm, the chosen series 30 mm"]


def test_same_bytes_whatever_the_workers(mixed_folder, tmp_path, ingest_params):
    for workers in (1, 3):
        ingest(mixed_folder, tmp_path / f"out{workers}", ingest_params.model_copy(update={"workers": workers}))
    assert tree(tmp_path / "out1") == tree(tmp_path / "out3")


def test_names_and_layout_do_not_change_what_is_read(mixed_folder, tmp_path, ingest_params):
    flat = tmp_path / "flat"
    flat.mkdir()
    for i, path in enumerate(sorted((p for p in mixed_folder.rglob("*") if p.is_file()), reverse=True)):
        shutil.copyfile(path, flat / f"{i:05d}")
    one = ingest(mixed_folder, tmp_path / "a", ingest_params)
    other = ingest(flat, tmp_path / "b", ingest_params)
    pd.testing.assert_frame_equal(one.slices.drop(columns="path"), other.slices.drop(columns="path"))
    pd.testing.assert_frame_equal(one.series, other.series)


def test_gaps_duplicates_and_copies(tmp_path, make_slice, save_slice, ingest_params):
    root = tmp_path / "dicom"
    for n in (1, 2, 3, 4, 7, 8, 9):  # 5 and 6 are missing
        save_slice(make_slice(number=n), root / f"{n}")
    shutil.copyfile(root / "2", root / "2_copy")
    save_slice(make_slice(number=30, position=(-80, -80, 15.02)), root / "again")  # at the position of slice 3
    report = ingest(root, tmp_path / "out", ingest_params)
    found = reasons(report.account)
    assert found["2_copy"] == "duplicate_instance"
    assert found["again"] == "duplicate_position"
    row = report.series.iloc[0]
    assert (row["slices"], row["gaps"], row["duplicates"]) == (7, 1, 2)
    assert report.slices["neighbour_after"].tolist() == [1, 2, 3, -1, 5, 6, -1]
    assert report.slices["neighbour_before"].tolist() == [-1, 0, 1, 2, -1, 4, 5]


def test_a_broken_slice_leaves_its_neighbours_and_its_copy_steps_in(tmp_path, save_series, ingest_params):
    root = tmp_path / "dicom"
    paths = save_series(root, 7)
    whole = paths[2].read_bytes()
    for path in (paths[2], paths[4]):
        path.write_bytes(path.read_bytes()[:-300])
    (root / "copy_of_third").write_bytes(whole)
    report = ingest(root, tmp_path / "out", ingest_params)
    found = reasons(report.account)
    assert (found[paths[2].name], found[paths[4].name]) == ("decode_failed", "decode_failed")
    assert found["copy_of_third"] == "used"
    assert report.slices["InstanceNumber"].tolist() == [1, 2, 3, 4, 6, 7]
    assert report.slices["neighbour_after"].tolist() == [1, 2, 3, -1, 5, -1]


def test_where_the_first_choice_cannot_be_decoded_the_next_series_is_read(tmp_path, save_series, ingest_params):
    root = tmp_path / "dicom"
    for path in save_series(root / "long", 8, series="long")[:6]:
        path.write_bytes(path.read_bytes()[:-300])
    save_series(root / "short", 5, series="short")
    report = ingest(root, tmp_path / "out", ingest_params)
    assert report.account["reason"].value_counts().to_dict() == {"decode_failed": 6, "used": 5, "too_few_slices": 2}
    assert sorted(report.series["chosen"]) == [False, True]


@dataclasses.dataclass(frozen=True)
class Deadly:
    """Stands for a file on which a decoder, or the reader of headers, ends the process or never comes back."""

    code: str

    def open(self, mode: str) -> None:
        eval(self.code)


SEGFAULT = Deadly("__import__('os').kill(__import__('os').getpid(), 11)")
HANG = Deadly("sum(range(10**15))")  # a loop within C: no Python handler would run


def test_a_file_that_kills_or_hangs_the_decoder_is_rejected_alone(tmp_path, save_series, ingest_params):
    root = tmp_path / "dicom"
    save_series(root / "a", 6)
    save_series(root / "b", 5, patient="P2", study="two")
    found = scan(root, ingest_params)
    first, second = (found.studies[0][0].slots[i][0] for i in (2, 4))
    object.__setattr__(first, "source", SEGFAULT)
    object.__setattr__(second, "source", HANG)
    pixels = ingest_params.pixels.model_copy(update={"seconds_per_file": 2.0})
    params = ingest_params.model_copy(update={"pixels": pixels})
    readings = list(read_studies(found.studies, params, operator.attrgetter("verdicts")))
    account = account_table(found.headers, found.verdicts | readings[0] | readings[1])
    assert account["reason"].value_counts().to_dict() == {"used": 9, "decoder_crashed": 1, "timed_out": 1}
    assert reasons(account)[first.name] == "decoder_crashed"
    assert reasons(account)[second.name] == "timed_out"


def test_a_header_that_kills_or_hangs_its_reader_is_rejected_alone(tmp_path, save_series, ingest_params, monkeypatch):
    monkeypatch.setattr("ich_pipeline.ingest.scan.PARALLEL_FROM", 1)
    files = [(path, path.name) for path in save_series(tmp_path, 6)]
    files[1] = (SEGFAULT, "segfault")
    files[4] = (HANG, "hang")
    pixels = ingest_params.pixels.model_copy(update={"seconds_per_file": 1.0})
    headers = read_headers(files, ingest_params.model_copy(update={"workers": 2, "pixels": pixels}))
    assert [h.name for h in headers] == [name for _, name in files]
    assert [h.reason for h in headers] == [None, "decoder_crashed", None, None, "timed_out", None]


def test_what_a_series_has_in_common_is_held_once(tmp_path, save_series, ingest_params):
    files = [(path, path.name) for path in save_series(tmp_path, 3, ConvolutionKernel="H30s")]
    first, *others = read_headers(files, ingest_params)
    for header in others:
        assert header.series_uid is first.series_uid and header.kernel is first.kernel
        assert header.orientation is first.orientation and header.orientation == (1.0, 0.0, 0.0, 0.0, 1.0, 0.0)
        assert header.sop_instance_uid != first.sop_instance_uid


def test_sharing_changes_no_value():
    """0.0 and -0.0 are equal, 1 and 1.0 are too, and a text may look like a number."""
    orientations = [(1.0, 0.0), (1.0, -0.0), None]
    headers = [
        Header("a", b"", orientation=o, thickness_mm=t, kernel=k)
        for o in orientations
        for t in (0.0, -0.0, 1.0, None)
        for k in ("", "None", "1.0", "(1.0, 0.0)")
    ]
    seen: dict[Hashable, object] = {}
    assert [repr(header.sharing(seen)) for header in headers] == [repr(header) for header in headers]
    assert [repr(header.sharing(seen)) for header in reversed(headers)] == [
        repr(header) for header in reversed(headers)
    ]


def test_without_prefix_and_meta_information(tmp_path, make_slice, make_anatomy, ingest_params):
    root = tmp_path / "dicom"
    root.mkdir()
    for n in range(1, 5):
        ds = make_slice(number=n)
        del ds.file_meta
        if n == 1:  # explicit big endian, retired but found in old archives
            ds.PixelData = np.frombuffer(ds.PixelData, "<i2").astype(">i2").tobytes()
        ds.save_as(root / f"{n}", implicit_vr=n % 2 == 0, little_endian=n > 1)
        assert (root / f"{n}").read_bytes()[128:132] != b"DICM"
    report = ingest(root, tmp_path / "out", ingest_params)
    assert set(report.account["reason"]) == {"used"}
    hu = read_volume(next((tmp_path / "out" / "volumes").iterdir()))
    np.testing.assert_array_equal(hu, np.stack([make_anatomy(("P1", "study", n)) for n in range(1, 5)]))


def test_a_carriage_return_in_a_header_ends_no_row(tmp_path, make_slice, save_slice, save_series, ingest_params):
    save_series(tmp_path / "in", 4)
    ds = make_slice(patient="P2", study="two", ImageType=["ORIGINAL", "PRIMARY", "LOCALIZER"])
    path = save_slice(ds, tmp_path / "in" / "odd")
    uid = ds.SOPInstanceUID.encode()
    data = path.read_bytes().replace(b"ORIGINAL", b"ORI\rINAL").replace(uid, uid[:9] + b"\r" + uid[10:])
    path.write_bytes(data)
    ingest(tmp_path / "in", tmp_path / "out", ingest_params)
    account = pd.read_csv(tmp_path / "out" / "account.csv", dtype=str, keep_default_na=False)
    assert len(account) == 5 and b"\r" not in (tmp_path / "out" / "account.csv").read_bytes()
    [odd] = account[account["path"] == "odd"].to_dict("records")
    assert [odd["reason"], odd["detail"]] == [
        "localizer",
        "ImageType ORI INAL/PRIMARY/LOCALIZER",
    ]


@pytest.mark.parametrize(
    "make", [lambda p: None, lambda p: p.mkdir(), lambda p: (p.mkdir(), (p / "x").write_text("x" * 99))]
)
def test_nothing_to_read_is_one_sentence_and_writes_at_most_the_account(tmp_path, ingest_params, make):
    make(tmp_path / "dicom")
    with pytest.raises(InputError, match="dicom"):
        ingest(tmp_path / "dicom", tmp_path / "out", ingest_params)
    files = list((tmp_path / "dicom").rglob("*")) if (tmp_path / "dicom").exists() else []
    left = sorted(p.name for p in (tmp_path / "out").iterdir()) if (tmp_path / "out").exists() else []
    assert left == (["account.csv", "index.html"] if files else [])


def test_all_pixels_broken_is_one_sentence_and_keeps_what_was_there(tmp_path, save_series, ingest_params):
    for path in save_series(tmp_path / "dicom", 4):
        path.write_bytes(path.read_bytes()[:-300])
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "before").write_text("")
    with pytest.raises(InputError, match="4 files decode_failed"):
        ingest(tmp_path / "dicom", tmp_path / "out", ingest_params)
    assert sorted(p.name for p in tmp_path.iterdir() if p.name != "dicom") == ["out", "out.unusable"]
    assert [p.name for p in (tmp_path / "out").iterdir()] == ["before"]
    assert len(pd.read_csv(tmp_path / "out.unusable" / "account.csv")) == 4


def test_every_reason_explains_itself():
    texts = [reason.explanation for reason in Reason]
    assert len(set(texts)) == len(texts)
    assert {reason.status for reason in Reason} == set(Status)


def test_minimum_slices_and_thickness_follow_params(tmp_path, save_series, ingest_params):
    save_series(tmp_path / "dicom" / "a", 6)
    save_series(tmp_path / "dicom" / "b", 9, patient="P2", study="two", SliceThickness="1")
    strict = ingest_params.model_copy(update={"minimum_slices": 7})
    assert len(ingest(tmp_path / "dicom", tmp_path / "out", strict).slices) == 9
    thick = ingest_params.model_copy(update={"slice_thickness_mm": (2.0, 15.0)})
    assert len(ingest(tmp_path / "dicom", tmp_path / "out", thick).slices) == 6
