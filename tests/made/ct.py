"""Synthetic CT files, small and complete, for the ingest's tests."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from numpy.typing import NDArray
from pydicom import dcmread
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import UID, CTImageStorage, EnhancedCTImageStorage, ExplicitVRLittleEndian

from ich_pipeline.config import ArchiveParams, IngestParams, PixelParams, PlausibleParams
from ich_pipeline.ingest.scan import scan
from ich_pipeline.ingest.tables import account_table, series_row, series_table, slice_rows, slice_table, volume_facts
from ich_pipeline.phantom.study import PatientPlan, write_patient
from ich_pipeline.series.study import read_study

# The fixtures: what a room's conftest takes by `from tests.made.ct import *`.
__all__ = [
    "ingest_params",
    "make_anatomy",
    "make_enhanced",
    "make_slice",
    "params",
    "phantom_head",
    "read_in_process",
    "save_series",
    "save_slice",
]

SIZE = 32
AXIAL = [1.0, 0.0, 0.0, 0.0, 1.0, 0.0]


def uid(*parts: object) -> str:
    """A UID that follows from the parts."""
    return f"2.25.{int(hashlib.sha256(repr(parts).encode()).hexdigest()[:30], 16)}"


def anatomy(seed: object = 0, size: int = SIZE) -> NDArray[np.int16]:
    """Air around a disc of soft tissue with noise: int16 HU of shape (size, size)."""
    rng = np.random.default_rng(int(uid(seed)[5:15]))
    y, x = np.mgrid[:size, :size] - size / 2
    inside = np.hypot(x, y) < size / 3
    return np.where(inside, 35 + rng.normal(0, 8, (size, size)), -1000).round().astype(np.int16)


def ct_slice(
    patient: str = "P1",
    study: str = "study",
    series: str = "series",
    number: int = 1,
    position: Sequence[float] | None = None,
    hu: NDArray[np.int16] | None = None,
    signed: bool = True,
    **fields: Any,
) -> Dataset:
    """A complete CT image; ``fields`` set (or, with None, delete) elements by keyword."""
    hu = anatomy((patient, study, number)) if hu is None else hu
    intercept = 0 if signed else -1024
    stored = (hu.astype(np.int32) - intercept).astype(np.int16 if signed else np.uint16)
    ds = Dataset()
    ds.SOPClassUID = CTImageStorage
    ds.SOPInstanceUID = uid(patient, study, series, number)
    ds.StudyInstanceUID, ds.SeriesInstanceUID = uid(study), uid(study, series)
    ds.PatientID, ds.PatientName = patient, "Secret^Name"
    ds.Modality, ds.StudyDate = "CT", "20200102"
    ds.ImageType = ["ORIGINAL", "PRIMARY", "AXIAL"]
    fill_image(ds, number, hu.shape)
    if position is not None:
        ds.ImagePositionPatient = list(position)
    if not signed:
        ds.BitsStored, ds.HighBit, ds.PixelRepresentation = 12, 11, 0
    ds.RescaleSlope, ds.RescaleIntercept = "1", str(intercept)
    ds.PixelData = stored.tobytes()
    return finished(ds, fields)


def fill_image(ds: Dataset, number: int, shape: tuple[int, ...]) -> None:
    """Set what describes a picture and its place: axial, 5 mm thick, signed 16 bits."""
    ds.ConvolutionKernel, ds.SliceThickness = "H31s", "5"
    ds.SeriesNumber, ds.InstanceNumber = 2, number
    ds.ImageOrientationPatient = AXIAL
    ds.ImagePositionPatient = [-80.0, -80.0, 5.0 * number]
    ds.PixelSpacing = [0.5, 0.5]
    ds.SamplesPerPixel, ds.PhotometricInterpretation = 1, "MONOCHROME2"
    ds.Rows, ds.Columns = shape
    ds.BitsAllocated, ds.BitsStored, ds.HighBit, ds.PixelRepresentation = 16, 16, 15, 1


def finished(ds: Dataset, fields: dict[str, Any]) -> Dataset:
    """The same image with these elements set (or, with None, deleted), and file meta information."""
    ds["PixelData"].VR = "OW"
    for keyword, value in fields.items():
        if value is None:
            del ds[keyword]
        else:
            setattr(ds, keyword, value)
    ds.file_meta = FileMetaDataset()
    ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    ds.file_meta.MediaStorageSOPClassUID = ds.get("SOPClassUID", CTImageStorage)
    ds.file_meta.MediaStorageSOPInstanceUID = ds.get("SOPInstanceUID", "2.25.1")
    return ds


def save(ds: Dataset, path: Path) -> Path:
    """Write with preamble and file meta information."""
    path.parent.mkdir(parents=True, exist_ok=True)
    ds.save_as(path, enforce_file_format=True)
    return path


@pytest.fixture
def make_slice() -> Callable[..., Dataset]:
    return ct_slice


@pytest.fixture
def save_slice() -> Callable[[Dataset, Path], Path]:
    return save


@pytest.fixture
def make_anatomy() -> Callable[..., NDArray[np.int16]]:
    return anatomy


@pytest.fixture
def save_series() -> Callable[..., list[Path]]:
    """Write ``count`` slices of one series into a folder, under names that do not follow their order."""

    def write(folder: Path, count: int = 6, **fields: Any) -> list[Path]:
        names = [f"IM{(number * 37) % 101:03d}" for number in range(1, count + 1)]
        return [save(ct_slice(number=n, **fields), folder / name) for n, name in enumerate(names, start=1)]

    return write


def small_settings() -> IngestParams:
    """Settings under which three slices are a series."""
    plausible = PlausibleParams(air_below_hu=-700, minimum_air=0.01, soft_tissue_hu=(0, 90), minimum_soft_tissue=0.2)
    return IngestParams(
        workers=1,
        minimum_slices=3,
        slice_thickness_mm=(0.5, 15.0),
        spacing_tolerance=0.2,
        pixels=PixelParams(seconds_per_file=10.0, inflated_mib=64, plausible=plausible),
        archives=ArchiveParams(expanded_gib=1.0, ratio=200.0, members=1000, depth=3),
        minimum_coverage_mm=0,
        kernel_preference=("soft", "unknown"),
        preferred_thickness_mm=5.0,
        correct_tilt=False,
        contrast_share=0.002,
    )


@pytest.fixture
def ingest_params() -> IngestParams:
    return small_settings()


@pytest.fixture(scope="session")
def params() -> IngestParams:
    """The same, for property tests, whose examples share their fixtures."""
    return small_settings()


@pytest.fixture(scope="session")
def phantom_head(tmp_path_factory: pytest.TempPathFactory) -> list[Dataset]:
    """The axial slices of one phantom head with a subdural, as their scanner wrote them, in no order."""
    folder = tmp_path_factory.mktemp("head")
    plan = PatientPlan(3, 7, date(2020, 1, 1), ("subdural",), 6, 96, 0.0, bone_series=False)
    write_patient(plan, folder)
    files = [dcmread(path) for path in sorted(folder.rglob("*")) if path.is_file()]
    return [ds for ds in files if "AXIAL" in ds.ImageType]


def enhanced(slices: Sequence[Dataset], **changes: Any) -> Dataset:
    """The slices of one series as one enhanced CT object: functional groups shared where all agree (PS3.3 A.38).

    ``changes`` set elements of the object.
    """
    first = slices[0]
    ds = Dataset()
    per_series = (
        "PatientID",
        "PatientName",
        "PatientSex",
        "PatientAge",
        "StudyInstanceUID",
        "StudyDate",
        "Manufacturer",
    )
    pixels = ("Rows", "Columns", "BitsAllocated", "BitsStored", "HighBit", "PixelRepresentation", "PixelPaddingValue")
    for keyword in (*per_series, *pixels, "SeriesInstanceUID", "SeriesNumber", "SeriesDescription"):
        if keyword in first:
            ds[keyword] = first[keyword]
    ds.SOPClassUID, ds.SOPInstanceUID = EnhancedCTImageStorage, uid("enhanced", first.SOPInstanceUID)
    ds.Modality, ds.InstanceNumber = "CT", 1
    ds.ImageType = ["ORIGINAL", "PRIMARY", "VOLUME", "NONE"]
    ds.SamplesPerPixel, ds.PhotometricInterpretation = 1, "MONOCHROME2"
    ds.NumberOfFrames = len(slices)
    shared = Dataset()
    shared.PixelMeasuresSequence = [_picked(first, "PixelSpacing", "SliceThickness")]
    shared.PlaneOrientationSequence = [_picked(first, "ImageOrientationPatient")]
    shared.CTReconstructionSequence = [_picked(first, "ConvolutionKernel")]
    ds.SharedFunctionalGroupsSequence = [shared]
    frames = []
    for one in slices:
        frame = Dataset()
        frame.PlanePositionSequence = [_picked(one, "ImagePositionPatient")]
        frame.PixelValueTransformationSequence = [_picked(one, "RescaleIntercept", "RescaleSlope")]
        frame.CTImageFrameTypeSequence = [Dataset()]
        frame.CTImageFrameTypeSequence[0].FrameType = ["ORIGINAL", "PRIMARY", "VOLUME", "NONE"]
        frames.append(frame)
    ds.PerFrameFunctionalGroupsSequence = frames
    for keyword, value in changes.items():
        setattr(ds, keyword, value)
    stored = [one.pixel_array for one in slices]
    ds.PixelData = b"".join(array.astype("<i2" if ds.PixelRepresentation else "<u2").tobytes() for array in stored)
    ds["PixelData"].VR = "OW"
    ds.file_meta = FileMetaDataset()
    ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    ds.file_meta.MediaStorageSOPClassUID = ds.SOPClassUID
    ds.file_meta.MediaStorageSOPInstanceUID = UID(ds.SOPInstanceUID)
    return ds


def _picked(ds: Dataset, *keywords: str) -> Dataset:
    item = Dataset()
    for keyword in keywords:
        item[keyword] = ds[keyword]
    return item


@pytest.fixture(scope="session")
def make_enhanced() -> Callable[..., Dataset]:
    return enhanced


@dataclass(frozen=True)
class InProcess:
    """What an ingest would give, without files and worker processes."""

    account: pd.DataFrame
    series: pd.DataFrame
    slices: pd.DataFrame
    volumes: dict[str, NDArray[np.int16]]

    @property
    def counts(self) -> dict[str, int]:
        return {str(reason): int(n) for reason, n in self.account["reason"].value_counts().items()}


def read(root: Path, params: IngestParams) -> InProcess:
    found = scan(root, params)
    verdicts = dict(found.verdicts)
    rows = [series_row(g, None, g.reason, g.detail, params) for g in found.groups if g.reason and not g.last_resort]
    slices: list[dict] = []
    volumes: dict[str, NDArray[np.int16]] = {}
    for study, beside in zip(found.studies, found.beside, strict=True):
        reading = read_study(study, params, others=beside)
        verdicts |= reading.verdicts
        facts = volume_facts(reading.volume) if reading.volume else None
        for i, (group, why) in enumerate(zip(reading.groups, reading.group_reasons, strict=True)):
            rows.append(series_row(group, facts if i == reading.chosen else None, *why, params, reading.places[i]))
        if reading.volume and facts:
            slices.extend(slice_rows(facts))
            volumes[slices[-1]["volume"]] = reading.volume.hu
    return InProcess(account_table(found.headers, verdicts), series_table(rows), slice_table(slices), volumes)


@pytest.fixture
def read_in_process() -> Callable[[Path, IngestParams], InProcess]:
    return read
