"""Where the coded data of an RLE frame ends (PS3.5 annex G): there is no end marker, but every segment decodes to as many bytes."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from itertools import pairwise
from typing import NamedTuple

_HEADER = 64  # bytes: the number of segments, and where each begins
# An encoder repeats a zero byte in two bytes; one that writes each by itself needs two for every one. Zeros where a copy
# was cut short read as such, and decoders turn them into pixels.
_ZEROS_OF_NO_ENCODER = 16
_ROWS_THAT_TELL = 8  # whose last run ended there for the row's sake
_LONGEST = 128  # pixels a run codes at most


def behind(frame: bytes, pixels: int) -> bytes:
    """What stands behind, before and between the coded segments but for padding; empty for nothing.

    Args:
        frame: without encapsulation.
        pixels: Rows × Columns.
    """
    found, at = [], _HEADER
    for start, stop in _segments(frame):
        end = start + _walked(frame[start:stop], pixels).end
        found += [frame[at:start], frame[end:stop]]
        at = max(at, stop)
    return b"".join(found).strip(b"\0\x80")  # 80 codes nothing


def fault(frame: bytes, rows: int, columns: int) -> str:
    """What shows that a frame was damaged or cut, in words; empty where nothing does.

    A stream has neither checksum nor end marker, but a byte that counts pixels and was changed moves all pixels behind it: then
    a segment codes too few or too many, or runs no longer end where rows do, which they must (annex G.3.1) and which encoders
    that cared for it in the rows before would have kept to. A changed byte that is a pixel tells nobody.

    Args:
        frame: without encapsulation.
        rows, columns: of the picture.
    """
    pixels = rows * columns
    found = [_walked(frame[start:stop], pixels) for start, stop in _segments(frame)]
    if any(one.zeros >= _ZEROS_OF_NO_ENCODER for one in found):
        return "holds zeros in place of pixels: it was cut short"
    if any(not pixels <= one.decoded <= pixels + pixels % 2 for one in found):
        return "does not code one value a pixel: it was damaged"
    kept = [_rows_kept(one, rows, columns) for one in found]
    if any(telling >= _ROWS_THAT_TELL for _, telling in kept) and not all(whole for whole, _ in kept):
        return "codes rows that do not end where the picture's do: it was damaged"
    return ""


def _segments(frame: bytes) -> Iterator[tuple[int, int]]:
    if len(frame) < _HEADER:
        return
    count, *offsets = struct.unpack("<16I", frame[:_HEADER])
    starts = offsets[: min(count, len(offsets))]
    yield from pairwise([*starts, len(frame)])


class _Walked(NamedTuple):
    """Of a segment: where the bytes that code it end, how many pixels they code, the most single zeros in a row among them, after
    how many pixels each run ends, and after which of these ends the run could have gone on."""

    end: int
    decoded: int
    zeros: int
    ends: set[int]
    needless: set[int]


def _walked(segment: bytes, pixels: int) -> _Walked:
    at = decoded = zeros = most = 0
    ends: set[int] = set()
    needless: set[int] = set()
    before: tuple[int, int] | None = (
        None  # of the last run, if it could have gone on: which byte over and over, or -1; where it ended
    )
    while decoded < pixels and at < len(segment):
        control = segment[at]
        single = segment[at : at + 2] == b"\0\0"
        zeros = zeros + 1 if single else 0
        most = max(most, zeros)
        if control == 128:
            at += 1
            continue
        if control < 128:  # as many bytes as they are
            kind, length, step = -1, control + 1, control + 2
        else:  # one byte over and over
            kind, length, step = int.from_bytes(segment[at + 1 : at + 2]), 257 - control, 2
        if before is not None and before[0] == kind:
            needless.add(before[1])
        at, decoded = at + step, decoded + length
        ends.add(decoded)
        before = (kind, decoded) if length < _LONGEST else None
    return _Walked(min(at, len(segment)), decoded, most, ends, needless)


def _rows_kept(found: _Walked, rows: int, columns: int) -> tuple[bool, int]:
    """Does a run end at the end of every row; and of how many rows before the first where none does, for the row's sake alone?

    A run that goes over into one of the same kind could have gone on. Where it changes anyway, or is as long as it can be, its end
    tells nothing: rows of 512 equal pixels end with a run whoever codes them, and so do rows that begin in air and end in the head.
    """
    telling = 0
    for row in range(rows):
        end = (row + 1) * columns
        if end not in found.ends:
            return False, telling
        telling += end in found.needless
    return True, telling
