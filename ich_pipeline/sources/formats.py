"""Which files are archives: told by their first bytes, since exports rename files freely."""

from __future__ import annotations

import tarfile
from enum import StrEnum
from pathlib import PurePosixPath

START = 512  # bytes that tell: one tar block


class Kind(StrEnum):
    """How an archive is opened."""

    ZIP = "zip"
    TAR = "tar"
    GZIP = "gzip"
    BZIP2 = "bzip2"
    XZ = "xz"
    FOREIGN = "foreign"  # an archive that is not read here


SUFFIXES = {Kind.GZIP: (".gz", ".tgz"), Kind.BZIP2: (".bz2", ".tbz2", ".tbz"), Kind.XZ: (".xz", ".txz")}

_MAGIC = (
    (b"PK\x03\x04", Kind.ZIP),
    (b"PK\x05\x06", Kind.ZIP),  # an empty one
    (b"PK\x07\x08", Kind.ZIP),  # one piece of a split one
    (b"\x1f\x8b\x08", Kind.GZIP),
    (b"BZh", Kind.BZIP2),
    (b"\xfd7zXZ\x00", Kind.XZ),
    (b"7z\xbc\xaf\x27\x1c", Kind.FOREIGN),
    (b"Rar!\x1a\x07", Kind.FOREIGN),
    (b"\x28\xb5\x2f\xfd", Kind.FOREIGN),  # Zstandard
    (b"\x1f\x9d", Kind.FOREIGN),  # compress
)
# Zip by format, but documents and programs by purpose: viewers on patient discs bring hundreds of such.
_DOCUMENTS = frozenset(
    [
        ".docx",
        ".xlsx",
        ".pptx",
        ".docm",
        ".xlsm",
        ".pptm",
        ".odt",
        ".ods",
        ".odp",
        ".epub",
        ".jar",
        ".war",
        ".apk",
        ".ipa",
        ".whl",
    ]
)


def archive_kind(start: bytes, name: str) -> Kind | None:
    """Which archive begins with these bytes (:data:`START` of them, or all), or None for another file.

    DICOM comes first: its preamble may hold anything, the start of a zip too.
    """
    if start[128:132] == b"DICM" or PurePosixPath(name).suffix.lower() in _DOCUMENTS:
        return None
    for magic, kind in _MAGIC:
        if start.startswith(magic) and (kind is not Kind.BZIP2 or start[3:4] in b"123456789"):
            return kind
    return Kind.TAR if is_tar(start) else None


def is_tar(start: bytes) -> bool:
    """Is this a tar header with a valid checksum?"""
    if len(start) < START:
        return False
    try:
        tarfile.TarInfo.frombuf(start[:START], "utf-8", "surrogateescape")
    except (tarfile.HeaderError, ValueError):
        return False
    return True
