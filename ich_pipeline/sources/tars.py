"""Members of a tar file, compressed or not, in their order; and the one file inside a compressed file that is no tar."""

from __future__ import annotations

import tarfile
from collections.abc import Iterator
from functools import partial
from pathlib import Path, PurePosixPath

from ich_pipeline.dicom.reasons import Reason
from ich_pipeline.sources.budget import Budget, OverLimit
from ich_pipeline.sources.formats import START, SUFFIXES, Kind, is_tar
from ich_pipeline.sources.members import ArchiveError, Member, Readable, said
from ich_pipeline.sources.streams import LARGEST_HEADER, Forward, decompressed

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
