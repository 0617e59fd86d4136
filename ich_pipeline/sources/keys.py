"""Keys of an object store as paths below a folder: a key may hold what no path can."""

from __future__ import annotations

import hashlib
import unicodedata
from collections.abc import Sequence
from pathlib import PurePosixPath

LONGEST_PART = 255  # bytes of a file's or a folder's name, on the common file systems
LONGEST = 1000  # bytes of the whole, so that with the folder before it no system's limit is met
UNFIT = "_unfit_keys"  # the folder of those that cannot keep their name


def places(names: Sequence[str]) -> list[PurePosixPath]:
    """Where each of these goes, no two in one place, whatever case and form of letters the file system minds.

    A name stays as it is where it can be a path; else it is a hash below ``_unfit_keys/``: one that is empty in part,
    leads elsewhere (``..``), is too long, differs from another in case or composition alone, or is the folder of another.

    Args:
        names: all of the source, no two equal.
    """
    folders = {parent for name in names for parent in _parents(_folded(name))}
    taken: set[str] = set()
    found = []
    for name in names:
        key = _folded(name)
        if not _is_path(name) or key in folders or key in taken:
            found.append(PurePosixPath(UNFIT, hashlib.sha256(name.encode("utf-8", "surrogatepass")).hexdigest()[:32]))
        else:
            taken.add(key)
            found.append(PurePosixPath(name))
    return found


def _folded(name: str) -> str:
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", name).casefold())


def _parents(name: str) -> list[str]:
    parts = name.split("/")
    return ["/".join(parts[:end]) for end in range(1, len(parts))]


def _is_path(name: str) -> bool:
    parts = name.split("/")
    if _folded(parts[0]) == UNFIT or len(name.encode("utf-8", "surrogatepass")) > LONGEST:
        return False
    return all(
        part not in ("", ".", "..") and "\0" not in part and len(part.encode("utf-8", "surrogatepass")) <= LONGEST_PART
        for part in parts
    )
