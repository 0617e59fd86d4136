"""Write slices as CT Image Storage files with fixed identifiers, dates and bytes: RLE too is written here, so that no library's version counts."""

from __future__ import annotations

import hashlib
import struct
from dataclasses import dataclass
from datetime import date
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.filebase import DicomBytesIO
from pydicom.filewriter import write_data_element, write_file_meta_info
from pydicom.uid import UID, CTImageStorage, ImplicitVRLittleEndian, RLELossless

from ich_pipeline.phantom.draw import FloatArray
from ich_pipeline.phantom.scanners import Scanner

LARGEST_HU = 3071


def uid_of(*key: object) -> str:
    """A UID under 2.25 from a hash of the key."""
    digest = hashlib.sha256("|".join(str(part) for part in key).encode()).digest()
    return f"2.25.{int.from_bytes(digest[:16], 'big')}"


_IMPLEMENTATION = uid_of("ich phantom implementation")


@dataclass(frozen=True)
class Study:
    """What all files of one study share."""

    patient: str  # PatientID
    age: int
    sex: str
    day: date
    study_uid: str
    scanner: Scanner


@dataclass(frozen=True)
class Series:
    """What all files of one series share. Directions are unit vectors of rows and columns (ImageOrientationPatient)."""

    series_uid: str
    number: int
    description: str
    kernel: str
    image_type: tuple[str, ...]
    orientation: tuple[float, float, float, float, float, float]
    spacing_mm: float
    thickness_mm: float
    window: tuple[int, int]  # centre, width
    tilt_deg: float


@dataclass(frozen=True)
class Image:
    """One image: HU (Rows, Columns), where its first pixel lies (mm, LPS) and its number."""

    sop_uid: str
    number: int
    position: tuple[float, float, float]
    hu: FloatArray


def _number(value: float) -> str:
    """A decimal string; no negative zero."""
    text = f"{value:.5f}".rstrip("0").rstrip(".")
    return "0" if text == "-0" else text


def _header(study: Study, series: Series) -> Dataset:
    scanner = study.scanner
    day = study.day.strftime("%Y%m%d")
    ds = Dataset()
    ds.SpecificCharacterSet = "ISO_IR 100"
    ds.ImageType = list(series.image_type)
    ds.SOPClassUID = CTImageStorage
    ds.StudyDate = ds.SeriesDate = ds.AcquisitionDate = ds.ContentDate = day
    ds.StudyTime = ds.SeriesTime = ds.AcquisitionTime = ds.ContentTime = "120000"
    ds.AccessionNumber = "A" + study.patient
    ds.Modality = "CT"
    ds.Manufacturer = scanner.manufacturer
    ds.ManufacturerModelName = scanner.model
    ds.ReferringPhysicianName = ""
    ds.StudyDescription = "CT HEAD WITHOUT CONTRAST"
    ds.SeriesDescription = series.description
    ds.PatientName = f"PHANTOM^{study.patient[2:]}"
    ds.PatientID = study.patient
    ds.PatientBirthDate = ""
    ds.PatientSex = study.sex
    ds.PatientAge = f"{study.age:03d}Y"
    ds.BodyPartExamined = "HEAD"
    ds.SliceThickness = _number(series.thickness_mm)
    ds.KVP = str(scanner.kvp)
    ds.GantryDetectorTilt = _number(series.tilt_deg)
    ds.ConvolutionKernel = series.kernel
    ds.PatientPosition = "HFS"
    ds.StudyInstanceUID = study.study_uid
    ds.SeriesInstanceUID = series.series_uid
    ds.StudyID = "1"
    ds.SeriesNumber = str(series.number)
    ds.AcquisitionNumber = "1"
    ds.ImageOrientationPatient = [_number(v) for v in series.orientation]
    ds.FrameOfReferenceUID = uid_of(study.study_uid, "frame")
    ds.PositionReferenceIndicator = ""
    ds.SamplesPerPixel = 1
    ds.PhotometricInterpretation = "MONOCHROME2"
    ds.PixelSpacing = [_number(series.spacing_mm)] * 2
    ds.BitsAllocated = 16
    ds.BitsStored = scanner.bits_stored
    ds.HighBit = scanner.bits_stored - 1
    ds.PixelRepresentation = int(scanner.signed)
    if scanner.padding is not None:
        ds.add_new("PixelPaddingValue", "SS" if scanner.signed else "US", scanner.padding)
    ds.WindowCenter, ds.WindowWidth = str(series.window[0]), str(series.window[1])
    ds.RescaleIntercept, ds.RescaleSlope, ds.RescaleType = str(scanner.intercept), "1", "HU"
    return ds


def stored_values(hu: FloatArray, scanner: Scanner) -> NDArray[np.integer]:
    """HU as the scanner stores it: rounded, rescaled, outside the circular field of view padded."""
    whole = np.rint(np.clip(hu, -1024, LARGEST_HU)).astype(np.int32) - scanner.intercept
    if scanner.padding is not None:
        size = hu.shape[0]
        steps = 2 * np.arange(size, dtype=np.int64) - (size - 1)
        outside = steps[:, None] * steps[:, None] + steps[None, :] * steps[None, :] > size * size
        whole[outside] = scanner.padding
    return whole.astype("<i2" if scanner.signed else "<u2")


class SeriesWriter:
    """Writes the images of one series into a folder; the file names are hashes and say nothing about the order."""

    def __init__(self, folder: Path, study: Study, series: Series) -> None:
        self._folder, self._scanner = folder, study.scanner
        # Most elements are the same in every image: they are encoded once.
        self._shared = self._encoded(_header(study, series))
        self._meta = FileMetaDataset()
        self._meta.MediaStorageSOPClassUID = CTImageStorage
        self._meta.TransferSyntaxUID = UID(study.scanner.transfer_syntax)
        self._meta.ImplementationClassUID = UID(_IMPLEMENTATION)
        self._meta.ImplementationVersionName = "ICH_PHANTOM_1"

    def write(self, image: Image) -> None:
        """Write one image."""
        stored = stored_values(image.hu, self._scanner)
        ds = Dataset()
        ds.SOPInstanceUID = image.sop_uid
        ds.InstanceNumber = str(image.number)
        ds.ImagePositionPatient = [_number(v) for v in image.position]
        ds.SliceLocation = _number(image.position[2])
        ds.Rows, ds.Columns = stored.shape
        compressed = self._scanner.transfer_syntax == RLELossless
        pixels = encapsulate([encode_rle(stored.view(np.uint16))]) if compressed else stored.tobytes()
        ds.add_new("PixelData", "OB" if compressed else "OW", pixels)
        ds["PixelData"].is_undefined_length = compressed
        elements = self._shared | self._encoded(ds)
        self._meta.MediaStorageSOPInstanceUID = UID(image.sop_uid)
        file = DicomBytesIO()
        file.write(b"\0" * 128 + b"DICM")
        write_file_meta_info(file, self._meta, enforce_standard=True)
        for tag in sorted(elements):
            file.write(elements[tag])
        name = hashlib.sha256(image.sop_uid.encode()).hexdigest()[:12] + self._scanner.extension
        (self._folder / name).write_bytes(file.getvalue())

    def _encoded(self, ds: Dataset) -> dict[int, bytes]:
        """Every element in the scanner's transfer syntax, by tag."""
        encoded = {}
        for element in ds:
            buffer = DicomBytesIO()
            buffer.is_little_endian = True
            buffer.is_implicit_VR = self._scanner.transfer_syntax == ImplicitVRLittleEndian
            write_data_element(buffer, element)
            encoded[int(element.tag)] = buffer.getvalue()
        return encoded


_SHORTEST_RUN = 3


def encode_rle(stored: NDArray[np.uint16]) -> bytes:
    """One RLE frame of an image (Rows, Columns): header, then the high bytes and the low bytes as two segments."""
    planes = ((stored >> 8).astype(np.uint8), (stored & 255).astype(np.uint8))
    segments = [_segment(plane) for plane in planes]
    offsets = [64, 64 + len(segments[0])]
    header = struct.pack("<16L", 2, *offsets, *([0] * 13))
    return header + b"".join(segments)


def _segment(plane: NDArray[np.uint8]) -> bytes:
    out = bytearray()
    for row in plane:
        _pack_row(row, out)
    if len(out) % 2:
        out.append(0)
    return bytes(out)


def _pack_row(row: NDArray[np.uint8], out: bytearray) -> None:
    """PackBits one row: runs of three and more as a repeat, the rest literally. A run never crosses rows."""
    edges = np.flatnonzero(row[1:] != row[:-1]) + 1
    starts = np.concatenate(([0], edges))
    lengths = np.diff(np.concatenate((starts, [row.size])))
    literal_from = 0
    for place in np.flatnonzero(lengths >= _SHORTEST_RUN):
        start, length = int(starts[place]), int(lengths[place])
        _literal(row[literal_from:start], out)
        _repeat(int(row[start]), length, out)
        literal_from = start + length
    _literal(row[literal_from:], out)


def _literal(values: NDArray[np.uint8], out: bytearray) -> None:
    for first in range(0, values.size, 128):
        piece = values[first : first + 128]
        out.append(piece.size - 1)
        out += piece.tobytes()


def _repeat(value: int, length: int, out: bytearray) -> None:
    while length >= 2:
        run = min(length, 128)
        out += bytes((257 - run, value))
        length -= run
    if length:
        out += bytes((0, value))
