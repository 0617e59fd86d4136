"""Enhanced multi-frame CT: every frame is a slice, and the volume is that of the single-frame files."""

from __future__ import annotations

from pathlib import Path

import data_store  # the package pydicom-data
import numpy as np
import pytest
import SimpleITK
from pydicom.dataset import Dataset
from pydicom.uid import JPEG2000Lossless, JPEGLSLossless, RLELossless

from ich_pipeline.dicom.decode import SliceReader
from ich_pipeline.dicom.frames import known_slices
from ich_pipeline.dicom.reader import read_slice_headers
from ich_pipeline.ingest.ingest import ingest
from ich_pipeline.ingest.tables import account_table
from ich_pipeline.ingest.volumes import read_volume
from ich_pipeline.serving.load_case import load_case

RANGE = (0.5, 15.0)


def ingested(root: Path, out: Path, params):
    report = ingest(root, out, params)
    [volume] = (out / "volumes").iterdir()
    return report, read_volume(volume)


@pytest.mark.parametrize("syntax", [None, RLELossless, JPEGLSLossless, JPEG2000Lossless])
def test_an_enhanced_head_gives_the_volume_of_its_single_frame_copy(
    tmp_path, phantom_head, make_enhanced, save_slice, ingest_params, syntax
):
    for number, ds in enumerate(phantom_head):
        save_slice(ds, tmp_path / "single" / f"{number}")
    ds = make_enhanced(phantom_head)
    if syntax:
        ds.compress(syntax, generate_instance_uid=False)
    save_slice(ds, tmp_path / "enhanced" / "IM#1")
    single, expected = ingested(tmp_path / "single", tmp_path / "a", ingest_params)
    report, hu = ingested(tmp_path / "enhanced", tmp_path / "b", ingest_params)
    np.testing.assert_array_equal(hu, expected)
    assert report.account.to_dict("records") == [
        {
            "path": "IM#1",
            "status": "used",
            "reason": "used",
            "detail": "6 frames: 6 used",
            "SOPInstanceUID": ds.SOPInstanceUID,
            "SeriesInstanceUID": ds.SeriesInstanceUID,
            "StudyInstanceUID": ds.StudyInstanceUID,
            "frames": 6,
        }
    ]
    np.testing.assert_allclose(report.slices["position_mm"], single.slices["position_mm"])
    assert sorted(report.slices["frame"]) == [1, 2, 3, 4, 5, 6]
    assert (single.slices["frame"] == 0).all()
    assert (report.slices["path"] == "IM#1").all()
    assert report.slices["SOPInstanceUID"].tolist() == [f"{ds.SOPInstanceUID}#{n}" for n in report.slices["frame"]]
    assert report.series["slices"].tolist() == [6]


def test_a_file_that_is_called_like_a_frame_of_another_keeps_its_own_verdict(
    tmp_path, phantom_head, make_enhanced, save_slice, ingest_params
):
    """Archives with two members of one name make such names too."""
    save_slice(make_enhanced(phantom_head), tmp_path / "in" / "IM")
    (tmp_path / "in" / "IM#2").write_text("no image, but long enough to be looked at" * 9)
    report = ingest(tmp_path / "in", tmp_path / "out", ingest_params)
    found = report.account.set_index("path")["reason"].to_dict()
    assert found == {"IM": "used", "IM#2": "not_dicom"}
    assert len(report.slices) == 6 and set(report.slices["path"]) == {"IM"}


def test_serving_reads_frames_alike(tmp_path, phantom_head, make_enhanced, save_slice, ingest_params):
    path = save_slice(make_enhanced(phantom_head), tmp_path / "e")
    single = [save_slice(ds, tmp_path / f"{n}") for n, ds in enumerate(phantom_head)]
    np.testing.assert_array_equal(load_case([path.read_bytes()], ingest_params).hu, load_case(single, ingest_params).hu)


def test_a_frame_of_its_own_kind_is_judged_by_itself(tmp_path, phantom_head, make_enhanced, save_slice, ingest_params):
    ds = make_enhanced(phantom_head)
    frames = ds.PerFrameFunctionalGroupsSequence
    frames[0].CTImageFrameTypeSequence[0].FrameType = ["ORIGINAL", "PRIMARY", "LOCALIZER", "NONE"]
    frames[1].ContrastBolusUsageSequence = [Dataset()]
    frames[1].ContrastBolusUsageSequence[0].ContrastBolusAgentAdministered = "YES"
    frames[2].PixelValueTransformationSequence[0].RescaleSlope = ""
    report = ingest(save_slice(ds, tmp_path / "in" / "e").parent, tmp_path / "out", ingest_params)
    [row] = report.account.to_dict("records")
    assert row["reason"] == "used"
    assert row["detail"].startswith("6 frames: 3 used, 1 contrast (ContrastBolusAgent is filled), 1 header_incomplete")
    assert sorted(report.slices["frame"]) == [4, 5, 6]
    known = list(known_slices(report.account["SOPInstanceUID"], report.account["frames"]))
    assert known == [ds.SOPInstanceUID, *(f"{ds.SOPInstanceUID}#{n}" for n in range(1, 7))]


@pytest.mark.parametrize(
    ("changes", "detail"),
    [
        ({"ConcatenationUID": "2.25.5"}, "a part of a concatenation"),
        ({"NumberOfFrames": 2_000_000_000}, "NumberOfFrames 2000000000, 6 frames are described"),
        ({"PerFrameFunctionalGroupsSequence": None}, "NumberOfFrames 6"),
    ],
)
def test_frames_that_do_not_stand_for_themselves_are_set_aside(
    tmp_path, phantom_head, make_enhanced, save_slice, changes, detail
):
    ds = make_enhanced(phantom_head)
    for keyword, value in changes.items():
        if value is None:
            del ds[keyword]
        else:
            setattr(ds, keyword, value)
    [header] = read_slice_headers(save_slice(ds, tmp_path / "e"), "e", RANGE)
    assert (header.reason, header.detail, header.path) == ("multi_frame", detail, "e")
    assert header.reason is not None
    [row] = account_table([header], {"e": (header.reason, header.detail)}).to_dict("records")
    described = 6 if "PerFrameFunctionalGroupsSequence" in ds else 0
    assert row["frames"] == described
    named = [one.sop_instance_uid for one in header.slices()]
    assert named == [f"{ds.SOPInstanceUID}#{n}" for n in range(1, 7)] if described else [ds.SOPInstanceUID]
    assert {one.path for one in header.slices()} == {"e"}


def test_the_perfusion_map_of_pydicom_data_is_known_as_such_and_decoded_as_by_simple_itk():
    [path] = Path(next(iter(data_store.__path__))).rglob("eCT_Supplemental.dcm")
    headers = read_slice_headers(path, "e", RANGE)
    assert [(h.frame, h.reason, h.detail) for h in headers] == [
        (n, "reformatted", "ImageType DERIVED/PRIMARY/PERFUSION/RCBF") for n in (1, 2)
    ]
    assert len({h.position for h in headers}) == 2
    reader = SliceReader()
    expected = SimpleITK.GetArrayFromImage(SimpleITK.ReadImage(str(path)))
    np.testing.assert_array_equal(np.stack([reader.read(h).hu for h in headers]), expected)
