"""Where the coded data of an RLE frame ends (PS3.5 annex G): there is no end marker, but every segment decodes to as many bytes."""

from __future__ import annotations

import struct
from collections import Counter
from collections.abc import Iterator
from itertools import pairwise
from typing import NamedTuple

_HEADER = 64  # bytes: the number of segments, and where each begins
# An encoder repeats a zero byte in two bytes; one that writes each by itself needs two for every one. Zeros where a copy
# was cut short read as such, and decoders turn them into pixels.
_ZEROS_OF_NO_ENCODER = 16
# Runs of a row that do not all end at one by chance, and rows of such runs after which it is no chance that they ended with it.
_RUNS_OF_NOISE, _ROWS_THAT_TELL = 4, 8


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
    kept = [_rows_kept(one.ends, rows, columns) for one in found]
    if any(noisy >= _ROWS_THAT_TELL for _, noisy in kept) and not all(whole for whole, _ in kept):
        return "codes rows that do not end where the picture's do: it was damaged"
    return ""


def _segments(frame: bytes) -> Iterator[tuple[int, int]]:
    if len(frame) < _HEADER:
        return
    count, *offsets = struct.unpack("<16I", frame[:_HEADER])
    starts = offsets[: min(count, len(offsets))]
    yield from pairwise([*starts, len(frame)])


class _Walked(NamedTuple):
    """Of a segment: where the bytes that code it end, how many pixels they code, the most single zeros in a row among them, and
    after how many pixels each run ends."""

    end: int
    decoded: int
    zeros: int
    ends: list[int]


def _walked(segment: bytes, pixels: int) -> _Walked:
    at = decoded = zeros = most = 0
    ends: list[int] = []
    while decoded < pixels and at < len(segment):
        control = segment[at]
        single = segment[at : at + 2] == b"\0\0"
        zeros = zeros + 1 if single else 0
        most = max(most, zeros)
        if control < 128:  # as many bytes as they are
            at, decoded = at + control + 2, decoded + control + 1
        elif control > 128:  # one byte over and over
            at, decoded = at + 2, decoded + 257 - control
        else:
            at += 1
        ends.append(decoded)
    return _Walked(min(at, len(segment)), decoded, most, ends)


def _rows_kept(ends: list[int], rows: int, columns: int) -> tuple[bool, int]:
    """Does a run end at the end of every row; and of how many rows of several runs before the first where none does?"""
    known, runs, noisy = set(ends), Counter((end - 1) // columns for end in ends), 0
    for row in range(rows):
        if (row + 1) * columns not in known:
            return False, noisy
        noisy += runs[row] >= _RUNS_OF_NOISE
    return True, noisy
