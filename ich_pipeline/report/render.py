"""Templates of the pages; every page is one self-contained file."""

from __future__ import annotations

import base64
from functools import cache
from pathlib import Path
from typing import Any

from jinja2 import Environment

from ich_pipeline.core.html import environment

SHORT = 8  # characters of a case_id in a caption: 28 bits
TEMPLATES = Path(__file__).with_name("templates")


@cache
def _environment() -> Environment:
    templates = environment(TEMPLATES)
    templates.filters["name"] = display_name
    templates.filters["score"] = score
    templates.filters["interval"] = interval
    templates.filters["distance"] = distance
    templates.filters["short"] = short
    return templates


def display_name(label: str) -> str:
    """``any`` → ``Any``, ``high_sensitivity`` → ``High sensitivity``."""
    return label.replace("_", " ").capitalize()


def short(case_id: str) -> str:
    """The beginning of a name, enough to tell those of a page apart; the whole stands in the title."""
    return case_id if len(case_id) <= SHORT + 2 else f"{case_id[:SHORT]}…"


def score(value: float | None, digits: int = 2) -> str:
    """A number for people; a dash where there is none. A probability below 0.005 is not shown as nought."""
    if value is None or value != value:
        return "–"
    least = 10.0**-digits
    return f"< {least:.{digits}f}" if 0 < value < least / 2 else f"{value:.{digits}f}"


def distance(value: float) -> str:
    """Two significant digits, never in powers: near neighbours differ in the third decimal."""
    return f"{value:.2f}" if value >= 0.1 else f"{value:.3f}" if value >= 0.01 else f"{value:.4f}"


def interval(bounds: tuple[float, float] | None, digits: int = 2) -> str:
    """``(0.20–0.80)``; nothing where there is none."""
    return "" if bounds is None else f"({bounds[0]:.{digits}f}–{bounds[1]:.{digits}f})"


def render(template: str, **values: Any) -> str:
    """Fill a template of ``templates/``; an undefined name is an error."""
    return _environment().get_template(template).render(**values)


def embedded(path: Path) -> str:
    """A PNG or SVG as a data URI."""
    kind = "svg+xml" if path.suffix == ".svg" else "png"
    return f"data:image/{kind};base64,{base64.b64encode(path.read_bytes()).decode()}"
