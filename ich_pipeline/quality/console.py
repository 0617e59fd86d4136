"""The verdict as a table in the terminal."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from ich_pipeline.quality.checks import SuiteResult, breaches

LOG_WIDTH = 140  # characters, where the output is no terminal and so has no width


def print_breaches(results: tuple[SuiteResult, ...], width: int | None = None) -> None:
    """Print a table of every failed check and every warning to stderr; nothing when all passed.

    Args:
        results: what the suites gave.
        width: of the table in characters; None takes the terminal's.
    """
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    rows = [("failed", "bold red", pair) for pair in breaches(results, "failed")]
    rows += [("warning", "yellow", pair) for pair in breaches(results, "warning")]
    if not rows:
        return
    table = Table(title="Data quality", title_style="bold", show_lines=True)
    for heading in ("", "Suite", "Expected", "Allowed", "Found", "What to do"):
        table.add_column(heading, overflow="fold")
    for verdict, style, (suite, outcome) in rows:
        found = outcome.observed + _for_example(outcome.examples)
        check = outcome.check
        cells = (suite.title, check.words, check.threshold, found, check.remedy)
        table.add_row(f"[{style}]{verdict}[/]", *(escape(cell) for cell in cells))
    Console(stderr=True, width=width or (None if sys.stderr.isatty() else LOG_WIDTH)).print(table)


def _for_example(examples: Sequence[str]) -> str:
    return f" (such as {', '.join(examples)})" if examples else ""
