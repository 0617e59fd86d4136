"""Members of a tar file, compressed or not, in their order; and the one file inside a compressed file that is no tar.

Decompressed bytes are read once and forward, with bounded memory.
"""

from __future__ import annotations

import bz2
import contextlib
import gzip
import io
import lzma
import tarfile
from collections.abc import Iterator
from functools import partial
from pathlib import Path, PurePosixPath
from typing import IO

from ich_pipeline.dicom.reasons import Reason
from ich_pipeline.sources.budget import Budget, OverLimit
from ich_pipeline.sources.formats import START, SUFFIXES, Kind, is_tar
from ich_pipeline.sources.members import ArchiveError, Member, Readable, said

_BLOCK = 1 << 16


def stream_members(path: Path, name: str, kind: Kind, budget: Budget) -> Iterator[Member]:
    """Yield every member but folders; the file is read once, front to back.

    Args:
        path: the archive.
        name: what the account calls it: ``scan.dcm.gz`` holds ``scan.dcm``.
        kind: TAR, GZIP, BZIP2 or XZ.
        budget: members and decompressed bytes are counted.

    Raises:
        ArchiveError: it is cut short or damaged, which shows after the members before.
        OverLimit: it goes beyond a limit.
    """
    with path.open("rb") as file:
        stream = Forward(decompressed(file, kind), budget)
        try:
            start = stream.peek()
        except OverLimit:
            raise
        except Exception as error:  # whatever a hostile stream makes a decompressor raise
            raise ArchiveError(said(error)) from None
        if kind is Kind.TAR or is_tar(start):
            yield from _tar(stream, budget)
            return
        budget.member()
        yield Member(_inner_name(name, kind), partial(_same, stream))
        if not stream.ended:
            raise ArchiveError("the compressed stream has no end")


def _same(stream: Forward) -> Forward:
    return stream


def _inner_name(name: str, kind: Kind) -> str:
    pure = PurePosixPath(name)
    return pure.stem if pure.suffix.lower() in SUFFIXES[kind] else "content"


def _tar(stream: Forward, budget: Budget) -> Iterator[Member]:
    count = 0
    try:
        with stream.reading_header():  # tarfile reads the first member's at once
            archive = tarfile.TarFile(fileobj=stream, mode="r")
        while (info := _next(archive, stream)) is not None:
            archive.members.clear()  # type: ignore[attr-defined]  # it keeps every header otherwise
            if info.isdir():
                continue
            budget.member()
            count += 1
            problem = _problem(info)
            yield Member(info.name, None if problem else partial(_extract, archive, info), problem)
        _check_end(stream, count)
    except (OverLimit, ArchiveError):
        raise
    except Exception as error:  # whatever a hostile header makes tarfile, or a damaged stream its decompressor, raise
        raise ArchiveError(f"after {count:,} members: {said(error)}") from None


def _next(archive: tarfile.TarFile, stream: Forward) -> tarfile.TarInfo | None:
    with stream.reading_header():
        info = archive.next()
    # Global headers hold for all that follows, so tarfile gathers them.
    if sum(len(name) + len(value) for name, value in archive.pax_headers.items()) > LARGEST_HEADER:
        raise OverLimit(f"has global headers of more than {LARGEST_HEADER:,} characters")
    return info


def _extract(archive: tarfile.TarFile, info: tarfile.TarInfo) -> Readable:
    stream = archive.extractfile(info)
    assert stream is not None  # a regular file, judged before
    return stream


def _problem(info: tarfile.TarInfo) -> tuple[Reason, str] | None:
    if info.issym() or info.islnk():
        kind = "symbolic" if info.issym() else "hard"
        return Reason.ARCHIVE_MEMBER_UNSAFE, f"a {kind} link"
    if info.isdev():
        return Reason.ARCHIVE_MEMBER_UNSAFE, "a device or pipe"
    if not info.isreg():
        return Reason.ARCHIVE_MEMBER_UNSAFE, f"a tar member of type {info.type!r}"
    return None


def _check_end(stream: Forward, count: int) -> None:
    """tarfile takes a damaged header, and the end of the file, for the end of the archive: both lose members."""
    if stream.last_block != bytes(START):
        raise ArchiveError(f"no end mark after {count:,} members")
    while block := stream.read(_BLOCK):
        if block.strip(b"\x00"):
            raise ArchiveError(f"more data behind the end mark, after {count:,} members")


LARGEST_HEADER = 2 << 20  # bytes of one member's headers, all together: a map of holes may otherwise go on and on
LARGEST_READ = 4 << 20  # bytes asked for at once: a hostile tar header may ask for more
XZ_MEMORY = 192 << 20  # bytes; xz -9 needs 65 MiB, a hostile header may ask for 4 GiB


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
