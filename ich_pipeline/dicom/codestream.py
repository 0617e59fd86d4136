"""What a compressed frame says of itself, read before a decoder is let at it.

JPEG 2000 and HTJ2K: ISO/IEC 15444-1 A.5.1 (SIZ); JPEG: ISO/IEC 10918-1 B.2.2 (SOF); JPEG-LS: ISO/IEC 14495-1 C.2.
A stream whose own size is not Rows × Columns never reaches a decoder, which would allocate what the stream asks for.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass, replace

from pydicom import uid

from ich_pipeline.dicom import segments

JPEG_2000 = frozenset({uid.JPEG2000Lossless, uid.JPEG2000, uid.HTJ2KLossless, uid.HTJ2KLosslessRPCL, uid.HTJ2K})
JPEG_LS = frozenset({uid.JPEGLSLossless, uid.JPEGLSNearLossless})
JPEG = frozenset({uid.JPEGLossless, uid.JPEGLosslessSV1})

_JP2_SIGNATURE = b"\x00\x00\x00\x0cjP  "
_END_MARKER = b"\xff\xd9"  # EOI, EOC
_SOF_LS = 0xF7
_SOF = {*range(0xC0, 0xD0), _SOF_LS} - {0xC4, 0xC8, 0xCC}


@dataclass(frozen=True)
class StreamInfo:
    """Size and samples of one compressed frame.

    Attributes:
        rows, columns, components: of the picture.
        precision: bits a sample.
        signed: None where the format does not say (JPEG, JPEG-LS).
        near: largest error of a near-lossless JPEG-LS sample, else 0.
    """

    rows: int
    columns: int
    components: int
    precision: int
    signed: bool | None = None
    near: int = 0


def describe(stream: bytes, syntax: str) -> StreamInfo:
    """Read the beginning of a compressed frame.

    Args:
        stream: one frame without encapsulation.
        syntax: a TransferSyntaxUID of :data:`JPEG_2000`, :data:`JPEG_LS` or :data:`JPEG`.

    Raises:
        ValueError: it is no such stream, or has no end.
    """
    # A stream that was cut short decodes to a picture whose lower part is invented. Behind the end comes padding, or more.
    if _END_MARKER not in stream.rstrip(b"\x00\xff")[-64:] and not _ends(stream):
        raise ValueError("the compressed stream has no end marker: it was cut short")
    try:
        return _jpeg_2000(stream) if syntax in JPEG_2000 else _jpeg(stream)
    except (struct.error, IndexError):
        raise ValueError("the header of the compressed stream is cut short") from None


def _ends(stream: bytes) -> bool:
    walked = segments.walk(stream)
    return walked is not None and walked.end is not None


def _jpeg_2000(stream: bytes) -> StreamInfo:
    start = stream.find(segments.JPEG_2000_START, 0, 4096) if stream.startswith(_JP2_SIGNATURE) else 0
    if stream[start : start + 4] != segments.JPEG_2000_START or start < 0:
        raise ValueError("no JPEG 2000 stream")
    right, bottom, left, top, tile_width, tile_height = struct.unpack(">6I", stream[start + 8 : start + 32])
    components, sample = struct.unpack(">HB", stream[start + 40 : start + 43])
    if not (tile_width and tile_height) or right <= left or bottom <= top:
        raise ValueError("the JPEG 2000 stream has no size")
    return StreamInfo(bottom - top, right - left, components, (sample & 0x7F) + 1, bool(sample & 0x80))


def _jpeg(stream: bytes) -> StreamInfo:
    if not stream.startswith(segments.JPEG_START):
        raise ValueError("no JPEG stream")
    found: StreamInfo | None = None
    is_ls = False
    for marker, body, _ in segments.jpeg_segments(stream):
        if marker in _SOF:
            precision, rows, columns, components = struct.unpack(">BHHB", body[:6])
            found, is_ls = StreamInfo(rows, columns, components, precision), marker == _SOF_LS
        if marker == segments.SCAN:
            if found is None:
                raise ValueError("the JPEG stream begins its scan before its frame")
            # Behind the components' selectors JPEG-LS has NEAR where JPEG has the predictor.
            return replace(found, near=body[1 + 2 * body[0]] if is_ls else 0)
    raise ValueError("the JPEG stream is cut short before its scan, or has data where a marker should be")
