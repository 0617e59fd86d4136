"""Write the papers of a run: cards, change control plan, checklists."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from jinja2 import Environment

from ich_pipeline.core.files import write_json, write_text
from ich_pipeline.core.html import environment
from ich_pipeline.core.yaml_text import read_yaml
from ich_pipeline.papers.cards import TABLES, dataset_card, model_card
from ich_pipeline.papers.facts import facts
from ich_pipeline.report.inputs import Inputs

CHECKLISTS = ("claim_2024", "stard_ai")
NAMES = ("model_card.json", "dataset_card.json", "pccp.md", *(f"{name}.md" for name in CHECKLISTS))


def write_papers(inputs: Inputs, target: Path) -> None:
    """Write :data:`NAMES` into ``target``; other files there are left alone."""
    of, templates = facts(inputs), templates_of_papers()
    write_json(target / "model_card.json", model_card(of))
    write_json(target / "dataset_card.json", dataset_card(of))
    write_text(target / "pccp.md", templates.get_template("pccp.md.j2").render(of))
    for name in CHECKLISTS:
        write_text(target / f"{name}.md", checklist(name, of, templates))


def templates_of_papers() -> Environment:
    """The templates; a number is written as ``12.5`` or ``5``, never as ``5.0``."""
    found = environment(Path(__file__).with_name("templates"))
    found.finalize = lambda value: f"{value:g}" if isinstance(value, float) else value
    return found


def checklist(name: str, of: Mapping[str, Any], templates: Environment) -> str:
    """A checklist of ``tables/`` as a Markdown table, with the share that is filled at its top."""
    table = read_yaml((TABLES / f"{name}.yaml").read_text(encoding="utf-8"))
    rows = [
        {key: _cell(templates.from_string(str(value)).render(of)) for key, value in item.items()}
        for item in table["items"]
    ]
    numbers = {row["item"].rstrip("abcd") for row in rows}
    for row in rows:
        row |= {"says": row.get("says", ""), "authors": row.get("authors", "")}
    filled = [row for row in rows if row["says"]]
    return templates.get_template("checklist.md.j2").render(
        {
            **of,
            "title": table["title"],
            "source": table["source"],
            "rows": rows,
            "parts": f" and parts of items ({len(numbers)} items)" if len(numbers) < len(rows) else "",
            "full": sum(1 for row in filled if not row["authors"]),
            "half": sum(1 for row in filled if row["authors"]),
        }
    )


def _cell(text: str) -> str:
    """Text that stays within its cell."""
    return " ".join(text.replace("|", "\\|").split())
