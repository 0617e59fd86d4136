"""What a compressed frame carries beside its picture: comments, application data, and bytes behind its end.

Segments are walked as the standards lay them out: ISO 10918-1 annex B (JPEG), ISO 14495-1 annex C (JPEG-LS), ISO 15444-1
annex A (JPEG 2000, HTJ2K). In the coded data of all of them no byte FF is followed by one of 0x90 and above but for a marker.
"""

from __future__ import annotations

import re

from pydicom.dataset import Dataset
from pydicom.encaps import generate_frames
from pydicom.uid import UID

from ich_pipeline.deidentify import words
from ich_pipeline.dicom import fields

_CODECS = (
    "KAKADU OPENJPEG OPENJPH CREATED BY VERSION DICOM JPEG JPEG2000 LOSSLESS LOSSY LEAD TECHNOLOGIES INC JFIF EXIF IJG CODEC "
    "ENCODER LIBJPEG GDCM DCMTK AWARE LURATECH JASPER PEGASUS ACCUSOFT MATLAB FFMPEG LAVC KDU IMAGEMAGICK CREATOR CORP LAYER INFO LOG DELTA MSE BYTES"
)
_CODEC_WORDS = frozenset(_CODECS.split())
_PLAIN_WORD = re.compile(rb"[0-9A-Za-z\xc0-\xff][0-9A-Za-z\xc0-\xff']{2,}")

_JPEG, _JPEG_2000 = b"\xff\xd8", b"\xff\x4f\xff\x51"
_SCAN, _END = 0xDA, 0xD9  # SOS; EOI and EOC are one number
_JPEG_NOTES = frozenset({0xFE, *range(0xE0, 0xF0)})  # COM, APPn
_MARKER_IN_SCAN = re.compile(rb"\xff[\x80-\xcf\xd8-\xfe]")  # no stuffed byte, restart or fill byte
_TILE_PART, _TILE_DATA, _COMMENT = 0x90, 0x93, 0x64  # SOT, SOD, COM of JPEG 2000


def says_more(ds: Dataset, syntax: UID) -> str:
    """What a compressed image carries that no codec writes, without a value of it; empty for nothing."""
    if not syntax.is_encapsulated:
        return ""
    frames = fields.integer(ds, "NumberOfFrames") or 1
    for frame in generate_frames(ds.PixelData, number_of_frames=frames):
        said, behind = notes(frame)
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
    if frame.startswith(_JPEG):
        found, end = _jpeg(frame)
    elif frame.startswith(_JPEG_2000):
        found, end = _jpeg_2000(frame)
    elif frame[4:8] == b"jP  ":  # a JP2 file: its boxes may hold XML, names and links
        start = frame.find(_JPEG_2000)
        if start < 0:
            return [frame], b""
        found, behind = notes(frame[start:])
        return [frame[:start], *found], behind
    else:
        return [], b""
    return found, frame[end:].strip(b"\0\xff")


def _jpeg(frame: bytes) -> tuple[list[bytes], int]:
    """Notes, and where the frame ends: behind its first EOI, or at its last byte where it has none."""
    found, at = [], 2
    while at + 2 <= len(frame) and frame[at] == 0xFF:
        marker = frame[at + 1]
        if marker == 0xFF:  # a fill byte
            at += 1
            continue
        if marker == _END:
            return found, at + 2
        body, at = _segment(frame, at)
        if marker in _JPEG_NOTES:
            found.append(body)
        if marker == _SCAN:
            following = _MARKER_IN_SCAN.search(frame, at)
            if following is None:
                break
            at = following.start()
    return found, len(frame)


def _jpeg_2000(frame: bytes) -> tuple[list[bytes], int]:
    found, at, next_part = [], 2, 0
    while at + 4 <= len(frame) and frame[at] == 0xFF:
        marker = frame[at + 1]
        if marker == _END:
            return found, at + 2
        if marker == _TILE_DATA:
            if next_part <= at:  # of unknown length: it goes on to the end of the codestream
                break
            at = next_part
            continue
        start = at
        body, at = _segment(frame, at)
        if marker == _COMMENT:
            found.append(body)
        if marker == _TILE_PART:
            length = int.from_bytes(body[2:6], "big")
            next_part = start + length if length else 0
    if frame[at : at + 2] == b"\xff\xd9":
        return found, at + 2
    # The last tile-part says no length, or a wrong one: only coded data may stand between here and the first end marker.
    end = frame.find(b"\xff\xd9", at)
    return found, end + 2 if end >= 0 else len(frame)


def _segment(frame: bytes, at: int) -> tuple[bytes, int]:
    """The body of a marker segment, and where the next one begins."""
    length = int.from_bytes(frame[at + 2 : at + 4], "big")
    return frame[at + 4 : at + 2 + length], at + 2 + max(length, 2)


def _of_words(note: bytes) -> bool:
    """Does it hold words that no codec writes, in one byte a letter or in two?"""
    found = [w.decode("latin-1") for w in _PLAIN_WORD.findall(note) + _PLAIN_WORD.findall(note.replace(b"\0", b""))]
    return any(words.fold(w) not in _CODEC_WORDS and not words.is_known(w) and not _technical(w) for w in found)


def _technical(word: str) -> bool:
    """``v7``, ``2.5.0``, ``jp2h``, ``ftyp``: version numbers and box names."""
    return bool(re.fullmatch(r"v?\d{1,2}[a-z]?|jp[2xch ]\w?|ftyp\w*|ihdr|colr|res[cd]?|ICC\w*|prof\w*", word, re.I))
