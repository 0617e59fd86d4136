"""Files are valid CT images whose headers differ as real scanners' do."""

from __future__ import annotations

import io
from collections import defaultdict
from pathlib import Path

import numpy as np
import pydicom
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from pydicom.encaps import generate_frames
from pydicom.pixels.decoders.rle import _rle_decode_frame
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, ImplicitVRLittleEndian, RLELossless

from ich_pipeline.phantom import create_phantom
from ich_pipeline.phantom.dicom_writer import encode_rle
from ich_pipeline.phantom.scanners import SCANNERS

TYPE_1 = ("SOPClassUID", "SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID", "Modality", "ImageType", "Rows", "Columns",
          "FrameOfReferenceUID", "PixelSpacing", "ImageOrientationPatient", "ImagePositionPatient", "SamplesPerPixel",
          "PhotometricInterpretation", "BitsAllocated", "BitsStored", "HighBit", "PixelRepresentation", "RescaleIntercept",
          "RescaleSlope", "KVP", "PixelData")  # fmt: skip


@pytest.fixture(scope="module")
def datasets(tiny_params, tmp_path_factory: pytest.TempPathFactory) -> list[pydicom.FileDataset]:
    """All files of a cohort large enough to hold every scanner."""
    target = tmp_path_factory.mktemp("headers") / "data"
    create_phantom(tiny_params(patients=40, slices=4, size=64), target, workers=1)
    return [pydicom.dcmread(p) for p in sorted((target / "dicom").rglob("*")) if p.is_file()]


def test_every_file_is_a_ct_image(datasets: list[pydicom.FileDataset]) -> None:
    for ds in datasets:
        assert ds.file_meta.MediaStorageSOPClassUID == CTImageStorage
        assert ds.file_meta.MediaStorageSOPInstanceUID == ds.SOPInstanceUID
        for name in TYPE_1:
            assert ds.get(name) not in (None, ""), name
        assert ds.pixel_array.shape == (ds.Rows, ds.Columns)
        for element in ds.iterall():
            if element.VR == "DS" and element.value not in ("", None):
                values = element.value if element.VM > 1 else [element.value]
                assert all(len(str(v)) <= 16 for v in values)


def test_files_are_as_pydicom_writes_them(datasets: list[pydicom.FileDataset]) -> None:
    for syntax in (ExplicitVRLittleEndian, ImplicitVRLittleEndian, RLELossless):
        path = Path(next(str(ds.filename) for ds in datasets if ds.file_meta.TransferSyntaxUID == syntax))
        again = io.BytesIO()
        pydicom.dcmwrite(again, pydicom.dcmread(path), enforce_file_format=True)
        assert again.getvalue() == path.read_bytes()


def test_headers_vary(datasets: list[pydicom.FileDataset]) -> None:
    assert {ds.Manufacturer for ds in datasets} == {s.manufacturer for s in SCANNERS}
    syntaxes = {ds.file_meta.TransferSyntaxUID for ds in datasets}
    assert syntaxes == {ExplicitVRLittleEndian, ImplicitVRLittleEndian, RLELossless}
    assert {ds.PixelRepresentation for ds in datasets} == {0, 1}
    assert {int(ds.RescaleIntercept) for ds in datasets} == {-1024, 0}
    assert {ds.BitsStored for ds in datasets} == {12, 16}
    assert {"AXIAL", "LOCALIZER"} == {ds.ImageType[2] for ds in datasets}
    assert any(float(ds.GantryDetectorTilt) > 1 for ds in datasets)


def test_padding_lies_outside_the_circle_only(datasets: list[pydicom.FileDataset]) -> None:
    padded = [ds for ds in datasets if "PixelPaddingValue" in ds and ds.PixelPaddingValue == -2000]
    assert padded
    for ds in padded:
        outside = ds.pixel_array == -2000
        middle = (ds.Rows - 1) / 2
        rows, columns = np.nonzero(~outside)
        assert outside[0, 0]
        assert np.hypot(rows - middle, columns - middle).max() <= ds.Rows / 2


def test_pixels_are_hounsfield_units(datasets: list[pydicom.FileDataset]) -> None:
    for ds in (
        d for d in datasets if d.ImageType[2] == "AXIAL" and d.ConvolutionKernel in [s.kernel for s in SCANNERS]
    ):
        hu = ds.pixel_array * float(ds.RescaleSlope) + float(ds.RescaleIntercept)
        size = ds.Rows
        air = hu[size // 2 - 8 : size // 2, : size // 32]
        assert -1030 < np.median(air) < -950
        assert hu.max() > 900  # bone


def test_series_are_evenly_spaced_along_the_normal_and_file_order_is_no_order(
    datasets: list[pydicom.FileDataset],
) -> None:
    series = defaultdict(list)
    for ds in datasets:
        if ds.ImageType[2] == "AXIAL":
            series[ds.SeriesInstanceUID].append(ds)
    ordered = 0
    for slices in series.values():
        row, column = np.array(slices[0].ImageOrientationPatient, float).reshape(2, 3)
        assert abs(float(row @ column)) < 1e-4 and abs(float(column @ column) - 1) < 1e-4
        along = np.array([np.cross(row, column) @ np.array(ds.ImagePositionPatient, float) for ds in slices])
        numbers = [int(ds.InstanceNumber) for ds in slices]
        assert sorted(numbers) == list(range(1, len(slices) + 1))
        assert np.ptp(np.diff(np.sort(along))) < 1e-3
        ordered += numbers in (sorted(numbers), sorted(numbers, reverse=True))
    assert ordered < len(series) / 2
    assert len({tuple(d.PixelSpacing) for d in datasets}) == 2


def test_second_series_is_sharper(datasets: list[pydicom.FileDataset]) -> None:
    bone = [ds for ds in datasets if ds.ConvolutionKernel in [s.bone_kernel for s in SCANNERS]]
    assert len(bone) == 4 * 10
    brain = {(d.StudyInstanceUID, d.SliceLocation): d for d in datasets if d.SeriesNumber == 2}
    for ds in bone:
        other = brain[ds.StudyInstanceUID, ds.SliceLocation]
        middle = slice(26, 38)
        step = [np.abs(np.diff(d.pixel_array[middle, middle].astype(int), axis=1)).mean() for d in (ds, other)]
        assert step[0] > step[1]


@given(
    arrays(
        np.uint16, st.tuples(st.integers(1, 6), st.integers(1, 300)), elements=st.sampled_from([0, 1, 255, 256, 65535])
    )
)
def test_rle_is_decoded_by_pydicom(image: np.ndarray) -> None:
    frame = encode_rle(image)
    assert len(frame) % 2 == 0
    raw = bytes(_rle_decode_frame(frame, image.shape[0], image.shape[1], 1, 16))
    assert np.array_equal(np.frombuffer(raw, "<u2").reshape(image.shape), image)


def test_rle_frames_are_encapsulated(datasets: list[pydicom.FileDataset]) -> None:
    ds = next(d for d in datasets if d.file_meta.TransferSyntaxUID == RLELossless)
    assert len(list(generate_frames(ds.PixelData, number_of_frames=1))) == 1
