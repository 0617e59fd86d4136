"""Members of a zip file whose directory is lost, from their local headers, front to back (APPNOTE 4.3.7 to 4.3.9)."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from typing import IO

from ich_pipeline.dicom.reasons import Reason
from ich_pipeline.sources.budget import Budget
from ich_pipeline.sources.members import Member

STORED, DEFLATED = 0, 8
_METHODS = {STORED: "stored", DEFLATED: "deflated", 9: "deflate64", 12: "bzip2", 14: "LZMA", 93: "Zstandard", 95: "XZ"}
_ENCRYPTED, _SIZES_FOLLOW, _UTF8, _MASKED = 0x1, 0x8, 0x800, 0x2000  # general purpose bits (APPNOTE 4.4.4)
_LOCAL = struct.Struct("<4s5H3L2H")
_LOCAL_SIGNATURE, _DESCRIPTOR_SIGNATURE = b"PK\x03\x04", b"PK\x07\x08"
_ZIP64 = 0x0001
_UNKNOWN = 0xFFFFFFFF
_READ = 1 << 16


def method_problem(flags: int, method: int) -> tuple[Reason, str] | None:
    """Is a member locked, or compressed in a way that is not read here?

    Only stored and deflated members are: Python's zipfile expands bzip2 and LZMA without a bound on memory.
    """
    if flags & (_ENCRYPTED | _MASKED):
        return Reason.ARCHIVE_ENCRYPTED, ""
    if method not in (STORED, DEFLATED):
        return Reason.ARCHIVE_UNSUPPORTED, f"zip compression method {method} ({_METHODS.get(method, 'unknown')})"
    return None


def salvage(file: IO[bytes], budget: Budget) -> Iterator[Member]:
    """Yield members as far as one follows the other; the last may be cut short, which its reading says.

    Args:
        file: the archive; its position is changed.
        budget: members are counted.
    """
    position = 0
    while (header := _header(file, position)) is not None:
        budget.member()
        problem = method_problem(header.flags, header.method)
        if problem is None and header.size is None and header.method == STORED:
            problem = (Reason.ARCHIVE_BROKEN, "stored without its length, and the directory is lost")
        if problem is not None:
            if not header.is_folder:
                yield Member(header.name, None, problem)
            if header.size is None:
                return
            position = header.start + header.size
            continue
        reader = _Reader(file, header)
        if header.is_folder and header.size == 0:
            position = header.start
            continue
        yield Member(header.name, partial(_same, reader))
        if reader.end is None:
            return
        position = reader.end


def _same(reader: _Reader) -> _Reader:
    return reader


@dataclass(frozen=True)
class _Header:
    name: str
    flags: int
    method: int
    crc: int
    size: int | None  # compressed bytes; None where they stand behind the data
    start: int

    @property
    def is_folder(self) -> bool:
        return self.name.endswith("/")


def _header(file: IO[bytes], position: int) -> _Header | None:
    file.seek(position)
    fixed = file.read(_LOCAL.size)
    if len(fixed) < _LOCAL.size or not fixed.startswith(_LOCAL_SIGNATURE):
        return None
    _, _, flags, method, _, _, crc, packed, _, name_length, extra_length = _LOCAL.unpack(fixed)
    rest = file.read(name_length + extra_length)
    if len(rest) < name_length + extra_length:
        return None
    name = rest[:name_length].decode("utf-8" if flags & _UTF8 else "cp437", "backslashreplace")
    size: int | None = _zip64_size(rest[name_length:]) if packed == _UNKNOWN else packed
    if flags & _SIZES_FOLLOW and not packed:
        size = None
    return _Header(name, flags, method, crc, size, position + _LOCAL.size + len(rest))


def _zip64_size(extra: bytes) -> int | None:
    while len(extra) >= 4:
        kind, length = struct.unpack("<HH", extra[:4])
        if kind == _ZIP64 and length >= 16:
            return struct.unpack("<QQ", extra[4:20])[1] if len(extra) >= 20 else None
        extra = extra[4 + length :]
    return None


class _Reader:
    """The bytes of one member, checked against their CRC; ``end`` is where the next header begins, once they ended."""

    def __init__(self, file: IO[bytes], header: _Header):
        self.end: int | None = None
        self._file = file
        self._header = header
        self._position = header.start  # of the next byte to take from the file
        self._inflate = zlib.decompressobj(-zlib.MAX_WBITS) if header.method == DEFLATED else None
        self._pending = b""
        self._crc = 0
        self._length = 0

    def read(self, size: int, /) -> bytes:
        block = self._stored(size) if self._inflate is None else self._inflated(self._inflate, size)
        self._crc = zlib.crc32(block, self._crc)
        self._length += len(block)
        if not block and self.end is None:
            self._finish()
        return block

    def _stored(self, size: int) -> bytes:
        assert self._header.size is not None  # judged before
        wanted = min(size, self._header.start + self._header.size - self._position)
        block = self._take(wanted)
        if len(block) < wanted:
            raise EOFError("the archive ends inside this member")
        return block

    def _inflated(self, inflate: zlib._Decompress, size: int) -> bytes:
        while not inflate.eof:
            if not self._pending:
                self._pending = self._take(_READ)
                if not self._pending:
                    raise EOFError("the archive ends inside this member")
            block = inflate.decompress(self._pending, size)
            self._pending = inflate.unconsumed_tail
            if block:
                return block
        return b""

    def _take(self, size: int) -> bytes:
        self._file.seek(self._position)
        block = self._file.read(size)
        self._position += len(block)
        return block

    def _finish(self) -> None:
        if self._inflate is not None:
            self._position -= len(self._inflate.unused_data) + len(self._pending)
        expected = self._header.crc
        if self._header.flags & _SIZES_FOLLOW:
            expected = self._descriptor()
        self.end = self._position
        if expected != self._crc:
            raise EOFError("its bytes do not agree with their checksum")

    def _descriptor(self) -> int:
        """CRC from the data descriptor; moves past it. It comes with or without signature, with 4- or 8-byte sizes."""
        start = self._position
        raw = self._take(24)
        skip = 4 if raw.startswith(_DESCRIPTOR_SIGNATURE) else 0
        if len(raw) < skip + 12:
            raise EOFError("the archive ends behind this member")
        for length in (4, 8):
            sizes = raw[skip + 4 : skip + 4 + 2 * length]
            if int.from_bytes(sizes[length:], "little") == self._length:
                self._position = start + skip + 4 + 2 * length
                return int.from_bytes(raw[skip : skip + 4], "little")
        raise EOFError("its bytes do not agree with their length")
