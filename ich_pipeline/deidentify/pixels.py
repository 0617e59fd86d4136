"""What may hide in the pixel data, which stays as it is: bytes after the last pixel, overlay bits, comments in streams."""

from __future__ import annotations

import re

import numpy as np
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


def cut_excess(ds: Dataset) -> int:
    """Remove what follows the last pixel of native pixel data; how many bytes that held something.

    Raises:
        ValueError: there are fewer bytes than pixels.
    """
    samples = int(ds.Rows) * int(ds.Columns) * int(ds.get("SamplesPerPixel", 1) or 1)
    frames = fields.integer(ds, "NumberOfFrames") or 1
    length = (samples * frames * int(ds.BitsAllocated) + 7) // 8
    data = bytes(ds.PixelData)
    if len(data) < length:
        raise ValueError("fewer bytes than pixels")
    excess = data[length:]
    if excess:
        ds.PixelData = data[:length] + b"\0" * (length % 2)
    return len(excess) if excess.strip(b"\0") else 0


def overlay_in_pixels(ds: Dataset) -> bool:
    """Does an overlay say that its bits lie in the unused bits of PixelData (retired, PS3.3 C.9.2)?"""
    for group in range(0x6000, 0x6020, 2):
        try:
            if (group, 0x0102) in ds and int(ds[group, 0x0102].value or 0) > 0:
                return True
        except Exception:  # a position that is no number: the overlay's place is unknown
            return True
    return False


def unused_bits(ds: Dataset) -> bool:
    """Do unused high bits of native pixels hold anything but copies of the sign bit?"""
    allocated, stored, high = int(ds.BitsAllocated), int(ds.BitsStored), int(ds.HighBit)
    if allocated != 16 or (stored == 16 and high == 15) or not 0 <= high < 16:
        return False
    order = "<" if ds.original_encoding[1] is not False else ">"
    raw = np.frombuffer(bytes(ds.PixelData)[: len(ds.PixelData) // 2 * 2], f"{order}u2")
    above = raw >> (high + 1)
    ones = (1 << (15 - high)) - 1
    sign = (raw >> high) & 1
    below = raw & ((1 << max(high + 1 - stored, 0)) - 1)
    expected = sign * ones if int(ds.PixelRepresentation) == 1 else np.zeros_like(above)
    return bool(np.any(above != expected) or np.any(below))


def stream_comments(ds: Dataset, syntax: UID) -> bool:
    """Do the frames of a compressed image carry comments or application data of words that no codec writes?"""
    if not syntax.is_encapsulated:
        return False
    frames = fields.integer(ds, "NumberOfFrames") or 1
    return any(
        _says_more(note) for frame in generate_frames(ds.PixelData, number_of_frames=frames) for note in notes(frame)
    )


def notes(frame: bytes) -> list[bytes]:
    """COM and APPn segments before the first scan of a JPEG or JPEG-LS frame; COM segments of a JPEG 2000 main header."""
    if frame[:2] == b"\xff\xd8":
        ends, wanted = {0xDA}, {0xFE, *range(0xE0, 0xF0)}
    elif frame[:4] == b"\xff\x4f\xff\x51":
        ends, wanted = {0x90, 0xD9}, {0x64}
    elif frame[4:8] == b"jP  ":  # a JP2 file: its boxes may hold XML, names and links
        start = frame.find(b"\xff\x4f\xff\x51")
        return [frame[:start], *notes(frame[start:])] if start > 0 else [frame]
    else:
        return []
    found, at = [], 2
    while at + 4 <= len(frame) and frame[at] == 0xFF and frame[at + 1] not in ends:
        if frame[at + 1] == 0xFF:  # a fill byte
            at += 1
            continue
        length = int.from_bytes(frame[at + 2 : at + 4], "big")
        if frame[at + 1] in wanted:
            found.append(frame[at + 4 : at + 2 + length])
        at += 2 + max(length, 2)
    tail = frame.rstrip(b"\0\xff")
    end = tail.rfind(b"\xff\xd9")
    if 0 <= end < len(tail) - 2:  # bytes after the end of the image
        found.append(tail[end + 2 :])
    return found


def _says_more(note: bytes) -> bool:
    found = [w.decode("latin-1") for w in _PLAIN_WORD.findall(note)]
    return any(words.fold(w) not in _CODEC_WORDS and not words.is_known(w) and not _technical(w) for w in found)


def _technical(word: str) -> bool:
    """``v7``, ``2.5.0``, ``jp2h``, ``ftyp``: version numbers and box names."""
    return bool(re.fullmatch(r"v?\d{1,2}[a-z]?|jp[2xch ]\w?|ftyp\w*|ihdr|colr|res[cd]?|ICC\w*|prof\w*", word, re.I))
