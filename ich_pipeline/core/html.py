"""The one set-up of templates: an undefined name is an error, and what goes into HTML is escaped."""

from __future__ import annotations

from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined


def environment(templates: Path) -> Environment:
    """Templates of a folder; ``*.html.j2`` are escaped, others (Markdown) are not."""
    return Environment(
        loader=FileSystemLoader(templates),
        autoescape=lambda name: bool(name) and name.endswith(".html.j2"),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
