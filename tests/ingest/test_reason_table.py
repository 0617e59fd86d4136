"""The documented table of reason codes against the code."""

from __future__ import annotations

from pathlib import Path

import pytest

from ich_pipeline.dicom.reasons import Reason
from ich_pipeline.ingest.reason_table import HEADING, markdown_table, with_table


def test_the_documented_table_is_the_codes_own(project_root: Path) -> None:
    text = (project_root / "docs" / "reason-codes.md").read_text(encoding="utf-8")
    assert with_table(text) == text, "run `python -m ich_pipeline.ingest.reason_table docs/reason-codes.md`"
    assert all(f"| `{reason.value}` | {reason.status} | {reason.explanation} |\n" in text for reason in Reason)


def test_a_stale_table_is_made_anew_and_the_text_around_it_stays() -> None:
    page = f"# Title\n\nwords\n\n{HEADING}\n|---|---|---|\n| `gone` | used | no more |\n\nmore words\n"
    assert with_table(page) == f"# Title\n\nwords\n\n{markdown_table()}\nmore words\n"
    with pytest.raises(ValueError, match="no line"):
        with_table("# Title\n")
