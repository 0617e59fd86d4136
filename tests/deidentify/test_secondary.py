"""Secondary images: what the ingest could read is kept and looked at; pictures of a screen or a page are not."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from pydicom.uid import SecondaryCaptureImageStorage

from ich_pipeline.deidentify.file import deidentify_bytes
from ich_pipeline.deidentify.folder import deidentify_files
from ich_pipeline.deidentify.options import Options
from ich_pipeline.deidentify.reasons import Outcome
from ich_pipeline.ingest.scan import list_files
from tests.deidentify.test_files import burn
from tests.made.ct import ct_slice, enhanced, read, save, small_settings

LATER = ["ORIGINAL", "SECONDARY", "AXIAL"]
KINDS = [
    LATER,
    ["DERIVED", "SECONDARY"],
    ["DERIVED", "SECONDARY", "AXIAL"],
    ["DERIVED", "SECONDARY", "REFORMATTED", "AVERAGE"],
    ["DERIVED", "SECONDARY", "MPR"],
    ["derived", "secondary ", "axial", "CT_SOM7 SPI"],
]


@pytest.mark.parametrize("image_type", KINDS, ids="-".join)
def test_what_the_ingest_could_read_is_kept_and_flagged(make_ct, to_bytes, from_bytes, key, image_type):
    done = deidentify_bytes(to_bytes(make_ct(ImageType=image_type)), key, Options())
    assert (done.outcome, done.detail) == (Outcome.DEIDENTIFIED, "")
    assert done.flags == ("secondary_image", "burned_in_annotation_unsaid")
    assert [str(v).upper() for v in from_bytes(done.data or b"").ImageType] == [v.strip().upper() for v in image_type]


def test_a_primary_image_has_no_such_flag(make_ct, to_bytes, key):
    assert "secondary_image" not in deidentify_bytes(to_bytes(make_ct()), key, Options()).flags


@pytest.mark.parametrize(
    "fields",
    [
        {"ImagePositionPatient": None},
        {"ImageOrientationPatient": None},
        {"ImageOrientationPatient": [1, 0, 0, 0, 0, -1]},
        {"ImageOrientationPatient": [0, 0, 0, 0, 0, 0]},
        {"PixelSpacing": None},
        {"PixelSpacing": [0, 0]},
        {"RescaleIntercept": None},
        {"RescaleType": "US4"},
        {"Modality": "OT"},
        {"BitsAllocated": 8, "BitsStored": 8, "HighBit": 7, "PixelRepresentation": 0, "PixelData": bytes(64 * 64)},
        {"ConversionType": "SD"},
        {"ContrastBolusAgent": "Iomeron"},
        {"ConvolutionKernel": "H70h"},
        {"ImageType": ["DERIVED", "SECONDARY", "MIP"]},
        {"ImageType": ["DERIVED", "SECONDARY", "LOCALIZER"]},
        {"ImageType": ["DERIVED", "SECONDARY", "SCREEN SAVE"]},
        {"ImageType": ["DERIVED", "SECONDARY", "DOSE_INFO"]},
    ],
    ids=str,
)
def test_any_other_is_set_aside_as_before(make_ct, to_bytes, key, fields):
    done = deidentify_bytes(to_bytes(make_ct(**{"ImageType": LATER, **fields})), key, Options())
    assert (done.outcome, done.data) == (Outcome.SCREEN_CAPTURE, None)


@pytest.mark.parametrize(
    ("outcome", "fields"),
    [
        (Outcome.BURNED_IN, {"BurnedInAnnotation": "YES"}),
        (Outcome.BURNED_IN, {"BurnedInAnnotation": "YES", "PixelSpacing": None}),
        (Outcome.SECONDARY_CAPTURE, {"SOPClassUID": SecondaryCaptureImageStorage}),
        (Outcome.UIDS_MISSING, {"StudyInstanceUID": None}),
        (Outcome.PIXELS_MISSING, {"PixelData": None}),
        (Outcome.PIXELS_UNREADABLE, {"Rows": 4000}),
    ],
    ids=str,
)
def test_the_other_checks_hold_for_them_too(make_ct, to_bytes, key, outcome, fields):
    assert deidentify_bytes(to_bytes(make_ct(ImageType=LATER, **fields)), key, Options()).outcome is outcome


def written_upon() -> np.ndarray:
    hu = np.full((128, 128), -1000, np.int16)
    hu[50:110, 30:100] = 40
    return burn(hu, "DOE JANE 1950", 12, (3, 3))


def test_text_in_the_picture_is_looked_for(make_ct, to_bytes, key):
    ds = make_ct(ImageType=LATER, Rows=128, Columns=128, PixelData=written_upon().astype("<i2").tobytes())
    assert deidentify_bytes(to_bytes(ds), key, Options()).outcome is Outcome.TEXT_IN_PIXELS


@pytest.mark.parametrize(("frame", "outcome"), [(None, Outcome.DEIDENTIFIED), (2, Outcome.TEXT_IN_PIXELS)])
def test_every_frame_of_an_enhanced_object_is_looked_at(to_bytes, key, frame, outcome):
    plain = np.full((128, 128), -1000, np.int16)
    plain[50:110, 30:100] = 40
    slices = [ct_slice(number=n, hu=written_upon() if n == frame else plain) for n in (1, 2, 3)]
    ds = enhanced(slices, ImageType=["DERIVED", "SECONDARY", "VOLUME", "NONE"])
    for group in ds.PerFrameFunctionalGroupsSequence:
        group.CTImageFrameTypeSequence[0].FrameType = ["DERIVED", "SECONDARY", "VOLUME", "NONE"]
    done = deidentify_bytes(to_bytes(ds), key, Options())
    assert done.outcome is outcome, done.detail
    assert "pixels_not_looked_at" not in done.flags


def test_an_enhanced_object_without_a_place_for_each_frame_is_set_aside(to_bytes, key):
    ds = enhanced([ct_slice(number=n) for n in (1, 2, 3)], ImageType=["DERIVED", "SECONDARY", "VOLUME", "NONE"])
    del ds.PerFrameFunctionalGroupsSequence[1].PlanePositionSequence
    assert deidentify_bytes(to_bytes(ds), key, Options()).outcome is Outcome.SCREEN_CAPTURE


@pytest.mark.parametrize("image_type", [KINDS[0], KINDS[3]], ids="-".join)
def test_the_ingest_reads_the_copies_with_its_remark(tmp_path: Path, key, image_type):
    for number in range(5):
        save(ct_slice(number=number, ImageType=image_type), tmp_path / "export" / f"{number}")
    target = tmp_path / "clean"
    target.mkdir()
    deidentify_files(list_files(tmp_path / "export"), target, key, Options(), 1)
    found = read(target, small_settings())
    assert found.counts == {"used": 5}
    assert "read as a last resort, since nothing better is there: secondary" in found.series["reason"].iloc[0]
