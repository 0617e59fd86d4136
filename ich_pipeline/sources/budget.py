"""How much archives may expand: the guard against bombs."""

from __future__ import annotations

import shutil
from pathlib import Path

from ich_pipeline.config import ArchiveParams
from ich_pipeline.core.errors import InputError

GIB = 1 << 30
# Bytes that all archives of a run may take together beyond the ratio: a black image deflates a thousandfold, and honestly.
RATIO_FROM = 256 << 20
KEEP_FREE = 256 << 20  # bytes of the disk that are left to others
_LOOK_EVERY = 32 << 20


class OverLimit(Exception):
    """An archive goes beyond a limit of ``ingest.archives``; the text says which."""


class Budget:
    """What may still be expanded in one run.

    Ratio counts what is decompressed or written, over everything inside one archive of the source, nested ones included. What
    one archive leaves unused is no other's, so a bomb takes nothing from the good ones but of :data:`RATIO_FROM`, which a
    thousand small bombs share.
    """

    def __init__(self, limits: ArchiveParams, disk: Path):
        self.limits = limits
        self._disk = disk
        self._members_left = limits.members
        self._bytes_left = int(limits.expanded_gib * GIB)
        self._ratio_left = 0
        self._ratio_allows = 0
        self._beyond_left = RATIO_FROM
        self._until_look = 0

    def begin(self, size: int) -> None:
        """Another archive of the source begins; ``size`` in bytes as it lies on the disk."""
        self._ratio_left = int(self.limits.ratio * size)
        self._ratio_allows = self._ratio_left + self._beyond_left

    @property
    def members_left(self) -> int:
        """How many more members there may be."""
        return self._members_left

    def member(self, count: int = 1) -> None:
        """Count members, before their rows are made."""
        if count > self._members_left:
            raise OverLimit(f"more than ingest.archives.members ({self.limits.members:,})")
        self._members_left -= count

    def passed(self, count: int) -> None:
        """Count bytes that came out of a decompressor."""
        within = min(count, self._ratio_left)
        self._ratio_left -= within
        self._beyond_left -= count - within
        if self._beyond_left < 0:
            self._beyond_left = 0
            raise OverLimit(
                f"expands to more than {self._ratio_allows:,} bytes (ingest.archives.ratio {self.limits.ratio:g})"
            )

    def written(self, count: int) -> None:
        """Count bytes before they are written.

        Raises:
            InputError: the disk is nearly full, which is no fault of the archive.
        """
        self.passed(count)
        if count > self._bytes_left:
            raise OverLimit(f"more than ingest.archives.expanded_gib ({self.limits.expanded_gib:g}) in all")
        self._bytes_left -= count
        self._until_look -= count
        if self._until_look <= 0:
            self._until_look = _LOOK_EVERY
            if shutil.disk_usage(self._disk).free < KEEP_FREE + _LOOK_EVERY:
                raise InputError(
                    f"the disk of {self._disk.parent.parent} is nearly full while archives are unpacked: make room there."
                )

    def freed(self, count: int) -> None:
        """Bytes that were written and are deleted again: a nested archive after its members were taken out."""
        self._bytes_left += count
