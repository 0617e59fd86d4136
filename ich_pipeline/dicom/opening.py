"""Open a file of any source without letting it take more memory or time than it may."""

from __future__ import annotations

import io
import time
import warnings
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, BinaryIO

import pydicom
from pydicom import uid
from pydicom.datadict import dictionary_has_tag, dictionary_VR
from pydicom.dataelem import DataElement, RawDataElement
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.filereader import read_dataset, read_sequence
from pydicom.tag import Tag

from ich_pipeline.dicom import delimiter
from ich_pipeline.dicom.header import Source

META_START = 132
PIXEL_TAGS = frozenset({0x7FE00008, 0x7FE00009, 0x7FE00010})
LARGEST_HEADER_VALUE = 1 << 26  # bytes; no element that the ingest asks for comes near it
LARGEST_CHARSET = 1 << 16  # bytes of SpecificCharacterSet
_INFLATE_STEP = 1 << 22


class TooLargeError(Exception):
    """The file holds, or unpacks to, more than it may."""


class TooSlowError(Exception):
    """The file takes longer to read than it may."""


@dataclass(frozen=True)
class Limits:
    """What reading one file may take; the ingest sets them by ``ingest.pixels``."""

    seconds: float = 10.0
    inflated_mib: int = 512


DEFAULT_LIMITS = Limits()


class Deadline:
    """Raises :class:`TooSlowError` when asked after ``seconds``."""

    def __init__(self, seconds: float) -> None:
        self._seconds, self._end = seconds, time.monotonic() + seconds

    def check(self) -> None:
        if time.monotonic() > self._end:
            raise TooSlowError(f"the header takes more than {self._seconds:g} s to read")


def open_source(source: Source) -> BinaryIO:
    """The file's bytes, to be read from the start."""
    return io.BytesIO(source) if isinstance(source, bytes) else source.open("rb")


def is_deflated(start: bytes) -> bool:
    """Does a file that starts so name the deflated transfer syntax?

    Args:
        start: at least the file meta information, which lies in the first kilobyte.
    """
    return start[128:META_START] == b"DICM" and str(uid.DeflatedExplicitVRLittleEndian).encode() in start[:1024]


def read_header_dataset(
    file: BinaryIO, tags: Sequence[str], inflated_mib: int, deadline: Deadline, force: bool
) -> tuple[Dataset, bool]:
    """The named elements before the pixels, and whether pixels follow.

    Raises:
        TooLargeError: it inflates to more than ``inflated_mib``, or one of the elements is huge.
        TooSlowError: the deadline passes.
        Exception: whatever pydicom raises for a damaged header.
    """
    start = file.read(1024)
    file.seek(0)
    if is_deflated(start):
        ds, has_pixels = _read_inflated(file, inflated_mib, deadline, tags)
        _read_sequences(ds, ds.original_character_set, deadline)
        return ds, has_pixels
    guarded: Any = _Guarded(file, deadline)
    ds = pydicom.dcmread(guarded, stop_before_pixels=True, specific_tags=list(tags), force=force)
    # pydicom leaves the file at the element that it stopped before: no such element, no pixels.
    has_pixels = file.read(4) in (b"\xe0\x7f\x10\x00", b"\x7f\xe0\x00\x10")
    _read_sequences(ds, ds.original_character_set, deadline)
    return ds, has_pixels


def _read_sequences(ds: Dataset, encoding: Any, deadline: Deadline) -> None:
    """Parse sequences now: pydicom would when they are first asked for, and then nothing looks at the clock."""
    for found in list(ds.values()):
        if isinstance(found, RawDataElement):
            if not _is_sequence(found):
                continue
            value = found.value or b""
            guarded: Any = _Guarded(io.BytesIO(value), deadline)
            try:
                read = read_sequence(guarded, found.is_implicit_VR, found.is_little_endian, len(value), encoding)
            except Exception:  # of a malformed one; pydicom hides the deadline's among them
                deadline.check()
                continue
            ds[found.tag] = DataElement(found.tag, "SQ", read)
        if ds[found.tag].VR == "SQ":
            for item in ds[found.tag].value or ():
                deadline.check()
                _read_sequences(item, encoding, deadline)


def _is_sequence(raw: RawDataElement) -> bool:
    if raw.VR not in (None, "UN"):
        return raw.VR == "SQ"
    return dictionary_has_tag(raw.tag) and dictionary_VR(raw.tag) == "SQ"


def read_whole_dataset(data: bytes, inflated_mib: int) -> tuple[Dataset, str]:
    """All elements with the pixels, and what was mended to read them; empty for nothing.

    Raises:
        TooLargeError: it inflates to more than ``inflated_mib``.
        Exception: whatever pydicom raises for a damaged file.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if is_deflated(data[:1024]):
            return _read_inflated(io.BytesIO(data), inflated_mib)[0], ""
        ds = pydicom.dcmread(io.BytesIO(data), force=True)
        ended = delimiter.with_end(data, ds)
        return (ds, "") if ended is None else (pydicom.dcmread(io.BytesIO(ended), force=True), delimiter.NOTE)


def _read_inflated(
    file: BinaryIO, limit_mib: int, deadline: Deadline | None = None, tags: Sequence[str] | None = None
) -> tuple[Dataset, bool]:
    """pydicom would inflate the whole file whatever it grows to."""
    file.seek(META_START)
    meta = read_dataset(file, False, True, stop_when=lambda tag, vr, length: tag >> 16 != 2)
    plain = io.BytesIO(_inflate(file, limit_mib))
    stopped_at: list[int] = []

    def at_pixels(tag: int, vr: str | None, length: int) -> bool:
        if tags is not None and tag in PIXEL_TAGS:
            stopped_at.append(int(tag))
            return True
        return False

    wanted: Any = None if tags is None else [Tag(keyword) for keyword in tags]
    guarded: Any = plain if deadline is None else _Guarded(plain, deadline)
    ds = read_dataset(guarded, False, True, stop_when=at_pixels, specific_tags=wanted)
    ds.file_meta = FileMetaDataset(meta)
    return ds, stopped_at == [0x7FE00010]


def _inflate(file: BinaryIO, limit_mib: int) -> bytes:
    inflater = zlib.decompressobj(-zlib.MAX_WBITS)
    plain = bytearray()
    while not inflater.eof:
        packed = inflater.unconsumed_tail or file.read(_INFLATE_STEP)
        if not packed:
            raise ValueError("the deflated data is cut short")
        plain += inflater.decompress(packed, _INFLATE_STEP)
        if len(plain) > limit_mib << 20:
            raise TooLargeError(f"inflates to more than {limit_mib} MiB")
    return bytes(plain)


class _Guarded:
    """A file for a reader of headers: refuses huge values and ends when time is up."""

    def __init__(self, file: BinaryIO, deadline: Deadline) -> None:
        self._file, self._deadline, self._last = file, deadline, b""
        self.seek, self.tell = file.seek, file.tell

    def read(self, size: int = -1) -> bytes:
        self._deadline.check()
        # pydicom converts SpecificCharacterSet as it reads, name by name.
        charset = self._last.startswith((b"\x08\x00\x05\x00", b"\x00\x08\x00\x05"))
        if not 0 <= size <= (LARGEST_CHARSET if charset else LARGEST_HEADER_VALUE):
            raise TooLargeError(f"a header element of {size} bytes")
        self._last = self._file.read(size)
        return self._last
