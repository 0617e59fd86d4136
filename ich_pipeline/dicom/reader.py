"""Read one file's header. Tolerant: nothing here raises for what a file may contain, it becomes the file's verdict."""

from __future__ import annotations

import io
import struct
import warnings
from dataclasses import replace
from typing import BinaryIO

import pydicom
from pydicom.dataset import Dataset
from pydicom.uid import DeflatedExplicitVRLittleEndian

from ich_pipeline.dicom import fields
from ich_pipeline.dicom.header import Header, Source
from ich_pipeline.dicom.reasons import Reason
from ich_pipeline.dicom.verdict import judge

_KEYWORDS = (
    "SpecificCharacterSet",
    "ImageType",
    "SOPClassUID",
    "SOPInstanceUID",
    "StudyDate",
    "Modality",
    "Manufacturer",
    "SeriesDescription",
    "PatientID",
    "PatientSex",
    "PatientAge",
    "ContrastBolusAgent",
    "SliceThickness",
    "ConvolutionKernel",
    "StudyInstanceUID",
    "SeriesInstanceUID",
    "SeriesNumber",
    "AcquisitionNumber",
    "InstanceNumber",
    "ImagePositionPatient",
    "ImageOrientationPatient",
    "SamplesPerPixel",
    "NumberOfFrames",
    "Rows",
    "Columns",
    "PixelSpacing",
    "BitsAllocated",
    "BitsStored",
    "PixelRepresentation",
    "RescaleIntercept",
    "RescaleSlope",
    "RescaleType",
)


def read_header(source: Source, name: str, thickness_range_mm: tuple[float, float]) -> Header:
    """Read a header and judge the file by itself.

    Args:
        source: a path, or the bytes of a file.
        name: how the account calls it.
        thickness_range_mm: allowed SliceThickness.
    """
    blank = Header(name, source)
    try:
        with _open(source) as file:
            start = file.read(256)
            if not start:
                return blank.set(Reason.EMPTY_FILE)
            prefix = start[128:132] == b"DICM"
            if not prefix and not looks_like_dicom(start):
                return blank.set(Reason.NOT_DICOM)
            file.seek(0)
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                return _read(file, blank, prefix, thickness_range_mm)
    except OSError as error:
        return blank.set(Reason.UNREADABLE, error.strerror or type(error).__name__)
    except Exception as error:  # whatever a hostile header makes pydicom raise is an account row
        return blank.set(Reason.BROKEN_HEADER, type(error).__name__)


def looks_like_dicom(start: bytes) -> bool:
    """Could a file without the ``DICM`` prefix be DICOM? Its first element must be of group 2 or 8 and plausible."""
    if len(start) < 16:
        return False
    explicit = start[4:6].isalpha() and start[4:6].isupper()
    for order in "<>":
        group, element, length = struct.unpack(f"{order}HHI", start[:8])
        if group in (0x0002, 0x0008) and element <= 0x2000 and (explicit or (order == "<" and length <= 1024)):
            return True
    return False


def _open(source: Source) -> BinaryIO:
    return io.BytesIO(source) if isinstance(source, bytes) else source.open("rb")


def _read(file: BinaryIO, blank: Header, prefix: bool, thickness_range_mm: tuple[float, float]) -> Header:
    ds = pydicom.dcmread(file, stop_before_pixels=True, specific_tags=list(_KEYWORDS), force=not prefix)
    meta = getattr(ds, "file_meta", Dataset())
    # pydicom leaves the file at the element that it stopped before: no such element, no pixels. (A deflated file it
    # leaves anywhere: there the decoder will tell.)
    deflated = fields.text(meta, "TransferSyntaxUID") == DeflatedExplicitVRLittleEndian
    has_pixels = deflated or file.read(4) in (b"\xe0\x7f\x10\x00", b"\x7f\xe0\x00\x10")
    sop_class = fields.text(ds, "SOPClassUID") or fields.text(meta, "MediaStorageSOPClassUID")
    if not sop_class:
        return blank.set(Reason.BROKEN_HEADER if prefix else Reason.NOT_DICOM, "SOPClassUID missing")
    header = replace(
        blank,
        sop_class_uid=sop_class,
        sop_instance_uid=fields.text(ds, "SOPInstanceUID"),
        series_uid=fields.text(ds, "SeriesInstanceUID"),
        study_uid=fields.text(ds, "StudyInstanceUID"),
        patient_id=fields.text(ds, "PatientID"),
        patient_age=fields.text(ds, "PatientAge"),
        patient_sex=fields.text(ds, "PatientSex"),
        study_date=fields.date(fields.text(ds, "StudyDate")),
        manufacturer=fields.text(ds, "Manufacturer"),
        kernel=fields.text(ds, "ConvolutionKernel"),
        series_description=fields.text(ds, "SeriesDescription"),
        transfer_syntax=fields.text(meta, "TransferSyntaxUID"),
        thickness_mm=next((t for t in fields.numbers(ds, "SliceThickness", 1) or () if t > 0), None),
        rows=fields.integer(ds, "Rows"),
        columns=fields.integer(ds, "Columns"),
        spacing_mm=fields.numbers(ds, "PixelSpacing", 2),
        orientation=fields.numbers(ds, "ImageOrientationPatient", 6),
        position=fields.numbers(ds, "ImagePositionPatient", 3),
        series_number=fields.integer(ds, "SeriesNumber"),
        acquisition_number=fields.integer(ds, "AcquisitionNumber"),
        instance_number=fields.integer(ds, "InstanceNumber"),
    )
    verdict = judge(header, ds, has_pixels, thickness_range_mm)
    return header.set(*verdict) if verdict else header
