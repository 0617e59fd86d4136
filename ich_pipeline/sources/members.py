"""One file inside an archive, and what can be wrong with it or with the archive."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from ich_pipeline.dicom.reasons import Reason


class Readable(Protocol):
    """A binary stream that is read once, forward."""

    def read(self, size: int, /) -> bytes:
        """At most ``size`` bytes; none at the end."""
        ...


@dataclass(frozen=True)
class Member:
    """A file in an archive.

    Attributes:
        name: as the archive writes it.
        open: gives its bytes; valid until the next member is asked for. It, and reading, raise anything on damage.
        problem: why it must not be opened.
    """

    name: str
    open: Callable[[], Readable] | None
    problem: tuple[Reason, str] | None = None


class ArchiveError(Exception):
    """The archive itself is damaged or not read here; what came before this stays."""

    def __init__(self, reason: Reason, detail: str):
        super().__init__(f"{reason}: {detail}")
        self.reason = reason
        self.detail = detail


def broken(detail: str) -> ArchiveError:
    """The archive is cut short or damaged."""
    return ArchiveError(Reason.ARCHIVE_BROKEN, detail)


def said(error: BaseException) -> str:
    """What a library says, on one line and not too long."""
    text = " ".join(str(error).split())[:160]
    return f"{type(error).__name__}: {text}" if text else type(error).__name__
