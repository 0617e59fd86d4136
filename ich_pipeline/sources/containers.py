"""Files that hold others though their first bytes do not say so: disc images, self-extracting archives, pieces of split ones.

They are not opened here, but whoever takes one for "not a DICOM file" may leave a whole study behind.
"""

from __future__ import annotations

import re
import struct
import zipfile
from pathlib import Path, PurePosixPath
from typing import BinaryIO

from ich_pipeline.sources.formats import is_document

_DESCRIPTOR = 16 * 2048 + 1  # where a disc's first volume descriptor names its standard
_STANDARDS = (b"CD001", b"BEA01")  # ISO 9660, and UDF alone
_DICOM_GROUPS = (b"\x02\x00", b"\x08\x00", b"\x00\x02", b"\x00\x08")  # how DICOM without a preamble begins
_PROGRAMS = (b"MZ", b"\x7fELF", b"#!")
_PARTS = {
    ".exe",
    ".dll",
    ".ocx",
    ".sys",
    ".ini",
    ".inf",
    ".cfg",
    ".xml",
    ".chm",
    ".hlp",
    ".htm",
    ".html",
    ".txt",
    ".ico",
    ".lic",
}
_PIECE = re.compile(r"\.(zip|7z|rar|tar|tgz|tbz2?|txz|gz|bz2|xz)\.\d{3}$", re.IGNORECASE)
_END, _MEMBER, _ZIP64 = b"PK\x05\x06", b"PK\x01\x02", b"PK\x06\x07"
_END_RECORD = struct.Struct("<4sHHHHIIH")  # of a zip: its last bytes but for a comment
_ZIP64_LOCATOR = 20  # bytes, right before the end record
_TAIL = _END_RECORD.size + 0xFFFF  # bytes in which it lies


def container(path: Path, start: bytes, name: str) -> str:
    """What a file is that no archive format told by its start; empty where it is no container, or may be DICOM.

    Args:
        path: where it lies.
        start: its first bytes, at least 132 of them or all.
        name: its name in the account.
    """
    if start[128:132] == b"DICM" or start.startswith(_DICOM_GROUPS) or is_document(name):
        return ""
    try:
        with path.open("rb") as file:
            file.seek(_DESCRIPTOR)
            if file.read(5) in _STANDARDS:
                return "a disc image"
            split = _PIECE.search(PurePosixPath(name).name) is not None
            return "part of a split archive" if split else _zip_behind(file, start)
    except OSError:  # the reading of its header will say so
        return ""


def _zip_behind(file: BinaryIO, start: bytes) -> str:
    """What a file is that ends as a zip does."""
    size = file.seek(0, 2)
    file.seek(max(0, size - _TAIL))
    tail = file.read()
    at = tail.rfind(_END)
    if at < 0 or at + _END_RECORD.size > len(tail):
        return ""
    _, disk, _, _, _, length, offset, comment = _END_RECORD.unpack_from(tail, at)
    end = size - len(tail) + at
    if tail[max(0, at - _ZIP64_LOCATOR) :].startswith(_ZIP64):  # the numbers are elsewhere
        return _kind(start)
    directory = end - length
    if directory < 0:  # it lies in another part; or the mark stands here by chance, and then no comment fits behind it
        return "part of a split archive" if at + _END_RECORD.size + comment == len(tail) else ""
    file.seek(directory)
    first = file.read(64)
    if not first.startswith(_MEMBER) or first[46:].startswith(
        b"META-INF/"
    ):  # by chance; or a Java program, as viewers are
        return ""
    if disk or offset > directory:
        return "part of a split archive"
    return "" if start.startswith(_PROGRAMS) and _holds_a_program_alone(file) else _kind(start)


def _holds_a_program_alone(file: BinaryIO) -> bool:
    """Has every member the suffix of a program's parts? So are the viewers on patients' discs."""
    try:
        with zipfile.ZipFile(file) as archive:
            names = [name for name in archive.namelist() if not name.endswith("/")]
    except (zipfile.BadZipFile, NotImplementedError, ValueError, EOFError):
        return False
    return all(PurePosixPath(name).suffix.lower() in _PARTS for name in names)


def _kind(start: bytes) -> str:
    return "a self-extracting archive" if start.startswith(_PROGRAMS) else "a zip with other bytes before it"
