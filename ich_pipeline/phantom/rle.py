"""RLE Lossless for 16-bit images (DICOM PS3.5 annex G), so that the bytes depend on no library's version."""

from __future__ import annotations

import struct

import numpy as np
from numpy.typing import NDArray

_SHORTEST_RUN = 3


def encode_rle(stored: NDArray[np.uint16]) -> bytes:
    """One RLE frame of an image (Rows, Columns): header, then the high bytes and the low bytes as two segments."""
    planes = ((stored >> 8).astype(np.uint8), (stored & 255).astype(np.uint8))
    segments = [_segment(plane) for plane in planes]
    offsets = [64, 64 + len(segments[0])]
    header = struct.pack("<16L", 2, *offsets, *([0] * 13))
    return header + b"".join(segments)


def _segment(plane: NDArray[np.uint8]) -> bytes:
    out = bytearray()
    for row in plane:
        _pack_row(row, out)
    if len(out) % 2:
        out.append(0)
    return bytes(out)


def _pack_row(row: NDArray[np.uint8], out: bytearray) -> None:
    """PackBits one row: runs of three and more as a repeat, the rest literally. A run never crosses rows."""
    edges = np.flatnonzero(row[1:] != row[:-1]) + 1
    starts = np.concatenate(([0], edges))
    lengths = np.diff(np.concatenate((starts, [row.size])))
    literal_from = 0
    for place in np.flatnonzero(lengths >= _SHORTEST_RUN):
        start, length = int(starts[place]), int(lengths[place])
        _literal(row[literal_from:start], out)
        _repeat(int(row[start]), length, out)
        literal_from = start + length
    _literal(row[literal_from:], out)


def _literal(values: NDArray[np.uint8], out: bytearray) -> None:
    for first in range(0, values.size, 128):
        piece = values[first : first + 128]
        out.append(piece.size - 1)
        out += piece.tobytes()


def _repeat(value: int, length: int, out: bytearray) -> None:
    while length >= 2:
        run = min(length, 128)
        out += bytes((257 - run, value))
        length -= run
    if length:
        out += bytes((0, value))
