"""Read one file's header. Tolerant: nothing here raises for what a file may contain, it becomes the file's verdict."""

from __future__ import annotations

import errno
import struct
import warnings
from dataclasses import replace
from typing import BinaryIO

from pydicom.dataset import Dataset
from pydicom.uid import HTJ2K, JPEG2000, JPEGBaseline8Bit, JPEGExtended12Bit, JPEGLSNearLossless

from ich_pipeline.dicom import fields, multiframe
from ich_pipeline.dicom.frames import frame_name, frame_path
from ich_pipeline.dicom.header import Header, Source
from ich_pipeline.dicom.opening import (
    DEFAULT_LIMITS,
    Deadline,
    Limits,
    TooLargeError,
    TooSlowError,
    open_source,
    read_header_dataset,
)
from ich_pipeline.dicom.reasons import Reason
from ich_pipeline.dicom.verdict import judge

LOSSY = frozenset({JPEGBaseline8Bit, JPEGExtended12Bit, JPEGLSNearLossless, JPEG2000, HTJ2K})
_KEYWORDS = (
    "SpecificCharacterSet",
    "ImageType",
    "SOPClassUID",
    "SOPInstanceUID",
    "StudyDate",
    "AccessionNumber",
    "Modality",
    "Manufacturer",
    "SeriesDescription",
    "AcquisitionDateTime",
    "AcquisitionTime",
    "BodyPartExamined",
    "FrameOfReferenceUID",
    "LossyImageCompression",
    "PatientID",
    "PatientBirthDate",
    "PatientSex",
    "PatientAge",
    "ContrastBolusAgent",
    "ContrastBolusVolume",
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
    *multiframe.KEYWORDS,
)


def read_header(
    source: Source, name: str, thickness_range_mm: tuple[float, float], limits: Limits = DEFAULT_LIMITS
) -> Header:
    """The header of a file's first slice; see :func:`read_slice_headers`."""
    return read_slice_headers(source, name, thickness_range_mm, limits)[0]


def read_slice_headers(
    source: Source, name: str, thickness_range_mm: tuple[float, float], limits: Limits = DEFAULT_LIMITS
) -> list[Header]:
    """Read a file's header and judge the file, or each frame of an enhanced object, by itself.

    Args:
        source: a path, or the bytes of a file.
        name: how the account calls it.
        thickness_range_mm: allowed SliceThickness.
        limits: of time and memory.

    Returns:
        One header; of an enhanced object one a frame. At least one.
    """
    blank = Header(name, source)
    try:
        with open_source(source) as file:
            start = file.read(256)
            if not start:
                return [blank.set(Reason.EMPTY_FILE)]
            prefix = start[128:132] == b"DICM"
            if not prefix and not looks_like_dicom(start):
                return [blank.set(Reason.NOT_DICOM)]
            file.seek(0)
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                return _read(file, blank, prefix, thickness_range_mm, limits)
    except OSError as error:
        # Of the parser, not of the disk: its own words, or a hostile length that made it jump to before the start.
        if error.errno in (None, errno.EINVAL):
            return [blank.set(Reason.BROKEN_HEADER, "lengths that do not fit the file")]
        return [blank.set(Reason.UNREADABLE, error.strerror or type(error).__name__)]
    except TooLargeError as error:
        return [blank.set(Reason.TOO_LARGE, str(error))]
    except TooSlowError as error:
        return [blank.set(Reason.TIMED_OUT, str(error))]
    except Exception as error:  # whatever a hostile header makes pydicom raise is an account row
        return [blank.set(Reason.BROKEN_HEADER, type(error).__name__)]


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


def _read(
    file: BinaryIO, blank: Header, prefix: bool, thickness_range_mm: tuple[float, float], limits: Limits
) -> list[Header]:
    deadline = Deadline(limits.seconds)
    ds, has_pixels = read_header_dataset(file, _KEYWORDS, limits.inflated_mib, deadline, force=not prefix)
    meta = getattr(ds, "file_meta", Dataset())
    if not fields.text(ds, "SOPClassUID"):
        named = fields.text(meta, "MediaStorageSOPClassUID")
        if not named:
            return [blank.set(Reason.BROKEN_HEADER if prefix else Reason.NOT_DICOM, "SOPClassUID missing")]
        ds.SOPClassUID = named
    blank = replace(blank, transfer_syntax=fields.text(meta, "TransferSyntaxUID"))
    if not multiframe.is_enhanced(ds):
        return [_judged(blank, ds, has_pixels, thickness_range_mm)]
    problem = multiframe.problem(ds)
    if problem:
        of_all = replace(_filled(blank, ds), frames=multiframe.frame_count(ds))
        return [of_all.set(Reason.MULTI_FRAME, problem)]
    headers = []
    for frame in range(1, multiframe.frame_count(ds) + 1):
        deadline.check()
        flat = multiframe.frame_dataset(ds, frame)
        of_frame = replace(blank, name=frame_path(blank.name, frame), frame=frame)
        headers.append(_judged(of_frame, flat, has_pixels, thickness_range_mm))
    return headers or [_filled(blank, ds).set(Reason.MULTI_FRAME, "no frame is described")]


def _judged(blank: Header, ds: Dataset, has_pixels: bool, thickness_range_mm: tuple[float, float]) -> Header:
    header = _filled(blank, ds)
    verdict = judge(header, ds, has_pixels, thickness_range_mm)
    return header.set(verdict.reason, verdict.detail, last_resort=verdict.last_resort) if verdict else header


def _filled(blank: Header, ds: Dataset) -> Header:
    sop_instance_uid = fields.text(ds, "SOPInstanceUID")
    if sop_instance_uid and blank.frame is not None:
        sop_instance_uid = frame_name(sop_instance_uid, blank.frame)
    return replace(
        blank,
        sop_class_uid=fields.text(ds, "SOPClassUID"),
        sop_instance_uid=sop_instance_uid,
        series_uid=fields.text(ds, "SeriesInstanceUID"),
        study_uid=fields.text(ds, "StudyInstanceUID"),
        patient_id=fields.text(ds, "PatientID"),
        patient_age=fields.text(ds, "PatientAge"),
        patient_sex=fields.text(ds, "PatientSex"),
        birth_date=fields.date(fields.text(ds, "PatientBirthDate")),
        study_date=fields.date(fields.text(ds, "StudyDate")),
        accession_number=fields.text(ds, "AccessionNumber"),
        manufacturer=fields.text(ds, "Manufacturer"),
        kernel=fields.text(ds, "ConvolutionKernel"),
        series_description=fields.text(ds, "SeriesDescription"),
        body_part=fields.text(ds, "BodyPartExamined"),
        frame_of_reference=fields.text(ds, "FrameOfReferenceUID"),
        lossy=fields.text(ds, "LossyImageCompression") == "01" or blank.transfer_syntax in LOSSY,
        thickness_mm=next((t for t in fields.numbers(ds, "SliceThickness", 1) or () if t > 0), None),
        rows=fields.integer(ds, "Rows"),
        columns=fields.integer(ds, "Columns"),
        spacing_mm=fields.numbers(ds, "PixelSpacing", 2),
        orientation=fields.numbers(ds, "ImageOrientationPatient", 6),
        position=fields.numbers(ds, "ImagePositionPatient", 3),
        series_number=fields.integer(ds, "SeriesNumber"),
        acquisition_number=fields.integer(ds, "AcquisitionNumber"),
        acquired=fields.moment(ds, "AcquisitionDateTime", "AcquisitionTime"),
        instance_number=fields.integer(ds, "InstanceNumber"),
    )
