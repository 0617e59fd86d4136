"""May a file be de-identified at all? By what it says of itself."""

from __future__ import annotations

from pydicom.dataset import Dataset
from pydicom.uid import (
    CTImageStorage,
    EnhancedCTImageStorage,
    LegacyConvertedEnhancedCTImageStorage,
    MediaStorageDirectoryStorage,
)

from ich_pipeline.deidentify import secondary
from ich_pipeline.deidentify.reasons import Outcome
from ich_pipeline.deidentify.values import registered
from ich_pipeline.dicom import fields

CT_CLASSES = frozenset({CTImageStorage, EnhancedCTImageStorage, LegacyConvertedEnhancedCTImageStorage})
_ROOT = "1.2.840.10008.5.1.4.1.1."
_DOCUMENTS, _REPORTS, _CAPTURES = f"{_ROOT}104.", (f"{_ROOT}88.", f"{_ROOT}11."), f"{_ROOT}7"
_SCREEN = ("SCREEN", "SCREENSHOT", "SECONDARY CAPTURE", "DOSE", "SUMMARY", "REPORT", "SAVE", "PHOTO")


def judge(data: bytes, ds: Dataset) -> tuple[Outcome, str] | None:
    """Why a file is set aside, with a detail that holds none of its values; None for one that may go on.

    Args:
        data: the file.
        ds: what it holds.
    """
    if found := _object_verdict(ds):
        return found
    image_type = fields.text(ds, "ImageType").upper().split("\\")
    if any(word in value for value in image_type for word in _SCREEN):
        return Outcome.SCREEN_CAPTURE, "ImageType names a screen, dose or report page"
    if fields.text(ds, "BurnedInAnnotation").upper() not in ("", "NO"):
        return Outcome.BURNED_IN, ""
    for keyword in ("SOPInstanceUID", "SeriesInstanceUID", "StudyInstanceUID"):
        if not fields.text(ds, keyword):
            return Outcome.UIDS_MISSING, keyword
    if "PixelData" not in ds:
        return Outcome.PIXELS_MISSING, ""
    if secondary.is_secondary(ds) and (why := secondary.why_no_slice(data, ds)):
        return Outcome.SCREEN_CAPTURE, f"ImageType value 2 is SECONDARY, and {why}"
    return None


def _object_verdict(ds: Dataset) -> tuple[Outcome, str] | None:
    """What kind of object is it, if not a CT image?"""
    meta = getattr(ds, "file_meta", Dataset())
    sop_class = fields.text(ds, "SOPClassUID") or fields.text(meta, "MediaStorageSOPClassUID")
    if sop_class == MediaStorageDirectoryStorage:
        return Outcome.MEDIA_DIRECTORY, ""
    if sop_class.startswith(_DOCUMENTS) or "EncapsulatedDocument" in ds:
        return Outcome.ENCAPSULATED_DOCUMENT, ""
    if sop_class.startswith(_REPORTS):
        return Outcome.STRUCTURED_REPORT, ""
    if sop_class == _CAPTURES or sop_class.startswith(f"{_CAPTURES}."):
        return Outcome.SECONDARY_CAPTURE, ""
    if sop_class not in CT_CLASSES:
        return Outcome.SOP_CLASS_UNSUPPORTED, "a standard SOP class" if registered(
            sop_class
        ) else "an unknown SOP class"
    return None
