"""Single files: what is set aside, what goes and what stays."""

from __future__ import annotations

import io
import re
from pathlib import Path

import data_store  # the package pydicom-data
import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
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

from ich_pipeline.deidentify import streams
from ich_pipeline.deidentify.file import deidentify_bytes
from ich_pipeline.deidentify.options import Options
from ich_pipeline.deidentify.reasons import Outcome
from ich_pipeline.deidentify.text import text_rows
from ich_pipeline.dicom.decode import read_hu
from ich_pipeline.phantom.scanners import SCANNERS, is_synthetic


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


@pytest.mark.parametrize("scanner", SCANNERS)
def test_a_synthetic_head_is_still_known_as_one(make_ct, to_bytes, from_bytes, key, scanner):
    for kernel in (scanner.kernel, scanner.bone_kernel):
        marked = {"Manufacturer": scanner.manufacturer, "ConvolutionKernel": kernel}
        found = from_bytes(clean(to_bytes(make_ct(**marked)), key).data)
        assert is_synthetic(found.Manufacturer, found.ConvolutionKernel)
        for other in (
            {**marked, "ConvolutionKernel": "H99"},
            {**marked, "Manufacturer": f"{scanner.manufacturer} Jane"},
        ):
            found = from_bytes(clean(to_bytes(make_ct(**other)), key).data)
            assert not is_synthetic(found.get("Manufacturer", ""), found.get("ConvolutionKernel", ""))
    name = scanner.manufacturer.split()[0]
    namesake = clean(to_bytes(make_ct(**{**marked, "PatientName": f"{name}^Jane"})), key)
    assert name.upper() not in str(from_bytes(namesake.data)).upper(), "a person's name stays nowhere"


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
    assert text in streams.notes(frame[:at] + segment + frame[at:])[0]
    assert deidentify_bytes(to_bytes(ds), key, Options()).outcome is outcome


def compressed(ds, syntax) -> bytes:
    """The one frame, with as many tile-parts as there are in JPEG 2000."""
    ds.compress(syntax, generate_instance_uid=False)
    return next(generate_frames(ds.PixelData, number_of_frames=1)).rstrip(b"\0")


def comment(frame: bytes, text: bytes) -> bytes:
    marker, text = (b"\xff\x64", b"\0\1" + text) if frame[1] == 0x4F else (b"\xff\xfe", text)
    return marker + (len(text) + 2).to_bytes(2, "big") + text


@pytest.mark.parametrize("known_length", [True, False], ids=["length", "no length"])
def test_comments_in_tile_parts(make_ct, to_bytes, key, known_length):
    ds = make_ct()
    frame = compressed(ds, JPEG2000Lossless)
    start = frame.index(b"\xff\x90\0\x0a")
    new = comment(frame, "Jane Doe".encode("utf-16-le"))
    length = int.from_bytes(frame[start + 6 : start + 10], "big") + len(new) if known_length else 0
    header = frame[start : start + 6] + length.to_bytes(4, "big") + frame[start + 10 : start + 12]
    changed = frame[:start] + header + new + frame[start + 12 :]
    assert streams.notes(changed) == ([*streams.notes(frame)[0], new[4:]], b"")
    ds.PixelData = encapsulate([changed])
    assert read_hu(to_bytes(ds)).shape == (64, 64), "a decoder takes it"
    done = deidentify_bytes(to_bytes(ds), key, Options())
    assert (done.outcome, done.detail) == (Outcome.STREAM_COMMENT, "a comment")


@pytest.mark.parametrize("behind", [b"Jane", b"J\0a\0n\0e\0", b"\0\0Jane\xff\xd9", b"\xff\xd9", b"\x07"])
@pytest.mark.parametrize("syntax", [JPEGLSLossless, JPEG2000Lossless], ids=lambda s: s.name)
def test_bytes_behind_the_end(make_ct, to_bytes, key, syntax, behind):
    ds = make_ct()
    frame = compressed(ds, syntax)
    assert streams.notes(frame)[1] == streams.notes(frame + bytes(3))[1] == b""
    ds.PixelData = encapsulate([frame + bytes(2) + behind])
    done = deidentify_bytes(to_bytes(ds), key, Options())
    assert (done.outcome, done.detail) == (Outcome.STREAM_COMMENT, "bytes behind the end of the image")


@pytest.mark.parametrize("options", [{}, {"progressive": True}, {"restart_marker_blocks": 1}], ids=str)
def test_comments_between_the_scans_of_a_jpeg(options):
    picture = Image.fromarray(np.random.default_rng(0).integers(0, 255, (64, 64), np.uint8))
    file = io.BytesIO()
    picture.save(file, "jpeg", quality=95, **options)
    frame = file.getvalue()
    assert streams.notes(frame)[1] == b"" and frame.endswith(b"\xff\xd9")
    new = comment(frame, b"Jane Doe")
    places = [m.start() for m in re.finditer(rb"\xff[\xc4\xda\xd9]", frame)]  # before tables, scans and the end
    assert len(places) > 4 if options == {"progressive": True} else places
    for at in places:
        changed = frame[:at] + new + frame[at:]
        assert b"Jane Doe" in streams.notes(changed)[0], at
        assert streams.notes(changed + b"Jane")[1] == b"Jane"


@given(st.binary(max_size=60), st.sampled_from([b"\xff\xd8", b"\xff\x4f\xff\x51", b"\0\0\0\x0cjP  ", b""]))
def test_any_bytes_are_walked_to_an_end(data, head):
    found, behind = streams.notes(head + data)
    assert all(note in head + data for note in (*found, behind))


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


@pytest.mark.parametrize("turn", [0, 1, 2, 3])
def test_writing_over_the_head_is_read(make_ct, to_bytes, key, turn):
    y, x = np.mgrid[:256, :256] - 128
    rng = np.random.default_rng(3)
    head = np.where(np.hypot(x, y) < 100, 35, -1000) + np.where(abs(np.hypot(x, y) - 97) < 4, 900, 0)
    head = (head + rng.normal(0, 6, head.shape)).astype(np.int16)

    def outcome(hu: np.ndarray, ocr: bool) -> Outcome:
        ct = make_ct(Rows=256, Columns=256, PixelData=np.ascontiguousarray(hu).astype("<i2").tobytes())
        return deidentify_bytes(to_bytes(ct), key, Options(ocr=ocr)).outcome

    written = np.rot90(burn(head, "DOE JANE 1950", 16, (70, 120)), turn)
    assert outcome(head, ocr=True) is Outcome.DEIDENTIFIED
    assert outcome(written, ocr=False) is Outcome.DEIDENTIFIED  # the shapes beside the head say nothing of it
    assert outcome(written, ocr=True) is Outcome.TEXT_IN_PIXELS


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
