"""Where a compressed frame ends, and what it carries beside its picture, by walking its segments.

As the standards lay them out: ISO 10918-1 annex B (JPEG), ISO 14495-1 annex C (JPEG-LS), ISO 15444-1 annex A (JPEG 2000,
HTJ2K). In the coded data of all of them no byte FF is followed by one of 0x90 and above but for a marker.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import NamedTuple

JPEG_START, JPEG_2000_START, JP2_BOX = b"\xff\xd8", b"\xff\x4f\xff\x51", b"jP  "
SCAN, _END = 0xDA, 0xD9  # SOS; EOI and EOC are one number
_BARE = frozenset({0x01, *range(0xD0, 0xDA)})  # TEM, RSTn, SOI, EOI: neither length nor body
_JPEG_NOTES = frozenset({0xFE, *range(0xE0, 0xF0)})  # COM, APPn
_MARKER_IN_SCAN = re.compile(rb"\xff[\x80-\xcf\xd8-\xfe]")  # no stuffed byte, restart or fill byte
_TILE_PART, _TILE_DATA, _COMMENT = 0x90, 0x93, 0x64  # SOT, SOD, COM of JPEG 2000


class Walked(NamedTuple):
    """What a walk over a frame found: comments and application data, and where its end marker ends; None for no end."""

    notes: list[bytes]
    end: int | None


def walk(frame: bytes) -> Walked | None:
    """Walk a frame of JPEG, JPEG-LS or JPEG 2000, in a JP2 file too, whose boxes are a note; None for any other."""
    if frame.startswith(JPEG_START):
        return _jpeg(frame)
    if frame.startswith(JPEG_2000_START):
        return _jpeg_2000(frame)
    if frame[4:8] != JP2_BOX:
        return None
    start = frame.find(JPEG_2000_START)
    if start < 0:
        return Walked([frame], None)
    notes, end = _jpeg_2000(frame[start:])
    return Walked([frame[:start], *notes], None if end is None else start + end)


def jpeg_segments(frame: bytes) -> Iterator[tuple[int, bytes, int]]:
    """Marker, body and end of every segment of a JPEG or JPEG-LS frame, between its scans too, up to its first EOI.

    It ends before that where something else than a marker stands, or the frame itself ends.
    """
    at, marker = len(JPEG_START), 0
    while at + 2 <= len(frame) and frame[at] == 0xFF and marker != _END:
        marker = frame[at + 1]
        if marker == 0xFF:  # a fill byte
            at += 1
            continue
        body, at = (b"", at + 2) if marker in _BARE else _segment(frame, at)
        yield marker, body, at
        if marker == SCAN:
            following = _MARKER_IN_SCAN.search(frame, at)
            at = len(frame) if following is None else following.start()


def _jpeg(frame: bytes) -> Walked:
    """All of it, between its scans too, up to its first EOI."""
    found = []
    for marker, body, at in jpeg_segments(frame):
        if marker == _END:
            return Walked(found, at)
        if marker in _JPEG_NOTES:
            found.append(body)
    return Walked(found, None)


def _jpeg_2000(frame: bytes) -> Walked:
    """The main header and every tile-part."""
    found, at, next_part = [], 2, 0
    while at + 4 <= len(frame) and frame[at] == 0xFF:
        marker = frame[at + 1]
        if marker == _END:
            return Walked(found, at + 2)
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
    # The last tile-part says no length, or a wrong one: only coded data may stand between here and the first end marker.
    end = frame.find(b"\xff\xd9", at)
    return Walked(found, end + 2 if end >= 0 else None)


def _segment(frame: bytes, at: int) -> tuple[bytes, int]:
    """The body of a marker segment, and where the next one begins."""
    length = int.from_bytes(frame[at + 2 : at + 4], "big")
    return frame[at + 4 : at + 2 + length], at + 2 + max(length, 2)
