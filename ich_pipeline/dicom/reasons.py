"""Why a file is used, set aside or rejected: the one list of reason codes.

*Set aside* is a good file that another one, or none, is read in place of; *rejected* is a file that cannot be read.
"""

from __future__ import annotations

from enum import StrEnum


class Status(StrEnum):
    """What became of a file."""

    USED = "used"
    SET_ASIDE = "set_aside"
    REJECTED = "rejected"


class Reason(StrEnum):
    """Reason code of one file in ``account.csv``; :attr:`status` and :attr:`explanation` belong to it."""

    USED = "used"
    MEDIA_DIRECTORY = "media_directory"
    ARCHIVE = "archive"
    NOT_CT = "not_ct"
    SECONDARY = "secondary"
    MULTI_FRAME = "multi_frame"
    LOCALIZER = "localizer"
    REFORMATTED = "reformatted"
    VIRTUAL = "virtual"
    NOT_AXIAL = "not_axial"
    NOT_HU = "not_hu"
    IMPLAUSIBLE_HU = "implausible_hu"
    NO_BRAIN = "no_brain"
    MATRIX_OUT_OF_RANGE = "matrix_out_of_range"
    THICKNESS_OUT_OF_RANGE = "thickness_out_of_range"
    BONE_KERNEL = "bone_kernel"
    CONTRAST = "contrast"
    NO_PATIENT_ID = "no_patient_id"
    MIXED_IDENTITY = "mixed_identity"
    DUPLICATE_INSTANCE = "duplicate_instance"
    DUPLICATE_POSITION = "duplicate_position"
    DUPLICATE_STUDY = "duplicate_study"
    OTHER_ACQUISITION = "other_acquisition"
    DYNAMIC = "dynamic"
    TOO_FEW_SLICES = "too_few_slices"
    COVERAGE_TOO_SMALL = "coverage_too_small"
    NOT_CHOSEN = "not_chosen"
    UNREADABLE = "unreadable"
    SOURCE_UNREACHABLE = "source_unreachable"
    ARCHIVE_BROKEN = "archive_broken"
    ARCHIVE_ENCRYPTED = "archive_encrypted"
    ARCHIVE_UNSUPPORTED = "archive_unsupported"
    ARCHIVE_MEMBER_UNSAFE = "archive_member_unsafe"
    ARCHIVE_BOMB = "archive_bomb"
    EMPTY_FILE = "empty_file"
    NOT_DICOM = "not_dicom"
    BROKEN_HEADER = "broken_header"
    HEADER_INCOMPLETE = "header_incomplete"
    GEOMETRY_INVALID = "geometry_invalid"
    PIXELS_MISSING = "pixels_missing"
    SYNTAX_UNSUPPORTED = "syntax_unsupported"
    DECODE_FAILED = "decode_failed"
    TOO_LARGE = "too_large"
    DECODER_CRASHED = "decoder_crashed"
    TIMED_OUT = "timed_out"

    @property
    def status(self) -> Status:
        """The status that this reason implies."""
        return _TABLE[self][0]

    @property
    def explanation(self) -> str:
        """One line for a person."""
        return _TABLE[self][1]


_USED, _ASIDE, _REJECTED = Status.USED, Status.SET_ASIDE, Status.REJECTED

_TABLE: dict[Reason, tuple[Status, str]] = {
    Reason.USED: (_USED, "a slice of the series that was chosen for its study"),
    Reason.MEDIA_DIRECTORY: (_ASIDE, "a DICOMDIR: lists files, holds no image"),
    Reason.ARCHIVE: (_ASIDE, "an archive that was opened: its members have rows of their own"),
    Reason.NOT_CT: (_ASIDE, "another modality, or an object that is no image"),
    Reason.SECONDARY: (
        _ASIDE,
        "secondary capture (screenshots, dose pages), or a secondary image: one that is whole is read where its study has nothing better",
    ),
    Reason.MULTI_FRAME: (
        _ASIDE,
        "several frames in one object that do not stand for themselves: part of a concatenation, or no place for each frame",
    ),
    Reason.LOCALIZER: (_ASIDE, "a localizer (scout) picture"),
    Reason.REFORMATTED: (
        _ASIDE,
        "computed from other slices: projection, perfusion map; or a reformat, which is read where its study has nothing better",
    ),
    Reason.VIRTUAL: (
        _ASIDE,
        "computed from two energies (keV, virtual non-contrast, material): read where its study has nothing better",
    ),
    Reason.NOT_AXIAL: (_ASIDE, "the plane leans more than 45 degrees from axial"),
    Reason.NOT_HU: (_ASIDE, "the pixel values are not Hounsfield units"),
    Reason.IMPLAUSIBLE_HU: (
        _ASIDE,
        "the pixel values are no Hounsfield units of a head: no air, no soft tissue, or one value everywhere",
    ),
    Reason.NO_BRAIN: (_ASIDE, "Hounsfield units, but no brain: another part of the body, or a plastic head"),
    Reason.MATRIX_OUT_OF_RANGE: (_ASIDE, "fewer than 16 or more than 4096 rows or columns"),
    Reason.THICKNESS_OUT_OF_RANGE: (_ASIDE, "slice thickness outside ingest.slice_thickness_mm"),
    Reason.BONE_KERNEL: (_ASIDE, "reconstructed with a sharp kernel (bone, lung), too noisy for blood"),
    Reason.CONTRAST: (_ASIDE, "taken with contrast agent: the system reads unenhanced heads"),
    Reason.NO_PATIENT_ID: (_ASIDE, "PatientID is empty, so patients could not be kept apart between cohorts"),
    Reason.MIXED_IDENTITY: (
        _ASIDE,
        "the same UID names two patients, studies, series or slices: nobody can tell whose it is",
    ),
    Reason.DUPLICATE_INSTANCE: (_ASIDE, "another copy of a slice that is used (same SOPInstanceUID)"),
    Reason.DUPLICATE_POSITION: (_ASIDE, "another slice of the series at this position is used"),
    Reason.DUPLICATE_STUDY: (_ASIDE, "the patient has the same pictures in another study, which is read"),
    Reason.OTHER_ACQUISITION: (
        _ASIDE,
        "another acquisition of the same stretch, in the same series, is read: two scans are never mixed",
    ),
    Reason.DYNAMIC: (_ASIDE, "the same stretch taken three times or more (perfusion, angiography over time)"),
    Reason.TOO_FEW_SLICES: (_ASIDE, "the series has fewer slices than ingest.minimum_slices"),
    Reason.COVERAGE_TOO_SMALL: (_ASIDE, "the series covers less of the head than ingest.minimum_coverage_mm"),
    Reason.NOT_CHOSEN: (_ASIDE, "another series of the study was chosen"),
    Reason.UNREADABLE: (_REJECTED, "the file could not be opened or read"),
    Reason.SOURCE_UNREACHABLE: (_REJECTED, "the object store did not hand the file over"),
    Reason.ARCHIVE_BROKEN: (
        _REJECTED,
        "an archive, or a member of one, that is cut short or damaged: bring the whole archive",
    ),
    Reason.ARCHIVE_ENCRYPTED: (_REJECTED, "locked with a password: unpack the archive first"),
    Reason.ARCHIVE_UNSUPPORTED: (
        _REJECTED,
        "an archive, or a compression in one, that is not read here (7z, RAR, Zstandard, ...): unpack it first",
    ),
    Reason.ARCHIVE_MEMBER_UNSAFE: (
        _REJECTED,
        "a member that is a link or a device, or whose name leads out of the archive",
    ),
    Reason.ARCHIVE_BOMB: (_REJECTED, "beyond a limit of ingest.archives (bytes, ratio, members, nesting)"),
    Reason.EMPTY_FILE: (_REJECTED, "zero bytes"),
    Reason.NOT_DICOM: (_REJECTED, "not a DICOM file"),
    Reason.BROKEN_HEADER: (_REJECTED, "begins like DICOM, but its header cannot be read"),
    Reason.HEADER_INCOMPLETE: (
        _REJECTED,
        "a CT image without a field that geometry, identity or Hounsfield units need",
    ),
    Reason.GEOMETRY_INVALID: (_REJECTED, "orientation, spacing or position that no plane of a patient can have"),
    Reason.PIXELS_MISSING: (_REJECTED, "a CT image without pixel data"),
    Reason.SYNTAX_UNSUPPORTED: (_REJECTED, "a transfer syntax that no decoder here reads"),
    Reason.DECODE_FAILED: (_REJECTED, "the pixel data is cut short or damaged"),
    Reason.TOO_LARGE: (
        _REJECTED,
        "a header element is huge, the file inflates beyond ingest.pixels.inflated_mib, or its volume would be beyond volume_mib",
    ),
    Reason.DECODER_CRASHED: (_REJECTED, "the file brought the decoder, or the reader of headers, down"),
    Reason.TIMED_OUT: (_REJECTED, "reading or decoding took longer than ingest.pixels.seconds_per_file"),
}
