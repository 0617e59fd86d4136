"""Decompressed bytes of a stream, read once and forward, with bounded memory."""

from __future__ import annotations

import bz2
import contextlib
import gzip
import io
import lzma
from collections.abc import Iterator
from typing import IO

from ich_pipeline.sources.budget import Budget, OverLimit
from ich_pipeline.sources.formats import START, Kind
from ich_pipeline.sources.members import Readable

LARGEST_HEADER = 2 << 20  # bytes of one member's headers, all together: a map of holes may otherwise go on and on
LARGEST_READ = 4 << 20  # bytes asked for at once: a hostile tar header may ask for more
XZ_MEMORY = 192 << 20  # bytes; xz -9 needs 65 MiB, a hostile header may ask for 4 GiB
_BLOCK = 1 << 16


def decompressed(file: IO[bytes], kind: Kind) -> Readable:
    """The bytes inside a gzip, bzip2 or xz file, of all streams in it; the file itself for a tar."""
    if kind is Kind.GZIP:
        return gzip.GzipFile(fileobj=file, mode="rb")
    if kind is Kind.BZIP2:
        return bz2.BZ2File(file)
    return _Xz(file) if kind is Kind.XZ else file


class _Xz:
    """As ``lzma.LZMAFile``, which cannot bound its memory."""

    def __init__(self, file: IO[bytes]):
        self._file = file
        self._decoder = self._new()
        self._within = False  # a stream has begun

    @staticmethod
    def _new() -> lzma.LZMADecompressor:
        return lzma.LZMADecompressor(lzma.FORMAT_XZ, memlimit=XZ_MEMORY)

    def read(self, size: int, /) -> bytes:
        while True:
            data = b""
            if self._decoder.eof:
                data = self._decoder.unused_data.lstrip(b"\x00") or self._after_padding()
                if not data:
                    return b""
                self._decoder = self._new()
            elif self._decoder.needs_input:
                data = self._file.read(_BLOCK)
                if not data:
                    raise EOFError("the compressed stream has no end: it was cut short")
            block = self._decoder.decompress(data, size)
            if block:
                return block

    def _after_padding(self) -> bytes:
        while block := self._file.read(_BLOCK):
            if stripped := block.lstrip(b"\x00"):
                return stripped
        return b""


class Forward(io.RawIOBase):
    """A stream as :mod:`tarfile` wants it, though it can only go forward (and one byte back, which tarfile does).

    Attributes:
        ended: the stream was read to its end.
        last_block: the last :data:`START` bytes that were read.
    """

    def __init__(self, stream: Readable, budget: Budget):
        self.ended = False
        self.last_block = b""
        self._stream = stream
        self._budget = budget
        self._position = 0
        self._pending = b""
        self._header_left: int | None = None  # None: what is read is no header

    @contextlib.contextmanager
    def reading_header(self) -> Iterator[None]:
        """Within the block a reader asks for one member's headers, and gets :data:`LARGEST_HEADER` bytes of them at most.

        Raises:
            OverLimit: it asks for more.
        """
        self._header_left = LARGEST_HEADER
        try:
            yield
        finally:
            self._header_left = None

    def peek(self) -> bytes:
        """The next :data:`START` bytes, or all that are left; they are read again."""
        while len(self._pending) < START and not self.ended:
            self._pending += self._more(START - len(self._pending))
        return self._pending[:START]

    def read(self, size: int = -1, /) -> bytes:
        if not 0 <= size <= LARGEST_READ:
            raise ValueError(f"a header asks for {size:,} bytes")
        if self._header_left is not None:
            self._header_left -= size
            if self._header_left < 0:
                raise OverLimit(f"has a member whose header takes more than {LARGEST_HEADER:,} bytes")
        return self._read(size)

    def _read(self, size: int) -> bytes:
        parts, missing = [], size
        while missing:
            part = self._pending[:missing]
            if part:
                self._pending = self._pending[missing:]
            else:
                part = self._more(missing)
            if not part:
                break
            parts.append(part)
            missing -= len(part)
        block = b"".join(parts)
        self._position += len(block)
        self.last_block = block[-START:] if len(block) >= START else (self.last_block + block)[-START:]
        return block

    def tell(self) -> int:
        return self._position

    def seek(self, position: int, whence: int = 0, /) -> int:
        if whence != io.SEEK_SET:
            raise io.UnsupportedOperation("only from the start")
        if position == self._position - 1 and self.last_block:
            self._pending = self.last_block[-1:] + self._pending
            self.last_block = self.last_block[:-1]
            self._position -= 1
        if position < self._position:
            raise ValueError("a header points backwards")
        while self._position < position and self._read(min(position - self._position, _BLOCK)):
            pass
        return self._position

    def _more(self, size: int) -> bytes:
        block = self._stream.read(size)
        self.ended = not block
        self._budget.passed(len(block))
        return block
