"""What a person must know of the series that is read, as sentences at the end of its ``reason`` in the series table."""

from __future__ import annotations

from collections.abc import Sequence

MARK = "; caution: "
# So says every sentence about a part of the head that is not read.
UNREAD, UNREADABLE = "were not read", "could not be read"


def with_cautions(reason: str, cautions: Sequence[str]) -> str:
    """The reason why a series is read, and what to beware of."""
    return MARK.join([reason, *cautions])


def why_and_cautions(reason: str) -> tuple[str, tuple[str, ...]]:
    """The reason of a series without its cautions, and these."""
    why, *cautions = reason.split(MARK)
    return why, tuple(cautions)
