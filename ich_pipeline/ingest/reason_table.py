"""Write the table of reason codes into the documentation: ``python -m ich_pipeline.ingest.reason_table docs/reason-codes.md``."""

from __future__ import annotations

import sys
from pathlib import Path

from ich_pipeline.core.files import write_text
from ich_pipeline.dicom.reasons import Reason

HEADING = "| reason | status | meaning |"


def markdown_table() -> str:
    """One row a reason, in the order of :class:`Reason`."""
    rows = [f"| `{reason.value}` | {reason.status} | {reason.explanation} |" for reason in Reason]
    return "\n".join([HEADING, "|---|---|---|", *rows]) + "\n"


def with_table(text: str) -> str:
    """The page with its table, which begins with :data:`HEADING` and ends with the last line that begins with ``|``, made anew.

    Raises:
        ValueError: the page holds no such heading.
    """
    before, _, after = text.partition(HEADING)
    if not after:
        raise ValueError(f"the page has no line {HEADING!r}")
    rest = after.splitlines(keepends=True)[1:]
    while rest and rest[0].startswith("|"):
        rest.pop(0)
    return before + markdown_table() + "".join(rest)


if __name__ == "__main__":
    page = Path(sys.argv[1])
    write_text(page, with_table(page.read_text(encoding="utf-8")))
