"""What became of a file: the one list of outcomes of de-identification."""

from __future__ import annotations

from enum import StrEnum

from ich_pipeline.dicom.reasons import Reason


class Outcome(StrEnum):
    """``deidentified``, or why a file was set aside and not copied."""

    DEIDENTIFIED = "deidentified"
    EMPTY_FILE = "empty_file"
    UNREADABLE = "unreadable"
    NOT_DICOM = "not_dicom"
    BROKEN_HEADER = "broken_header"
    ARCHIVE = Reason.ARCHIVE.value
    ARCHIVE_BROKEN = Reason.ARCHIVE_BROKEN.value
    ARCHIVE_ENCRYPTED = Reason.ARCHIVE_ENCRYPTED.value
    ARCHIVE_UNSUPPORTED = Reason.ARCHIVE_UNSUPPORTED.value
    ARCHIVE_MEMBER_UNSAFE = Reason.ARCHIVE_MEMBER_UNSAFE.value
    ARCHIVE_BOMB = Reason.ARCHIVE_BOMB.value
    SOURCE_UNREACHABLE = Reason.SOURCE_UNREACHABLE.value
    MEDIA_DIRECTORY = "media_directory"
    ENCAPSULATED_DOCUMENT = "encapsulated_document"
    STRUCTURED_REPORT = "structured_report"
    SECONDARY_CAPTURE = "secondary_capture"
    SOP_CLASS_UNSUPPORTED = "sop_class_unsupported"
    SCREEN_CAPTURE = "screen_capture"
    BURNED_IN = "burned_in_annotation"
    UIDS_MISSING = "uids_missing"
    PIXELS_MISSING = "pixels_missing"
    PIXELS_UNREADABLE = "pixels_unreadable"
    OVERLAY_IN_PIXELS = "overlay_in_pixels"
    STREAM_COMMENT = "stream_comment"
    TEXT_IN_PIXELS = "text_in_pixels"
    IDENTIFIER_LEFT = "identifier_left"
    PROCESS_ENDED = "process_ended"

    @property
    def status(self) -> str:
        """``deidentified`` or ``set_aside``."""
        return "deidentified" if self is Outcome.DEIDENTIFIED else "set_aside"

    @property
    def explanation(self) -> str:
        """One line for a person."""
        return _MEANING[self]


_MEANING = {
    Outcome.DEIDENTIFIED: "a CT image, written de-identified",
    Outcome.EMPTY_FILE: "zero bytes",
    Outcome.UNREADABLE: "could not be opened or read",
    Outcome.NOT_DICOM: "not a DICOM file, so nobody can say what it holds",
    Outcome.BROKEN_HEADER: "begins like DICOM, but cannot be read to its end",
    **{Outcome(reason.value): reason.explanation for reason in Reason if reason.value.startswith("archive")},
    Outcome.SOURCE_UNREACHABLE: Reason.SOURCE_UNREACHABLE.explanation,
    Outcome.MEDIA_DIRECTORY: "a DICOMDIR: lists patients, holds no image",
    Outcome.ENCAPSULATED_DOCUMENT: "a document (PDF, CDA) inside a DICOM object",
    Outcome.STRUCTURED_REPORT: "a report or a presentation state: free text",
    Outcome.SECONDARY_CAPTURE: "a secondary capture: screen shots and scanned pages often show names",
    Outcome.SOP_CLASS_UNSUPPORTED: "no CT image: what such an object holds is not judged here",
    Outcome.SCREEN_CAPTURE: "a CT object that says it is a screen shot or dose page, or a secondary image that the ingest could not read either",
    Outcome.BURNED_IN: "BurnedInAnnotation is YES",
    Outcome.UIDS_MISSING: "SOP, series or study UID is missing",
    Outcome.PIXELS_MISSING: "no pixel data",
    Outcome.PIXELS_UNREADABLE: "the pixels cannot be decoded, so nobody can say what they show",
    Outcome.OVERLAY_IN_PIXELS: "an overlay lies in unused bits of the pixels, which must stay as they are",
    Outcome.STREAM_COMMENT: "the compressed stream holds a comment of unknown words, or bytes behind its end, and must stay as it is",
    Outcome.TEXT_IN_PIXELS: "rows of letter-like shapes, or writing that was read, in the picture: look at it",
    Outcome.IDENTIFIER_LEFT: "the second pass found something in the output",
    Outcome.PROCESS_ENDED: "reading it ended the process, or took two minutes",
}
