"""Where the coded data of an RLE frame ends (PS3.5 annex G): there is no end marker, but every segment decodes to as many bytes."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from itertools import pairwise

_HEADER = 64  # bytes: the number of segments, and where each begins
# An encoder repeats a zero byte in two bytes; one that writes each by itself needs two for every one. Zeros where a copy
# was cut short read as such, and decoders turn them into pixels.
_ZEROS_OF_NO_ENCODER = 16
_CUT = bytes(2 * _ZEROS_OF_NO_ENCODER)


def behind(frame: bytes, pixels: int) -> bytes:
    """What stands behind, before and between the coded segments but for padding; empty for nothing.

    Args:
        frame: without encapsulation.
        pixels: Rows × Columns.
    """
    found, at = [], _HEADER
    for start, stop in _segments(frame):
        end = start + _coded(frame[start:stop], pixels)[0]
        found += [frame[at:start], frame[end:stop]]
        at = max(at, stop)
    return b"".join(found).strip(b"\0\x80")  # 80 codes nothing


def is_cut(frame: bytes, pixels: int) -> bool:
    """Does it hold zeros in place of coded pixels?"""
    if frame.find(_CUT, _HEADER) < 0:
        return False
    return any(_coded(frame[start:stop], pixels)[1] >= _ZEROS_OF_NO_ENCODER for start, stop in _segments(frame))


def _segments(frame: bytes) -> Iterator[tuple[int, int]]:
    if len(frame) < _HEADER:
        return
    count, *offsets = struct.unpack("<16I", frame[:_HEADER])
    starts = offsets[: min(count, len(offsets))]
    yield from pairwise([*starts, len(frame)])


def _coded(segment: bytes, pixels: int) -> tuple[int, int]:
    """Where the bytes that code a segment end, and the most single zeros in a row among them."""
    at = decoded = zeros = most = 0
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
    return min(at, len(segment)), most
