"""The verdict as one self-contained HTML page: inline style, no script, nothing loaded from anywhere."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

import markupsafe

from ich_pipeline.core.files import write_json, write_text
from ich_pipeline.core.html import environment
from ich_pipeline.quality.checks import Histogram, SuiteResult, breaches, overall, to_json

TEMPLATES = Path(__file__).with_name("templates")
BAR_WIDTH, BAR_HEIGHT, BAR_STEP = 4, 26, 5  # pixels of a histogram's bar


# The verdict as a table in the terminal.

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


def write_results(folder: Path, title: str, results: tuple[SuiteResult, ...], notes: Sequence[str] = ()) -> None:
    """Write ``results.json`` and ``index.html`` into an existing folder.

    Args:
        folder: where.
        title: heading of the page.
        results: what the suites gave.
        notes: sentences shown above the suites.
    """
    write_json(folder / "results.json", to_json(results))
    write_text(folder / "index.html", quality_page(title, results, notes))


def quality_page(title: str, results: tuple[SuiteResult, ...], notes: Sequence[str] = ()) -> str:
    """The page as text; the same results give the same bytes."""
    templates = environment(TEMPLATES)
    templates.filters["histogram"] = histogram_svg
    return templates.get_template("quality.html.j2").render(
        title=title,
        status=overall(results),
        results=results,
        failed=breaches(results, "failed"),
        warnings=breaches(results, "warning"),
        checks=sum(len(result.outcomes) for result in results),
        notes=notes,
    )


def histogram_svg(histogram: Histogram) -> markupsafe.Markup:
    """A small inline bar chart; bins beyond the limits have the class ``beyond``."""
    top = max(histogram.counts)
    bars = []
    for i, (count, beyond) in enumerate(zip(histogram.counts, histogram.breach, strict=True)):
        if not count:
            continue
        height = max(1.0, round(BAR_HEIGHT * count / top, 1))  # a single value among thousands stays visible
        kind = ' class="beyond"' if beyond else ""
        bars.append(
            f'<rect{kind} x="{i * BAR_STEP}" y="{BAR_HEIGHT - height:g}" width="{BAR_WIDTH}" height="{height:g}"/>'
        )
    width = BAR_STEP * len(histogram.counts)
    text = f"Distribution from {histogram.low:.4g} to {histogram.high:.4g}"
    return markupsafe.Markup(
        f'<svg viewBox="0 0 {width} {BAR_HEIGHT}" width="{width}" height="{BAR_HEIGHT}" role="img" aria-label="{text}">'
        f"<title>{text}</title>{''.join(bars)}</svg>"
    )
