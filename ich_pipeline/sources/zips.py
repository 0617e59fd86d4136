"""Members of a zip file, in the order of its directory."""

from __future__ import annotations

import stat
import zipfile
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import IO, Any

from ich_pipeline.dicom.reasons import Reason
from ich_pipeline.sources.budget import Budget, OverLimit
from ich_pipeline.sources.members import Member, broken, said
from ich_pipeline.sources.zip_salvage import method_problem, salvage

DIRECTORY_BYTES_A_MEMBER = 256  # of the central directory, which is read as a whole
_SMALL = 4 << 20  # bytes that may always be read at once


def zip_members(path: Path, budget: Budget) -> Iterator[Member]:
    """Yield every member but plain folder entries.

    A file whose directory is lost (it stands at the end, so a transfer that was cut loses it) is read from the front.

    Raises:
        ArchiveError: after the members that could be read, where the directory is missing or damaged.
        OverLimit: it has more members than are allowed.
    """
    with path.open("rb") as file:
        try:
            archive = zipfile.ZipFile(_Bounded(file, max(_SMALL, budget.limits.members * DIRECTORY_BYTES_A_MEMBER)))  # type: ignore[arg-type]
        except (OverLimit, MemoryError):
            raise
        except Exception as error:  # whatever a hostile directory makes zipfile raise
            yield from salvage(file, budget)
            raise broken(f"its directory cannot be read ({said(error)})") from None
        infos = [info for info in archive.infolist() if not (_is_folder(info) and not info.file_size)]
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
    return method_problem(info.flag_bits, info.compress_type)


def _is_folder(info: zipfile.ZipInfo) -> bool:
    return info.orig_filename.endswith("/")  # ZipInfo.is_dir fails on an empty name, and looks only as far as a NUL


class _Bounded:
    """The file, but no single read of it takes more than the directory of an archive within the limits."""

    def __init__(self, file: IO[bytes], largest: int):
        self._file = file
        self._largest = largest

    def read(self, size: int = -1) -> bytes:
        if size > self._largest:
            raise OverLimit(f"its directory takes {size:,} bytes, too many for ingest.archives.members")
        return self._file.read(size)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._file, name)
