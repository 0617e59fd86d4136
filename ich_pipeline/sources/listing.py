"""What a source gives: files whose bytes lie on this disk, and files whose verdict is known before they are read."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from ich_pipeline.dicom.reasons import Reason


@dataclass(frozen=True)
class Judged:
    """A file that has its account row already."""

    name: str
    reason: Reason
    detail: str = ""


@dataclass(frozen=True)
class Listing:
    """Every file of a source, once.

    Attributes:
        files: path on this disk and name in the account, sorted by name; no two names are equal.
        judged: those whose bytes are not read: opened archives, refused members, pipes, what S3 did not hand over.
    """

    files: tuple[tuple[Path, str], ...]
    judged: tuple[Judged, ...] = ()

    def __len__(self) -> int:
        return len(self.files) + len(self.judged)


class Names:
    """Account names that were given away: a second file of the same name gets ``#2``."""

    def __init__(self, taken: Iterable[str] = ()):
        self._taken = set(taken)
        self._counts: dict[str, int] = {}  # a million members of one name must not cost a search each

    def unique(self, name: str) -> str:
        """The name, or the first free one of ``name#2``, ``name#3``, …"""
        found = name
        while found in self._taken:
            self._counts[name] = self._counts.get(name, 1) + 1
            found = f"{name}#{self._counts[name]}"
        self._taken.add(found)
        return found
