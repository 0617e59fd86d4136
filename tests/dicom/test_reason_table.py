"""The documented table of reason codes against the code."""

from __future__ import annotations

from pathlib import Path

from ich_pipeline.dicom.reasons import Reason


def test_every_reason_is_documented_as_it_is(project_root: Path) -> None:
    text = (project_root / "docs" / "reason-codes.md").read_text(encoding="utf-8")
    rows = [line for line in text.splitlines() if line.startswith("| `")]
    assert rows == [f"| `{r.value}` | {r.status} | {r.explanation} |" for r in Reason]
