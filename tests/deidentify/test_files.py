"""Files and folders: what is set aside, what stays, the same bytes however it is run."""

from __future__ import annotations

import json
import shutil
import tarfile
import tempfile
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import data_store  # the package pydicom-data
import numpy as np
import pandas as pd
import pytest
from PIL import Image, ImageDraw, ImageFont
from pydicom.data import get_testdata_file
from pydicom.encaps import encapsulate, generate_frames
from pydicom.uid import (
    CTImageStorage,
    DeflatedExplicitVRLittleEndian,
    EncapsulatedPDFStorage,
    EnhancedSRStorage,
    ExplicitVRBigEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGLSLossless,
    MediaStorageDirectoryStorage,
    RLELossless,
    SecondaryCaptureImageStorage,
)
from typer.testing import CliRunner

from ich_pipeline import cli
from ich_pipeline.deidentify import pixels, scan
from ich_pipeline.deidentify.file import deidentify_bytes
from ich_pipeline.deidentify.folder import deidentify_files
from ich_pipeline.deidentify.key import load_key, new_key
from ich_pipeline.deidentify.options import Options
from ich_pipeline.deidentify.reasons import Outcome
from ich_pipeline.deidentify.text import text_rows
from ich_pipeline.dicom.decode import read_hu
from ich_pipeline.dicom.scan import list_files


def tree(folder: Path) -> dict[str, bytes]:
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def clean(data: bytes, key, options=None):
    done = deidentify_bytes(data, key, options or Options())
    assert done.outcome is Outcome.DEIDENTIFIED, (done.outcome, done.detail)
    assert done.data is not None
    return done


def test_what_is_recorded_and_kept(make_ct, to_bytes, from_bytes, key):
    done = clean(to_bytes(make_ct()), key)
    ds = from_bytes(done.data)
    assert ds.PatientIdentityRemoved == "YES" and ds.LongitudinalTemporalInformationModified == "MODIFIED"
    assert [i.CodeValue for i in ds.DeidentificationMethodCodeSequence] == ["113100", "113105", "113107", "113108"]
    assert ds.PatientID == ds.PatientName == key.patient_id("P1")
    assert (ds.PatientAge, ds.PatientSex, ds.ConvolutionKernel, ds.SeriesDescription) == (
        "071Y",
        "F",
        "H31s",
        "Head 5.0 H31s for",
    )
    assert ds.StudyInstanceUID == key.uid("1.2.3.4.1") and ds.SOPInstanceUID == ds.file_meta.MediaStorageSOPInstanceUID
    assert ds.SOPClassUID == CTImageStorage
    assert (ds.PatientBirthDate, ds.AccessionNumber, ds.StudyID, ds.ReferringPhysicianName) == ("",) * 4
    assert pd.Timestamp("20200301") - pd.Timestamp(ds.StudyDate) == pd.Timedelta(days=key.day_shift("P1", 3650))
    assert pd.Timestamp(ds.AcquisitionDate) - pd.Timestamp(ds.StudyDate) == pd.Timedelta(days=1), "past midnight"
    assert (ds.StudyTime, ds.AcquisitionTime) == ("235959", "000001.5")
    assert "BurnedInAnnotation" not in ds and "burned_in_annotation_unsaid" in done.flags
    assert done.tally["(0010,0010)", "PatientName", "replaced"] == 1
    assert done.tally["(0008,0020)", "StudyDate", "date_shifted"] == 1
    assert "Jane" not in repr(done)


def test_dates_removed(make_ct, to_bytes, from_bytes, key):
    ds = from_bytes(clean(to_bytes(make_ct()), key, Options("remove", patient_characteristics=False)).data)
    assert (ds.StudyDate, ds.StudyTime) == ("", "") and "AcquisitionDate" not in ds
    assert ds.LongitudinalTemporalInformationModified == "REMOVED"
    assert ds.PatientSex == "" and "PatientAge" not in ds


def test_device_only_when_asked(make_ct, to_bytes, from_bytes, key):
    data = to_bytes(make_ct(DeviceSerialNumber="SN-4711", StationName="CT Jane", DeviceUID="1.2.3.99"))
    assert "DeviceSerialNumber" not in from_bytes(clean(data, key).data)
    ds = from_bytes(clean(data, key, Options(device_identity=True)).data)
    assert ds.DeviceSerialNumber == "SN-4711" and ds.DeviceUID == key.uid("1.2.3.99")
    assert "StationName" not in ds, "it names the patient"


def test_a_name_that_is_an_anatomical_word_stays_in_no_description(make_ct, to_bytes, from_bytes, key):
    ds = from_bytes(clean(to_bytes(make_ct(PatientName="Head^Anna", SeriesDescription="Head CT Anna")), key).data)
    assert ds.SeriesDescription == "CT"


def test_a_file_without_patient_id_stays_without(make_ct, to_bytes, from_bytes, key):
    ds = from_bytes(clean(to_bytes(make_ct(PatientID="")), key).data)
    assert ds.PatientID == "" and ds.StudyDate != "20200301"


def test_contrast_stays_contrast(make_ct, to_bytes, from_bytes, key):
    for agent, expected in (("Iomeron 300 by Jane", "Iomeron 300"), ("Foo", "ANONYMIZED"), ("none", "none"), ("", "")):
        ds = from_bytes(clean(to_bytes(make_ct(ContrastBolusAgent=agent)), key).data)
        assert ds.ContrastBolusAgent == expected


SYNTAXES = [ImplicitVRLittleEndian, DeflatedExplicitVRLittleEndian, RLELossless, JPEGLSLossless, JPEG2000Lossless]


@pytest.mark.parametrize("syntax", SYNTAXES, ids=lambda s: s.name)
def test_pixel_bytes_stay_as_they_are(make_ct, to_bytes, from_bytes, key, syntax):
    ds = make_ct()
    if syntax.is_encapsulated:
        ds.compress(syntax, generate_instance_uid=False)
    ds.file_meta.TransferSyntaxUID = syntax
    data = to_bytes(ds)
    done = clean(data, key)
    new = from_bytes(done.data)
    assert new.file_meta.TransferSyntaxUID == syntax
    assert new.PixelData == from_bytes(data).PixelData
    np.testing.assert_array_equal(read_hu(done.data or b""), read_hu(data))


def test_big_endian(make_ct, from_bytes, key, tmp_path):
    ds = make_ct()
    ds.PixelData = np.frombuffer(ds.PixelData, "<i2").astype(">i2").tobytes()
    ds.file_meta.TransferSyntaxUID = ExplicitVRBigEndian
    ds.save_as(tmp_path / "big", enforce_file_format=True, implicit_vr=False, little_endian=False)
    data = (tmp_path / "big").read_bytes()
    done = clean(data, key)
    assert from_bytes(done.data).PixelData == from_bytes(data).PixelData
    np.testing.assert_array_equal(read_hu(done.data or b""), read_hu(data))


@pytest.mark.parametrize(
    ("outcome", "fields"),
    [
        (Outcome.SECONDARY_CAPTURE, {"SOPClassUID": SecondaryCaptureImageStorage}),
        (Outcome.ENCAPSULATED_DOCUMENT, {"SOPClassUID": EncapsulatedPDFStorage}),
        (Outcome.ENCAPSULATED_DOCUMENT, {"EncapsulatedDocument": b"%PDF"}),
        (Outcome.STRUCTURED_REPORT, {"SOPClassUID": EnhancedSRStorage}),
        (Outcome.MEDIA_DIRECTORY, {"SOPClassUID": MediaStorageDirectoryStorage}),
        (Outcome.SOP_CLASS_UNSUPPORTED, {"SOPClassUID": "1.2.3.4"}),
        (Outcome.SCREEN_CAPTURE, {"ImageType": ["DERIVED", "SECONDARY", "SCREEN SAVE"]}),
        (Outcome.SCREEN_CAPTURE, {"ImageType": ["ORIGINAL", "PRIMARY", "DOSE_INFO"]}),
        (Outcome.BURNED_IN, {"BurnedInAnnotation": "YES"}),
        (Outcome.UIDS_MISSING, {"SeriesInstanceUID": None}),
        (Outcome.PIXELS_MISSING, {"PixelData": None}),
        (Outcome.PIXELS_UNREADABLE, {"Rows": 4000}),
    ],
)
def test_what_cannot_be_made_safe_is_set_aside(make_ct, to_bytes, key, outcome, fields):
    done = deidentify_bytes(to_bytes(make_ct(**fields)), key, Options())
    assert (done.outcome, done.data, done.uids) == (outcome, None, None)


@pytest.mark.parametrize(
    ("outcome", "data"),
    [
        (Outcome.EMPTY_FILE, b""),
        (Outcome.NOT_DICOM, b"Jane Doe, born 2 January 1950, was here"),
        (Outcome.BROKEN_HEADER, b"\0" * 128 + b"DICM" + b"\x08\0\x05\0XX" + b"\xff" * 40),
    ],
)
def test_what_is_no_dicom_is_set_aside(key, outcome, data):
    done = deidentify_bytes(data, key, Options())
    assert done.outcome in (outcome, Outcome.SOP_CLASS_UNSUPPORTED) and done.data is None
    assert "Jane" not in done.detail


def test_every_cut_and_flip_ends_in_an_outcome(make_ct, to_bytes, key):
    data = to_bytes(make_ct(PatientComments="Jane"))
    rng = np.random.default_rng(7)
    for _ in range(60):
        bad = bytearray(data[: rng.integers(140, len(data))])
        for at in rng.integers(0, len(bad), 5):
            bad[at] = rng.integers(256)
        done = deidentify_bytes(bytes(bad), key, Options())
        assert done.data is None or b"Jane" not in done.data


def test_a_malformed_value_goes_and_the_file_stays(make_ct, to_bytes, from_bytes, key):
    data = to_bytes(make_ct()).replace(b"\x18\0\x50\0DS\x02\0" + b"5 ", b"\x18\0\x50\0DS\x02\0" + b"Ja")
    done = clean(data, key)
    assert "SliceThickness" not in from_bytes(done.data)
    assert done.tally["(0018,0050)", "SliceThickness", "removed"] == 1


def test_an_overlay_in_the_pixels_is_set_aside(make_ct, to_bytes, key):
    ds = make_ct()
    ds.add_new(0x60000100, "US", 16)
    ds.add_new(0x60000102, "US", 12)
    assert deidentify_bytes(to_bytes(ds), key, Options()).outcome is Outcome.OVERLAY_IN_PIXELS


def test_bits_beyond_the_stored_ones_are_flagged(make_ct, to_bytes, key):
    stored = np.full((64, 64), 1000, "<u2")
    fields = {"PixelRepresentation": 0, "BitsStored": 12, "HighBit": 11, "RescaleIntercept": "-1024"}
    plain = clean(to_bytes(make_ct(**fields, PixelData=stored.tobytes())), key)
    hidden = clean(to_bytes(make_ct(**fields, PixelData=(stored | 0x8000).tobytes())), key)
    assert "unused_bits" not in plain.flags and "unused_bits" in hidden.flags


@pytest.mark.parametrize(
    ("comment", "outcome"), [(b"Kakadu-v7.10", Outcome.DEIDENTIFIED), (b"Jane Doe 1950", Outcome.STREAM_COMMENT)]
)
@pytest.mark.parametrize("syntax", [JPEGLSLossless, JPEG2000Lossless], ids=lambda s: s.name)
def test_comments_in_compressed_streams(make_ct, to_bytes, from_bytes, key, syntax, comment, outcome):
    ds = make_ct()
    ds.compress(syntax, generate_instance_uid=False)
    frame = next(generate_frames(ds.PixelData, number_of_frames=1))
    marker = b"\xff\xfe" if syntax == JPEGLSLossless else b"\xff\x64"
    text = comment if syntax == JPEGLSLossless else b"\0\1" + comment
    segment = marker + (len(text) + 2).to_bytes(2, "big") + text
    at = 2 if syntax == JPEGLSLossless else 4 + int.from_bytes(frame[4:6], "big")
    ds.PixelData = encapsulate([frame[:at] + segment + frame[at:]])
    assert text in pixels.notes(frame[:at] + segment + frame[at:])
    assert deidentify_bytes(to_bytes(ds), key, Options()).outcome is outcome


def burn(hu: np.ndarray, text: str, size: int, at: tuple[int, int]) -> np.ndarray:
    import matplotlib

    fonts = Path(matplotlib.get_data_path()) / "fonts" / "ttf" / "DejaVuSans.ttf"
    picture = Image.new("L", hu.shape[::-1])
    ImageDraw.Draw(picture).text(at, text, fill=255, font=ImageFont.truetype(str(fonts), size))
    ink = np.asarray(picture) / 255
    return np.rint(hu * (1 - ink) + 1000 * ink).astype(np.int16)


@pytest.mark.parametrize("size", [12, 16, 24])
def test_written_in_rows_are_seen_beside_the_head(size):
    y, x = np.mgrid[:256, :256] - 128
    rng = np.random.default_rng(3)
    head = np.where(np.hypot(x, y) < 80, 40, -1000) + np.where(abs(np.hypot(x, y) - 78) < 3, 900, 0)
    head = (head + rng.normal(0, 10, head.shape)).astype(np.int16)
    assert text_rows(head) == 0
    assert text_rows(burn(head, "DOE JANE 1950", size, (4, 4))) >= 1
    assert text_rows(np.full((64, 64), -1000, np.int16)) == 0


def test_burnt_in_text_is_set_aside(make_ct, to_bytes, key):
    hu = np.full((128, 128), -1000, np.int16)
    hu[50:110, 30:100] = 40
    burnt = burn(hu, "DOE JANE 1950", 12, (3, 3)).astype("<i2")
    done = deidentify_bytes(to_bytes(make_ct(Rows=128, Columns=128, PixelData=burnt.tobytes())), key, Options())
    assert done.outcome is Outcome.TEXT_IN_PIXELS


def test_a_packaged_multi_frame_object_keeps_its_frames(from_bytes, key):
    path = next(Path(next(iter(data_store.__path__))).rglob("eCT_Supplemental.dcm"))
    done = clean(path.read_bytes(), key)
    old, new = from_bytes(path.read_bytes()), from_bytes(done.data)
    assert new.NumberOfFrames == old.NumberOfFrames and new.PixelData == old.PixelData
    for a, b in zip(old.PerFrameFunctionalGroupsSequence, new.PerFrameFunctionalGroupsSequence, strict=True):
        assert a.PlanePositionSequence == b.PlanePositionSequence
    assert "pixels_not_looked_at" in done.flags


@pytest.mark.parametrize("name", ["CT_small.dcm", "J2K_pixelrep_mismatch.dcm", "693_UNCR.dcm", "693_J2KR.dcm"])
def test_packaged_slices_keep_their_hu(key, name):
    found = [*Path(next(iter(data_store.__path__))).rglob(name)]
    data = (found[0] if found else Path(str(get_testdata_file(name, download=False)))).read_bytes()
    np.testing.assert_array_equal(read_hu(clean(data, key).data or b""), read_hu(data))


@pytest.fixture
def export(tmp_path, make_ct, to_bytes):
    """Two patients, a copy of one slice, and files that are set aside."""
    root = tmp_path / "Doe Jane"
    for patient in ("P1", "P2"):
        (root / patient).mkdir(parents=True)
        for number in range(1, 10):
            ds = make_ct(number, patient, f"1.2.3.{patient[1]}", f"1.2.3.{patient[1]}.1")
            (root / patient / f"IM{number:02d}").write_bytes(to_bytes(ds))
    shutil.copyfile(root / "P1" / "IM03", root / "copy of Jane")
    (root / "page").write_bytes(to_bytes(make_ct(90, SOPClassUID=SecondaryCaptureImageStorage)))
    (root / "notes.txt").write_text("Jane Doe, born on 2 January 1950")
    (root / "gone").symlink_to(root / "nowhere")
    return root


def test_same_bytes_whatever_the_workers(export, tmp_path, key):
    trees = []
    for workers in (1, 2):
        target = tmp_path / f"out{workers}"
        target.mkdir()
        result = deidentify_files(list_files(export), target, key, Options(), workers)
        trees.append(tree(target))
    assert trees[0] == trees[1] and len(trees[0]) == 19
    assert sum(name.endswith("_2.dcm") for name in trees[0]) == 1
    assert result.summary == "22 files: 19 de-identified, 3 set aside; 2 patients"
    assert len(result.rows) == len({row.source for row in result.rows}) == 22


@dataclass(frozen=True)
class Deadly:
    """Stands for a file on which a library ends the process or never comes back."""

    code: str

    def read_bytes(self) -> None:
        eval(self.code)


def test_a_file_that_kills_or_hangs_its_process_is_lost_alone(export, tmp_path, key):
    files: list[Any] = list_files(export)[:4]
    files[1] = (Deadly("__import__('os').kill(__import__('os').getpid(), 11)"), "kills")
    files[2] = (Deadly("sum(range(10**15))"), "hangs")
    (tmp_path / "out").mkdir()
    result = deidentify_files(files, tmp_path / "out", key, Options(), 1, seconds=3.0)
    assert [row.cleaned.outcome.value for row in result.rows] == [
        "deidentified",
        *["process_ended"] * 2,
        "deidentified",
    ]


def ich(*arguments: object) -> tuple[int, str, str]:
    done = CliRunner().invoke(cli.app, [str(a) for a in arguments], env={"COLUMNS": "240"})
    return done.exit_code, done.stdout, done.stderr


def test_the_page_explains_every_outcome(project_root):
    page = (project_root / "docs" / "deidentification.md").read_text()
    rows = [f"| `{o.value}` | {o.explanation} |" for o in Outcome]
    assert "\n".join(rows) in page


@pytest.fixture
def project(tmp_path, project_root, monkeypatch):
    folder = tmp_path / "project"
    folder.mkdir()
    shutil.copy(project_root / "ich_pipeline" / "profiles" / "phantom.yaml", folder / "params.yaml")
    monkeypatch.chdir(folder)
    return folder


def test_the_command(export, project, tmp_path, to_bytes, make_ct):
    keyfile, out = tmp_path / "key", tmp_path / "out"
    assert ich("deidentify", "--new-key", keyfile)[0] == 0
    (tmp_path / "labels.csv").write_text("SOPInstanceUID,any,who\n1.2.3.1.1.1,1,Jane Doe\n")
    status, said, err = ich("deidentify", export, "--out", out, "--key", keyfile, "--labels", tmp_path / "labels.csv")
    assert (status, err) == (0, ""), err
    assert "22 files: 19 de-identified, 3 set aside; 2 patients." in said
    assert sorted(p.name for p in out.iterdir()) == ["account.csv", "dicom", "labels.csv", "removed.csv", "report.json"]
    account = pd.read_csv(out / "account.csv", keep_default_na=False)
    assert len(account) == 22
    assert account["reason"].value_counts().to_dict() == {
        "deidentified": 19, "secondary_capture": 1, "not_dicom": 1, "unreadable": 1,
    }  # fmt: skip
    assert set(account["path"]) - {""} == {
        p.relative_to(out / "dicom").as_posix() for p in (out / "dicom").rglob("*.dcm")
    }
    report = json.loads((out / "report.json").read_text())
    assert report["second_pass"] == {"files": 19, "files_with_findings": 0}
    assert report["key"] == load_key(keyfile).fingerprint
    removed = pd.read_csv(out / "removed.csv").set_index(["attribute", "what"])["elements"]
    assert removed["PatientName", "replaced"] == removed["StudyDate", "date_shifted"] == 19
    labels = pd.read_csv(out / "labels.csv", dtype=str)
    assert labels.columns.tolist() == ["SOPInstanceUID", "any"]
    assert labels["SOPInstanceUID"][0] in set(account["SOPInstanceUID"])
    everything = said.encode() + b"".join(name.encode() + data for name, data in tree(out).items())
    secret = keyfile.read_text().split()[1]
    for word in (b"Jane", b"Doe", b"1.2.3.1", b"19500102", secret.encode(), bytes.fromhex(secret)):
        assert word not in everything
    assert ich("deidentify", out / "dicom", "--check") == (0, "Files with findings: 0.\n", "")
    Path("params.yaml").unlink()  # then the settings are those of a profile
    assert ich("deidentify", export, "--out", tmp_path / "again", "--key", keyfile)[0] == 0
    status, said, _ = ich("deidentify", export / "P1", "--check")
    assert status == 1 and "PatientName: not a pseudonym" in said and "Jane" not in said.replace(str(export), "")


def test_a_second_run_gives_the_same_bytes_and_another_key_other_names(export, project, tmp_path):
    new_key(tmp_path / "a")
    new_key(tmp_path / "b")
    for out, name in (("one", "a"), ("two", "a"), ("three", "b")):
        assert ich("deidentify", export, "--out", tmp_path / out, "--key", tmp_path / name)[0] == 0
    assert tree(tmp_path / "one") == tree(tmp_path / "two")
    assert not set(tree(tmp_path / "one" / "dicom")) & set(tree(tmp_path / "three" / "dicom"))


def test_mistakes_are_one_sentence(export, project, tmp_path):
    keyfile = tmp_path / "key"
    new_key(keyfile)
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "file").touch()
    cases = {
        ("deidentify",): "SOURCE is missing",
        ("deidentify", export): "--out and --key are needed",
        ("deidentify", export, "--out", tmp_path / "full", "--key", keyfile): "exists and is not empty",
        ("deidentify", export, "--out", export / "in", "--key", keyfile): "contain one another",
        ("deidentify", tmp_path / "nowhere", "--out", tmp_path / "o", "--key", keyfile): "nowhere is missing: name",
        (
            "deidentify",
            export,
            "--out",
            tmp_path / "o",
            "--key",
            tmp_path / "none",
        ): "is missing: `ich deidentify --new-key",
        (
            "deidentify",
            export,
            "--out",
            tmp_path / "o",
            "--key",
            keyfile,
            "--linkage",
            tmp_path / "o" / "l",
        ): "keep it elsewhere",
        (
            "deidentify",
            export,
            "--out",
            tmp_path / "o",
            "--key",
            keyfile,
            "--longest-shift",
            0,
        ): "number of days from 1",
        ("deidentify", "--new-key", keyfile): "never overwritten",
    }
    for arguments, sentence in cases.items():
        status, _, err = ich(*arguments)
        assert (status, err.count("\n")) == (2, 1) and sentence in err, (arguments, err)
    assert not (tmp_path / "o").exists()


@pytest.fixture
def packed(export, tmp_path):
    """The export in archives: one patient in a zip within a zip, the other in a tar.gz, the rest in a folder."""
    root = tmp_path / "packed"
    root.mkdir()
    with zipfile.ZipFile(tmp_path / "Jane.zip", "w", zipfile.ZIP_DEFLATED) as inner:
        for path in sorted((export / "P1").iterdir()):
            inner.write(path, f"P1/{path.name}")
    with zipfile.ZipFile(root / "Doe Jane.zip", "w") as outer:
        outer.write(tmp_path / "Jane.zip", "Jane.zip")
    with tarfile.open(root / "Doe.tar.gz", "w:gz") as archive:
        archive.add(export / "P2", "P2")
    for name in ("copy of Jane", "page", "notes.txt"):
        shutil.copyfile(export / name, root / name)
    return root


def test_archives_give_the_files_of_the_folder(export, packed, project, tmp_path):
    keyfile = tmp_path / "key"
    new_key(keyfile)
    assert ich("deidentify", export, "--out", tmp_path / "plain", "--key", keyfile)[0] == 0
    linkage = tmp_path / "linkage.csv"
    status, said, err = ich(
        "deidentify", packed, "--out", tmp_path / "out", "--key", keyfile, "--linkage", linkage
    )  # fmt: skip
    assert (status, err) == (0, "")
    assert "24 files: 19 de-identified, 5 set aside; 2 patients." in said
    names = {name: data for name, data in tree(tmp_path / "out" / "dicom").items() if "_2" not in name}
    plain = {name: data for name, data in tree(tmp_path / "plain" / "dicom").items() if "_2" not in name}
    assert names == plain and len(names) == 18
    account = pd.read_csv(tmp_path / "out" / "account.csv", keep_default_na=False)
    assert account["reason"].value_counts().to_dict() == {
        "deidentified": 19, "archive": 3, "secondary_capture": 1, "not_dicom": 1,
    }  # fmt: skip
    linked = pd.read_csv(linkage, dtype=str)
    assert set(linked["source"]) == set(account["source"]) and len(set(account["source"])) == 24
    assert "Doe Jane.zip/Jane.zip/P1/IM01" in set(linked["original_path"])
    assert b"Jane" not in b"".join(name.encode() + data for name, data in tree(tmp_path / "out").items())
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        "account.csv", "dicom", "removed.csv", "report.json",
    ]  # fmt: skip


def test_a_damaged_archive_is_accounted_for_and_names_nobody(packed, project, tmp_path, monkeypatch):
    keyfile, scratch = tmp_path / "key", tmp_path / "scratch"
    new_key(keyfile)
    scratch.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(scratch))
    cut = (tmp_path / "Jane.zip").read_bytes()
    (packed / "Jane Doe.zip").write_bytes(cut[: len(cut) * 2 // 3])
    (packed / "Jane.rar").write_bytes(b"Rar!\x1a\x07\x00" + bytes(600))
    status, said, err = ich("deidentify", packed, "--out", tmp_path / "out", "--key", keyfile)
    assert (status, err) == (0, "") and "Jane" not in said.replace(str(tmp_path), "")
    account = pd.read_csv(tmp_path / "out" / "account.csv", keep_default_na=False)
    reasons = account["reason"].value_counts()
    assert reasons["archive_broken"] >= 1 and reasons["archive_unsupported"] == 1
    assert not account.loc[account["reason"].str.startswith("archive"), "detail"].any(), "a detail may name a member"
    status, said, _ = ich("deidentify", packed, "--check")
    assert status == 1
    assert "Jane.rar: not looked at: an archive, or a compression in one, that is not read here" in said
    assert "Doe Jane.zip/Jane.zip/P1/IM01: " in said
    only = tmp_path / "only.zip"
    only.write_bytes(b"PK\x03\x04" + bytes(50))
    status, _, err = ich("deidentify", only, "--out", tmp_path / "none", "--key", keyfile)
    assert (status, err.count("\n")) == (2, 1)
    assert "only.zip holds no file that can be read (only.zip" in err and "only.zip: archive_broken" in err
    assert list(scratch.iterdir()) == [] and not list(tmp_path.glob(".*"))


@pytest.mark.long
def test_real_exports_leave_no_name(real_data, tmp_path, key):
    """The names, numbers and dates of every real file are searched for in every output."""
    found: set[str] = set()
    files = [f for f in list_files(real_data / "dicom_pacs") if f[0].stat().st_size < 3e6][::20]
    files += list_files(real_data / "ctich_dicom" / "dicom")[::150]
    for path, _ in files:
        original = scan.parse(path.read_bytes())
        if "PatientID" in original:
            found |= scan.identifiers(original, [code for code, _ in Options().codes])
    target = tmp_path / "out"
    target.mkdir()
    result = deidentify_files(files, target, key, Options(), 1)
    assert result.outcomes[Outcome.DEIDENTIFIED] > len(files) / 2
    assert result.outcomes[Outcome.IDENTIFIER_LEFT] == result.outcomes[Outcome.BROKEN_HEADER] == 0
    for path in target.rglob("*.dcm"):
        assert scan.findings(path.read_bytes(), found) == []
