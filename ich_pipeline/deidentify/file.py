"""One file: judged, cleaned, written again with the same transfer syntax and pixel bytes, and scanned."""

from __future__ import annotations

import io
import warnings
from collections import Counter
from dataclasses import dataclass, field
from functools import partial
from importlib.metadata import version

import numpy as np
import pydicom
from numpy.typing import NDArray
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.sequence import Sequence
from pydicom.uid import (
    UID,
    CTImageStorage,
    EnhancedCTImageStorage,
    ExplicitVRBigEndian,
    LegacyConvertedEnhancedCTImageStorage,
    MediaStorageDirectoryStorage,
)

from ich_pipeline.deidentify import pixels, scan, secondary, streams, table, words
from ich_pipeline.deidentify.header import HeaderCleaner, Person, Tally
from ich_pipeline.deidentify.key import Key
from ich_pipeline.deidentify.options import Options
from ich_pipeline.deidentify.pixels import lines_read
from ich_pipeline.deidentify.reasons import Outcome
from ich_pipeline.deidentify.text import text_rows
from ich_pipeline.deidentify.values import listed, registered
from ich_pipeline.dicom import delimiter, fields, multiframe
from ich_pipeline.dicom.decode import read_hu
from ich_pipeline.dicom.reader import looks_like_dicom
from ich_pipeline.dicom.stored import PixelError, transfer_syntax
from ich_pipeline.phantom.scanners import is_synthetic

OWN_WORDS = ("PatientName", "PatientID", "OtherPatientIDs", "OtherPatientNames", "PatientBirthName", "AccessionNumber")
METHOD = f"ich_pipeline; PS3.15 {table.EDITION} by {table.LIBRARY}"


@dataclass(frozen=True)
class Cleaned:
    """What became of one file.

    Attributes:
        outcome: the reason.
        detail: says more without any value of the file.
        data: the bytes of the new file; None where it is set aside.
        flags: what a person should look at.
        tally: what was removed and replaced.
        uids: new PatientID, study, series and SOP instance UID; None where it is set aside.
        old: the same before; never to be shown. None where it cannot be read.
        frames: that an enhanced object describes; 0 for any other file.
    """

    outcome: Outcome
    detail: str = ""
    data: bytes | None = field(default=None, repr=False)
    flags: tuple[str, ...] = ()
    tally: Tally = field(default_factory=Counter)
    uids: tuple[str, str, str, str] | None = None
    old: tuple[str, str, str, str] | None = field(default=None, repr=False)
    frames: int = 0


class _Aside(Exception):
    def __init__(self, outcome: Outcome, detail: str = ""):
        super().__init__(outcome)
        self.outcome, self.detail = outcome, detail


def deidentify_bytes(data: bytes, key: Key, options: Options) -> Cleaned:
    """De-identify one file. Nothing is raised for what a file may hold; what cannot be made safe is set aside."""
    if not data:
        return Cleaned(Outcome.EMPTY_FILE)
    if data[128:132] != b"DICM" and not looks_like_dicom(data[:256]):
        return Cleaned(Outcome.NOT_DICOM)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return _deidentify(data, key, options)
    except Exception as error:  # whatever a hostile file makes a library raise; its message may hold values
        return Cleaned(Outcome.BROKEN_HEADER, type(error).__name__)


def _deidentify(data: bytes, key: Key, options: Options) -> Cleaned:
    ds = scan.parse(data)
    ended = delimiter.with_end(data, ds)
    if ended is not None:
        data, ds = ended, scan.parse(ended)
    if len(ds) == 0:  # pydicom gives up all that it had read where a value has no end
        return Cleaned(Outcome.BROKEN_HEADER, "a value without its end: the file is damaged")
    patient, study, series, instance = old = _names(ds)
    frames = multiframe.frame_count(ds) if multiframe.is_enhanced(ds) else 0
    try:
        written, flags, tally = _clean(data, ds, (patient, study), key, options)
    except _Aside as aside:
        return Cleaned(aside.outcome, aside.detail, old=old, frames=frames)
    except Exception as error:  # as below, but what it was called is known
        return Cleaned(Outcome.BROKEN_HEADER, type(error).__name__, old=old, frames=frames)
    uids = (key.patient_id(patient), key.uid(study), key.uid(series), key.uid(instance))
    return Cleaned(Outcome.DEIDENTIFIED, "", written, flags, tally, uids, old, frames)


def _names(ds: Dataset) -> tuple[str, str, str, str]:
    text = partial(fields.text, ds)
    return text("PatientID"), text("StudyInstanceUID"), text("SeriesInstanceUID"), text("SOPInstanceUID")


def _clean(
    data: bytes, ds: Dataset, owner: tuple[str, str], key: Key, options: Options
) -> tuple[bytes, tuple[str, ...], Tally]:
    """The bytes of the new file, what a person should look at, and what was removed and replaced.

    Args:
        data: the file.
        ds: what it holds; is changed.
        owner: PatientID and StudyInstanceUID.
    """
    original = scan.parse(data)
    verdict = judge(data, ds)
    if verdict:
        raise _Aside(*verdict)
    syntax = transfer_syntax(ds)
    tally: Tally = Counter()
    flags = _look_at_pixels(data, ds, syntax, tally, options.ocr)
    if any(data[:128]) and data[128:132] == b"DICM":
        tally["", "preamble", "removed"] += 1
    for element in getattr(ds, "file_meta", ()):
        if element.keyword not in ("FileMetaInformationGroupLength", "FileMetaInformationVersion", *_KEPT_META):
            tally[f"({element.tag.group:04X},{element.tag.element:04X})", element.keyword or "unknown", "removed"] += 1
    own = _own_words(ds)
    HeaderCleaner(key, options, Person(*owner, own), tally).clean(ds)
    _keep_the_phantoms_mark(original, ds, own)
    _declare(ds, options)
    written = _write(ds, syntax)
    telling = scan.identifiers(original, [code for code, _ in options.codes]) - _said_in_every_file(options)
    left = scan.findings(written, telling, original)
    if left:
        raise _Aside(Outcome.IDENTIFIER_LEFT, "; ".join(left)[:500])
    if scan.parse(written).get_item("PixelData").value != ds.get_item("PixelData").value:
        raise _Aside(Outcome.IDENTIFIER_LEFT, "the pixel data changed")
    return written, flags, tally


_KEPT_META = ("MediaStorageSOPClassUID", "MediaStorageSOPInstanceUID", "TransferSyntaxUID")
_KEPT_META += ("ImplementationClassUID", "ImplementationVersionName")


def _own_words(ds: Dataset) -> frozenset[str]:
    """The words of the patient's names and numbers, which stay nowhere."""
    found: set[str] = set()
    for keyword in OWN_WORDS:
        if keyword in ds:
            found.update(*(words.words_of(str(value)) for value in listed(ds[keyword].value)))
    return frozenset(found)


def _keep_the_phantoms_mark(original: Dataset, ds: Dataset, own: frozenset[str]) -> None:
    """Leave it to be seen that a head is synthetic, or a model of such heads passes for one of patients."""
    mark = tuple(fields.text(original, keyword) for keyword in ("Manufacturer", "ConvolutionKernel"))
    if is_synthetic(*mark) and not words.words_of(" ".join(mark)) & own:
        ds.Manufacturer, ds.ConvolutionKernel = mark


def _look_at_pixels(data: bytes, ds: Dataset, syntax: UID, tally: Tally, ocr: bool) -> tuple[str, ...]:
    flags = []
    if pixels.overlay_in_pixels(ds):
        raise _Aside(Outcome.OVERLAY_IN_PIXELS)
    if syntax.is_encapsulated:
        more = streams.says_more(ds, syntax)
        if more:
            raise _Aside(Outcome.STREAM_COMMENT, more)
    else:
        try:
            excess = pixels.cut_excess(ds)
        except ValueError as error:
            raise _Aside(Outcome.PIXELS_UNREADABLE, str(error)) from None
        if excess:
            tally["(7FE0,0010)", "PixelData", "bytes_after_last_pixel_removed"] += 1
        if pixels.unused_bits(ds):
            flags.append("unused_bits")
    made_later = secondary.is_secondary(ds)
    if made_later:
        flags.append(secondary.FLAG)
    elif ds.SOPClassUID != CTImageStorage or (fields.integer(ds, "NumberOfFrames") or 1) > 1:
        return (*flags, "pixels_not_looked_at")
    try:
        for hu in secondary.pictures(data) if made_later else (read_hu(data),):
            _look_for_text(hu, ocr)
    except PixelError as error:
        raise _Aside(Outcome.PIXELS_UNREADABLE, str(error.reason)) from None
    if fields.text(ds, "BurnedInAnnotation").upper() != "NO":
        flags.append("burned_in_annotation_unsaid")
    return tuple(flags)


def _look_for_text(hu: NDArray[np.int16], ocr: bool) -> None:
    if rows := text_rows(hu):
        raise _Aside(Outcome.TEXT_IN_PIXELS, f"rows of letter-like shapes: {rows}")
    if ocr and (lines := lines_read(hu)):
        raise _Aside(Outcome.TEXT_IN_PIXELS, f"lines read by the character reader: {lines}")


def _declare(ds: Dataset, options: Options) -> None:
    """Say in the object what was done (PS3.15 E.1.1 step 4, PS3.3 C.12.1.1.9 and C.7.1.1)."""
    items = []
    for value, meaning in options.codes:
        item = Dataset()
        item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning = value, "DCM", meaning[:64]
        items.append(item)
    ds.PatientIdentityRemoved = "YES"
    ds.DeidentificationMethod = METHOD[:64]
    ds.DeidentificationMethodCodeSequence = Sequence(items)
    ds.LongitudinalTemporalInformationModified = "MODIFIED" if options.dates == "shift" else "REMOVED"
    ds.RecognizableVisualFeatures = "YES"  # a face can be rebuilt from a head CT


def _said_in_every_file(options: Options) -> set[str]:
    """The words that every output has from here: where an original has them too (ICH, clean, profile), they tell nobody."""
    ds = Dataset()
    _declare(ds, options)
    meanings = (item.CodeMeaning for item in ds.DeidentificationMethodCodeSequence)
    return scan.words_in([ds.DeidentificationMethod, _VERSION, "DCM YES MODIFIED REMOVED ANONYMIZED", *meanings])


_VERSION = f"ICH_{version('ich-pipeline')}"[:16]


def _write(ds: Dataset, syntax: UID) -> bytes:
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID = ds.SOPClassUID, ds.SOPInstanceUID
    meta.TransferSyntaxUID = syntax
    meta.ImplementationVersionName = _VERSION
    ds.file_meta = meta
    ds.preamble = b"\0" * 128
    buffer = io.BytesIO()
    implicit = syntax.is_implicit_VR
    pydicom.dcmwrite(
        buffer, ds, enforce_file_format=True, implicit_vr=implicit, little_endian=syntax != ExplicitVRBigEndian
    )
    return buffer.getvalue()


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
