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
    """The archive itself is cut short or damaged, so that nobody knows what it held; the text says by what that shows."""


def said(error: BaseException) -> str:
    """What a library says, on one line and not too long."""
    text = " ".join(str(error).split())[:160]
    return f"{type(error).__name__}: {text}" if text else type(error).__name__
