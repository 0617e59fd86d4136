"""In a real browser: nothing on a page lies over anything else, wide or narrow."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from ich_pipeline.report.case_page import case_page
from ich_pipeline.report.pages import atlas_page, index_page
from ich_pipeline.report.render import render
from tests.made.browser import Page, browser
from tests.made.explained import made_case, maps

# Boxes that a reader takes for one thing each. A table in a card that scrolls is as wide as it likes.
SCRIPT = """(() => {
  const shown = [...document.querySelectorAll("h1, h2, h3, .buttons, figure, table, p, .tag, .verdict, .research")]
    .filter(e => e.checkVisibility());
  const faults = [];
  for (const a of shown) for (const b of shown) {
    if (a === b || a.contains(b) || b.contains(a) || !(a.compareDocumentPosition(b) & 4)) continue;
    const p = a.getBoundingClientRect(), q = b.getBoundingClientRect();
    const x = Math.min(p.right, q.right) - Math.max(p.left, q.left), y = Math.min(p.bottom, q.bottom) - Math.max(p.top, q.top);
    if (x > 1 && y > 1) faults.push(`${a.className || a.tagName} over ${b.className || b.tagName}: ${b.textContent.slice(0, 40)}`);
  }
  document.querySelectorAll(".buttons").forEach(e => {
    const own = e.getBoundingClientRect(), around = e.parentElement.getBoundingClientRect();
    if (own.right > around.right + 1) faults.push(`buttons run out of their column: ${e.textContent.slice(0, 40)}`);
  });
  if (document.documentElement.scrollWidth > innerWidth) faults.push(`the page is ${document.documentElement.scrollWidth} wide`);
  return faults.join("; ") || "none";
})()"""


@pytest.fixture(scope="module")
def tab(chromium: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Page]:
    with browser(chromium, tmp_path_factory.mktemp("profile")) as page:
        yield page


def _faults(tab: Page, page_html: str, width: int, folder: Path) -> str:
    page = folder / "page.html"
    page.write_text(page_html, encoding="utf-8")
    tab.open(page, width)
    if 'id="stage"' in page_html:
        assert tab.ready() == "ready"
    assert tab.errors == [] and tab.requests == []
    return tab.value(SCRIPT)


def _every_finding(params) -> str:
    subtypes = params.label_set.subtypes
    case = made_case(
        params,
        np.full((10, 6), 0.95),
        slice_thresholds=np.full(6, 0.03),
        shown={3: subtypes, 4: subtypes[:2]},
        attention={3: maps(*subtypes), 4: maps(*subtypes[:2])},
    )
    return case_page(case)


@pytest.mark.parametrize("width", [1200, 700, 390])
def test_a_case_with_every_finding(tab, params, tmp_path, width):
    assert _faults(tab, _every_finding(params), width, tmp_path) == "none"


def test_buttons_that_do_not_wrap_are_noticed(tab, params, tmp_path):
    page = _every_finding(params)
    wrapping = "flex-wrap: wrap; max-width: 100%; gap: 0;"
    assert wrapping in page
    assert "buttons run out of their column" in _faults(tab, page.replace(wrapping, "gap: 0;"), 390, tmp_path)


def test_the_atlas_and_the_overview(tab, inputs, tmp_path):
    windows = inputs.params.windowing.windows
    assert _faults(tab, atlas_page(inputs.atlas, windows, 0.5), 1200, tmp_path) == "none"
    for figure in ("1_system", "2_outputs", "3_ablation", "5_atlas"):
        (tmp_path / f"{figure}.svg").write_bytes((inputs.tests[0].folder / "figures" / "roc.svg").read_bytes())
    for test in inputs.tests:
        for kind in ("roc", "pr"):
            (tmp_path / f"4_{kind}_{test.name}.svg").write_bytes((test.folder / "figures" / "roc.svg").read_bytes())
    page = index_page(inputs, tmp_path, [], [], [("Seed", "1")], "LayerCAM", "C1")
    for width in (1280, 390):
        assert _faults(tab, page, width, tmp_path) == "none"


def test_no_colour_is_defined_by_itself() -> None:
    style = render("_style.html.j2")
    for name, value in re.findall(r"(--[\w-]+):\s*([^;}]+)", style):
        assert name not in value, f"{name} is {value}: then it is nothing"
