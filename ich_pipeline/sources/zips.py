"""Members of a zip file, in the order of its directory."""

from __future__ import annotations

import stat
import struct
import zipfile
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import IO, Any

from ich_pipeline.dicom.reasons import Reason
from ich_pipeline.sources.budget import Budget, OverLimit
from ich_pipeline.sources.members import ArchiveError, Member, said

_METHODS = {9: "deflate64", 12: "bzip2", 14: "LZMA", 93: "Zstandard", 95: "XZ"}
_ENCRYPTED, _MASKED = 0x1, 0x2000  # general purpose bits (APPNOTE 4.4.4)
DIRECTORY_BYTES_A_MEMBER = 256  # of the central directory, which is read as a whole
_ENTRY = struct.Struct("<4s6H3L5H2L")  # of the directory (APPNOTE 4.3.12), before name, extra field and comment
_NAME, _EXTRA, _COMMENT = 10, 11, 12
_SPLIT_MARK = b"PK\7\x08"  # may begin a zip that was once to be split
_SMALL = 4 << 20  # bytes that may always be read at once


def zip_members(path: Path, budget: Budget) -> Iterator[Member]:
    """Yield every member but plain folder entries.

    Raises:
        ArchiveError: its directory is damaged, or lost: it stands at the end, so a transfer that was cut loses it.
        OverLimit: it has more members than are allowed.
    """
    with path.open("rb") as file:
        try:
            archive = zipfile.ZipFile(_Bounded(file, budget))  # type: ignore[arg-type]
        except (OverLimit, MemoryError):
            raise
        except Exception as error:  # whatever a hostile directory makes zipfile raise
            raise ArchiveError(f"its directory cannot be read: {said(error)}") from None
        every = archive.infolist()
        first = min((info.header_offset for info in every), default=archive.start_dir)
        if first not in (0, len(_SPLIT_MARK)):  # the directory of another zip within, where the file's own was cut off
            raise ArchiveError("its directory does not speak of how the file begins")
        infos = [info for info in every if not (_is_folder(info) and not info.file_size)]
        budget.member(len(infos))
        for info in infos:
            yield Member(info.orig_filename, partial(archive.open, info), _problem(info))


def _problem(info: zipfile.ZipInfo) -> tuple[Reason, str] | None:
    kind = stat.S_IFMT(info.external_attr >> 16)
    if kind == stat.S_IFLNK:
        return Reason.ARCHIVE_MEMBER_UNSAFE, "a symbolic link"
    if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
        return Reason.ARCHIVE_MEMBER_UNSAFE, "a device or pipe"
    if _is_folder(info):
        return Reason.ARCHIVE_MEMBER_UNSAFE, f"a folder entry that holds {info.file_size:,} bytes"
    if info.flag_bits & (_ENCRYPTED | _MASKED):
        return Reason.ARCHIVE_ENCRYPTED, ""
    method = info.compress_type
    if method not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):  # zipfile expands others without a bound on memory
        return Reason.ARCHIVE_UNSUPPORTED, f"zip compression method {method} ({_METHODS.get(method, 'unknown')})"
    return None


def _is_folder(info: zipfile.ZipInfo) -> bool:
    return info.orig_filename.endswith("/")  # ZipInfo.is_dir fails on an empty name, and looks only as far as a NUL


class _Bounded:
    """The file, but no single read of it takes more than the directory of an archive within the limits.

    Python's zipfile keeps half a kilobyte of each entry, so entries are counted before it makes them.
    """

    def __init__(self, file: IO[bytes], budget: Budget):
        self._file = file
        self._members, self._allowed = budget.members_left, budget.limits.members
        self._largest = max(_SMALL, self._members * DIRECTORY_BYTES_A_MEMBER)

    def read(self, size: int = -1) -> bytes:
        if size > self._largest:
            raise OverLimit(f"its directory takes {size:,} bytes, too many for ingest.archives.members")
        if size > self._members * _ENTRY.size:  # nothing but a directory is read so at once
            self._count(size)
        return self._file.read(size)

    def _count(self, size: int) -> None:
        start = self._file.tell()
        end, count = start + size, 0
        while self._file.tell() + _ENTRY.size <= end:
            fields = _ENTRY.unpack(self._file.read(_ENTRY.size).ljust(_ENTRY.size, b"\0"))
            if not fields[0].startswith(b"PK\x01\x02"):
                break
            count += 1
            if count > self._members:
                raise OverLimit(f"more than ingest.archives.members ({self._allowed:,}) in its directory")
            self._file.seek(fields[_NAME] + fields[_EXTRA] + fields[_COMMENT], 1)
        self._file.seek(start)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._file, name)
