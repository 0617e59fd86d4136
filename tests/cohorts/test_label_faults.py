"""The documented table of codes against the code."""

from __future__ import annotations

from pathlib import Path

from ich_pipeline.cohorts.faults import LabelFault


def test_every_code_is_documented_as_it_is(project_root: Path) -> None:
    text = (project_root / "docs" / "labels.md").read_text(encoding="utf-8")
    rows = [
        line for line in text.splitlines() if (line.startswith("| `") and "| fault |" in line) or "| note |" in line
    ]
    assert rows == [f"| `{code.value}` | {code.kind} | {code.explanation} |" for code in LabelFault]
