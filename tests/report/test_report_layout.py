"""In a real browser: nothing on a page lies over anything else, wide or narrow."""

from __future__ import annotations

import html
import json
import os
import re
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest

from ich_pipeline.report.case_page import case_page
from ich_pipeline.report.pages import atlas_page, index_page
from ich_pipeline.report.render import render
from tests.made.explained import made_case, maps

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
pytestmark = pytest.mark.skipif(
    CHROMIUM is None and os.environ.get("ICH_CI") != "1", reason="no chromium: apt-get install chromium"
)
# Boxes that a reader takes for one thing each. A table in a card that scrolls is as wide as it likes.
SCRIPT = """<script>addEventListener("load", () => {
  const shown = [...document.querySelectorAll("h1, h2, h3, .buttons, figure, table, p, .tag, .verdict, .research")]
    .filter(e => e.getClientRects().length);
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
  document.title = `overlaps: ${faults.join("; ") || "none"}`;
});</script></body>"""


def _faults(page_html: str, width: int, folder: Path, script: str = SCRIPT) -> str:
    assert CHROMIUM is not None, "chromium is missing: apt-get install chromium"
    page = folder / "page.html"
    page.write_text(page_html.replace("</body>", script), encoding="utf-8")
    command = [
        CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-sync",
        "--disable-component-update", "--no-first-run", "--virtual-time-budget=2000", f"--window-size={width},900",
        f"--user-data-dir={folder / 'profile'}", "--dump-dom", page.as_uri(),
    ]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    found = re.search(r"<title>overlaps: (.*?)</title>", done.stdout, re.DOTALL)
    assert found, "the script did not run"
    return html.unescape(found.group(1))


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


@pytest.mark.parametrize("width", [1200, 700])
def test_a_case_with_every_finding(params, tmp_path, width):
    assert _faults(_every_finding(params), width, tmp_path) == "none"


def test_buttons_that_do_not_wrap_are_noticed(params, tmp_path):
    page = _every_finding(params)
    wrapping = "flex-wrap: wrap; max-width: 100%; gap: 0;"
    assert wrapping in page
    assert "buttons run out of their column" in _faults(page.replace(wrapping, "gap: 0;"), 1200, tmp_path)


def test_the_atlas_and_the_overview(inputs, tmp_path):
    windows = inputs.params.windowing.windows
    assert _faults(atlas_page(inputs.atlas, windows, 0.5), 1200, tmp_path) == "none"
    for figure in ("1_system", "2_outputs", "3_ablation", "5_atlas"):
        (tmp_path / f"{figure}.png").write_bytes((inputs.tests[0].folder / "figures" / "roc.png").read_bytes())
    for test in inputs.tests:
        for kind in ("roc", "pr"):
            (tmp_path / f"4_{kind}_{test.name}.png").write_bytes((test.folder / "figures" / "roc.png").read_bytes())
    assert _faults(index_page(inputs, tmp_path, [], [], [("Seed", "1")], "LayerCAM"), 1200, tmp_path) == "none"


SCROLL = """<script>addEventListener("load", () => {
  const large = document.getElementById("large"), items = [...document.querySelectorAll("#strip button")];
  const at = () => items.findIndex(b => b.getAttribute("aria-current") === "true");
  const seen = [at()];
  const turn = by => large.dispatchEvent(new WheelEvent("wheel", { deltaY: by, bubbles: true, cancelable: true }));
  const press = key => dispatchEvent(new KeyboardEvent("keydown", { key, bubbles: true }));
  turn(120); seen.push(at()); turn(-120); turn(-120); seen.push(at());
  press("ArrowRight"); seen.push(at()); press("n"); seen.push(at()); press("n"); seen.push(at());
  items[0].dispatchEvent(new MouseEvent("mouseenter")); items[0].dispatchEvent(new MouseEvent("mouseover", { bubbles: true })); seen.push(at());
  press("2");
  const letters = [getComputedStyle(large.parentElement, "::before").content, getComputedStyle(large.parentElement, "::after").content];
  document.title = `overlaps: ${JSON.stringify({ seen, letters, window: document.body.dataset.window })}`;
});</script></body>"""


def test_wheel_and_keys_scroll_and_a_passing_mouse_changes_nothing(params, tmp_path: Path) -> None:
    values = np.full((9, len(params.label_set)), 0.1)
    values[[3, 6], 0] = 0.9
    shown: dict[int, tuple[str, ...]] = {3: (), 6: ()}
    case = made_case(
        params, values, slice_thresholds=np.full(len(params.label_set), 0.5), shown=shown,
        attention={i: maps(params.label_set.any) for i in shown},
    )  # fmt: skip
    found = json.loads(_faults(case_page(case), 1280, tmp_path, SCROLL))
    assert found["seen"] == [3, 4, 2, 3, 6, 3, 3]
    assert found["letters"] == ['"R"', '"L"'], "the patient's right is on the left"
    assert found["window"] == params.windowing.windows[1].name


def test_no_colour_is_defined_by_itself() -> None:
    style = render("_style.html.j2")
    for name, value in re.findall(r"(--[\w-]+):\s*([^;}]+)", style):
        assert name not in value, f"{name} is {value}: then it is nothing"
