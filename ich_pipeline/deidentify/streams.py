"""What a compressed frame carries beside its picture: comments, application data, and bytes behind its end."""

from __future__ import annotations

import re

from pydicom.dataset import Dataset
from pydicom.encaps import generate_frames
from pydicom.uid import UID, RLELossless

from ich_pipeline.deidentify import words
from ich_pipeline.dicom import fields, rle, segments

_CODECS = (
    "KAKADU OPENJPEG OPENJPH CREATED BY VER VERSION DICOM JPEG JPEG2000 LOSSLESS LOSSY LEAD TECHNOLOGIES INC JFIF EXIF IJG CODEC "
    "ENCODER LIBJPEG GDCM DCMTK AWARE LURATECH JASPER PEGASUS ACCUSOFT MATLAB FFMPEG LAVC KDU IMAGEMAGICK CREATOR CORP LAYER INFO LOG DELTA MSE BYTES"
)
_CODEC_WORDS = frozenset(_CODECS.split())
_PLAIN_WORD = re.compile(rb"[0-9A-Za-z\xc0-\xff][0-9A-Za-z\xc0-\xff']{2,}")


def says_more(ds: Dataset, syntax: UID) -> str:
    """What a compressed image carries that no codec writes, without a value of it; empty for nothing."""
    if not syntax.is_encapsulated:
        return ""
    frames = fields.integer(ds, "NumberOfFrames") or 1
    for frame in generate_frames(ds.PixelData, number_of_frames=frames):
        said, behind = notes(frame) if syntax != RLELossless else ([], rle.behind(frame, ds.Rows * ds.Columns))
        if any(map(_of_words, said)):
            return "a comment"
        if behind:
            return "bytes behind the end of the image"
    return ""


def notes(frame: bytes) -> tuple[list[bytes], bytes]:
    """Comments and application data of a frame, and what stands behind its end but for zeros and fill bytes.

    All of a JPEG or JPEG-LS frame, between its scans too; of a JPEG 2000 frame those of the main header and of every
    tile-part; of a JP2 file all before its codestream. Nothing of any other frame.
    """
    walked = segments.walk(frame)
    if walked is None:
        return [], b""
    return walked.notes, b"" if walked.end is None else frame[walked.end :].strip(b"\0\xff")


def _of_words(note: bytes) -> bool:
    """Does it hold words that no codec writes, in one byte a letter or in two?"""
    found = [w.decode("latin-1") for w in _PLAIN_WORD.findall(note) + _PLAIN_WORD.findall(note.replace(b"\0", b""))]
    return any(words.fold(w) not in _CODEC_WORDS and not words.is_known(w) and not _technical(w) for w in found)


def _technical(word: str) -> bool:
    """``v7``, ``2.5.0``, ``jp2h``, ``ftyp``: version numbers and box names."""
    return bool(re.fullmatch(r"v?\d{1,2}[a-z]?|jp[2xch ]\w?|ftyp\w*|ihdr|colr|res[cd]?|ICC\w*|prof\w*", word, re.I))
