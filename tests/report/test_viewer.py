"""The case page in a real browser, with a real wheel, keys and mouse."""

from __future__ import annotations

import io
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pydicom
import pytest
from PIL import Image

from ich_pipeline.explain.scan import Scan
from ich_pipeline.phantom import create_phantom
from ich_pipeline.report.case_page import case_page
from ich_pipeline.serving.load_case import load_case
from ich_pipeline.tables.masks import read_masks
from tests.made.browser import Page, browser
from tests.made.explained import head, made_case, maps

AT = "[...document.querySelectorAll('#strip button')].findIndex(b => b.getAttribute('aria-current') === 'true')"
SUSPICIOUS = (3, 6)


def page_of(params, path: Path, **changed) -> Path:
    """A page of nine slices, two of them suspicious; slice k has k HU more in its head."""
    values = np.full((9, len(params.label_set)), 0.1)
    values[SUSPICIOUS, 0] = 0.9
    hu = np.repeat(head()[None], 9, axis=0)
    hu[hu == 30] = (np.arange(9, dtype=np.int16)[:, None] + 30).repeat((hu[0] == 30).sum(), axis=1).ravel()
    settings = {
        "slice_thresholds": np.full(len(params.label_set), 0.5),
        "shown": dict.fromkeys(SUSPICIOUS, ()),
        "attention": {i: maps(params.label_set.any) for i in SUSPICIOUS},
        "hu": hu,
        "scan": Scan((1.5, 1.5), 2, tuple(range(20, 29)), "NAME-IN-TEXT", "20260102", "ACC-4711"),
    }
    path.write_text(case_page(made_case(params, values, **{**settings, **changed})), encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def tab(chromium: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Page]:
    with browser(chromium, tmp_path_factory.mktemp("profile")) as page:
        yield page


@pytest.fixture
def shown(tab: Page, params, tmp_path: Path) -> Iterator[Page]:
    """The page, its viewer running; whatever a test does, nothing is asked for and nothing goes wrong."""
    tab.open(page_of(params, tmp_path / "case.html"))
    assert tab.ready() == "ready", tab.value("document.getElementById('fallback').textContent")
    yield tab
    assert tab.requests == [] and tab.errors == []


def text(page: Page, name: str) -> str:
    return page.value(f"document.getElementById({name!r}).textContent")


def test_wheel_keys_and_strip_scroll_and_a_passing_mouse_changes_nothing(shown: Page) -> None:
    stage = shown.middle_of("#stage")
    assert shown.value(AT) == 3, "opens on the most suspicious slice"
    seen = []
    for by in (120, -120, -120):
        shown.mouse("mouseWheel", *stage, deltaX=0, deltaY=by)
        seen.append(shown.value(AT))
    for key in ("ArrowRight", "n", "n", "ArrowUp", "Home", "End"):
        shown.key(key)
        seen.append(shown.value(AT))
    assert seen == [4, 3, 2, 3, 6, 3, 2, 0, 8]
    shown.mouse("mouseMoved", *shown.middle_of("#strip button:nth-child(2)"))
    assert shown.value(AT) == 8
    shown.click("#strip button:nth-child(2)")
    assert shown.value(AT) == 1
    shown.click("#next")
    assert shown.value(AT) == 3
    assert text(shown, "place") == "slice 4 of 9\n15.0 mm · InstanceNumber 23"
    assert shown.value("caseViewer.frac2vox(caseViewer.scene.crosshairPos)[2]") == 3, "and the viewer shows it"


def test_keys_and_dragging_set_the_window_and_the_cursor_reads_hu(shown: Page) -> None:
    ends = "[caseViewer.volumes[0].cal_min, caseViewer.volumes[0].cal_max]"
    for key, wanted in (("2", [-20, 180]), ("3", [20, 60]), ("4", [-800, 2000]), ("5", [-125, 225]), ("1", [0, 80])):
        shown.key(key)
        assert shown.value(ends) == wanted
        assert shown.value("document.querySelector('[data-preset][aria-pressed=true]').textContent")[0] == key
    x, y = shown.middle_of("#stage")
    shown.drag((x, y), (x + 30, y + 15))
    low, high = shown.value(ends)
    assert high - low > 80 and (low + high) / 2 > 40
    assert shown.value("document.querySelectorAll('[data-preset][aria-pressed=true]').length") == 0
    shown.key("0")
    assert shown.value(ends) == [0, 80]
    shown.drag((x, y), (x - 30, y), button="right")
    assert shown.value(ends)[1] < 80
    shown.mouse("mouseMoved", x, y)
    assert text(shown, "hu") == "33 HU"
    shown.key("ArrowDown")
    assert text(shown, "hu") == "34 HU", "the picture changed under the cursor"
    left, top = shown.value("(b => [b.x, b.y])(document.getElementById('stage').getBoundingClientRect())")
    shown.mouse("mouseMoved", left + 8, top + 60)
    assert "air" in text(shown, "hu")


def test_zoom_pan_and_measure(shown: Page) -> None:
    x, y = shown.middle_of("#stage")
    width = shown.value("document.getElementById('stage').clientWidth")
    shown.click("[data-tool=measure]")
    shown.drag((x - width / 4, y), (x + width / 4, y))
    said = shown.value("document.querySelector('#marks text').textContent")
    assert float(said.split()[0]) == pytest.approx(32 * 1.5, abs=0.5) and said.endswith("mm")
    shown.mouse("mouseWheel", x, y, deltaX=0, deltaY=-120, modifiers=2)
    assert shown.value("caseViewer.scene.pan2Dxyzmm[3]") == pytest.approx(1.15)
    length = "(l => l.getAttribute('x2') - l.getAttribute('x1'))(document.querySelector('#marks line'))"
    assert shown.value(length) == pytest.approx(width / 2 * 1.15, rel=0.02), "the ruler stays on the picture"
    shown.click("[data-tool=pan]")
    place = "+document.querySelector('#marks line').getAttribute('x1')"
    before = shown.value(place)
    shown.drag((x, y), (x + 40, y))
    assert shown.value(place) - before == pytest.approx(40, abs=2), "the picture follows the mouse"
    shown.key("0")
    assert shown.value("[...caseViewer.scene.pan2Dxyzmm]") == [0, 0, 0, 1]


def test_outline_attention_and_planes(shown: Page) -> None:
    regions = "document.querySelectorAll('#marks .regions path').length"
    visible = "getComputedStyle(document.querySelector('#marks .regions')).display !== 'none'"
    assert shown.value(regions) == 2 and shown.value(visible), "the outline lies on the slice that it is of"
    assert text(shown, "of").startswith("outline: ") and "not its extent" in text(shown, "of")
    shown.key("o")
    assert not shown.value(visible) and text(shown, "of") == ""
    shown.key("o")
    shown.key("ArrowDown")
    assert shown.value(regions) == 0
    shown.key("n")
    assert shown.value("caseViewer.volumes.length") == 1, "attention is off at first"
    shown.click("#attention")
    shown.wait("caseViewer.volumes.length === 2 && !document.getElementById('heatbar').hidden")
    assert shown.value("caseViewer.volumes[1].opacity") == pytest.approx(0.6)
    assert shown.value("caseViewer.volumes[1].img.length") == 9 * 128 * 128
    shown.value("(s => { s.value = 30; s.dispatchEvent(new Event('input')); })(document.getElementById('opacity'))")
    shown.wait("Math.abs(caseViewer.volumes[1].opacity - 0.3) < 1e-6")
    shown.key("a")
    shown.wait("caseViewer.volumes[1].opacity === 0 && document.getElementById('heatbar').hidden")
    shown.key("v")
    shown.wait("caseViewer.screenSlices.length === 3")
    shown.key("v")
    shown.wait("caseViewer.screenSlices.length === 1")


def test_a_finding_in_the_table_leads_to_its_slice_and_outline(tab: Page, params, tmp_path: Path) -> None:
    values = np.full((9, len(params.label_set)), 0.1)
    values[SUSPICIOUS, 0] = 0.9
    values[[3, 6], [1, 5]] = 0.8
    shown = {"shown": {3: ("epidural",), 6: ("subdural",)}, "attention": {3: maps("epidural"), 6: maps("subdural")}}
    page = case_page(made_case(params, values, slice_thresholds=np.full(len(params.label_set), 0.5), **shown))
    (tmp_path / "case.html").write_text(page, encoding="utf-8")
    tab.open(tmp_path / "case.html")
    assert tab.ready() == "ready", tab.value("document.getElementById('fallback').textContent")
    assert tab.value("document.querySelectorAll('[data-finding]').length") == 2
    for label, slice_ in (("epidural", 3), ("subdural", 6), ("epidural", 3)):
        tab.click(f"[data-finding={label}]")
        assert tab.value(AT) == slice_ and text(tab, "of").startswith(f"outline: {label}")
    assert tab.requests == [] and tab.errors == []


def test_pictures_enlarge(shown: Page) -> None:
    shown.value("document.querySelector('.query [data-enlarge]').scrollIntoView({block: 'center'})")
    shown.click(".query [data-enlarge]")
    assert shown.value("document.getElementById('enlarged').open")
    assert shown.value("document.querySelectorAll('#enlarged svg path').length") == 2
    shown.key("Escape")


def letters(page: Page) -> dict[str, list[float]]:
    """What NiiVue writes on its canvas, each with its place as a share of the canvas."""
    return page.value(
        """(() => { const seen = {}, draw = caseViewer.drawText, { width, height } = caseViewer.canvas;
        caseViewer.drawText = function (at, said, ...more) { seen[said] = [at[0] / width, at[1] / height]; return draw.call(this, at, said, ...more); };
        caseViewer.drawScene(); caseViewer.drawText = draw; return seen; })()"""
    )


def test_a_lesion_in_the_left_of_a_phantom_is_on_the_right_beside_the_l(tab: Page, params, tmp_path: Path) -> None:
    small = params.phantom.model_copy(
        update={"patients": 4, "slices": 8, "size": 96, "positive_fraction": 1.0, "second_series_fraction": 0.0}
    )
    create_phantom(params.model_copy(update={"phantom": small}), tmp_path / "data", workers=1)
    masks = read_masks(tmp_path / "data" / "masks.csv")
    # Where the blood is, from the files' own headers: DICOM's x grows towards the patient's left (PS3.3 C.7.6.2.1.1).
    found = None
    for path in sorted(p for p in (tmp_path / "data" / "dicom").rglob("*") if p.is_file()):
        file = pydicom.dcmread(path, force=True)
        mask = masks[file.SOPInstanceUID].get("intraparenchymal") if file.SOPInstanceUID in set(masks) else None
        if mask is not None and mask.sum() > 100:
            row, column = np.argwhere(mask).mean(axis=0)
            turn, start = [float(v) for v in file.ImageOrientationPatient], float(file.ImagePositionPatient[0])
            down, right = (float(v) for v in file.PixelSpacing)
            x = start + turn[0] * column * right + turn[3] * row * down
            if x > 15 and turn[:2] == [1, 0]:
                found = path, file, row, column
    assert found is not None, "no lesion in the left of these phantoms"
    path, file, row, column = found
    scan = load_case([path.parent], params.ingest)
    index = scan.SOPInstanceUIDs.index(file.SOPInstanceUID)
    values = np.full((len(scan.hu), len(params.label_set)), 0.1)
    values[index, 0] = 0.9
    case = made_case(
        params, values, slice_thresholds=np.full(len(params.label_set), 0.5), shown={}, attention={},
        hu=scan.hu, positions_mm=scan.positions_mm, scan=scan.scan,
    )  # fmt: skip
    page = tmp_path / "left.html"
    page.write_text(case_page(case), encoding="utf-8")
    tab.open(page)
    assert tab.ready() == "ready" and tab.value(AT) == index
    written = letters(tab)
    assert written["L"][0] > 0.9 and written["R"][0] < 0.1 and written["A"][1] < 0.1 and written["P"][1] > 0.9
    tab.key("3")  # stroke: 40 HU wide, so that blood is white
    tab.picture(tmp_path / "left.png")
    grey = np.asarray(Image.open(io.BytesIO((tmp_path / "left.png").read_bytes())).convert("L"), float)
    left, top, width = tab.value("(b => [b.x, b.y, b.width])(document.getElementById('stage').getBoundingClientRect())")
    size = scan.hu.shape[1]
    y, x = top + (row + 0.5) / size * width, left + (column + 0.5) / size * width
    mirrored = 2 * left + width - x
    assert x > left + width / 2, "right of the middle"

    def brightness(at: float) -> float:
        return float(grey[round(y) - 4 : round(y) + 5, round(at) - 4 : round(at) + 5].mean())

    assert brightness(x) > brightness(mirrored) + 40
    tab.mouse("mouseMoved", x, y)
    assert text(tab, "hu") == f"{scan.hu[index, int(row + 0.5), int(column + 0.5)]} HU"
    assert tab.requests == [] and tab.errors == []


def test_without_webgl_the_suspicious_slices_are_pictures(chromium: str, params, tmp_path: Path) -> None:
    with browser(chromium, tmp_path / "profile", webgl=False) as page:
        page.open(page_of(params, tmp_path / "case.html"))
        assert page.ready() == "none"
        assert "has no WebGL 2" in text(page, "fallback") and "stand below as pictures" in text(page, "fallback")
        assert page.value("document.getElementById('poster').src === document.querySelector('#slice-4 .query img').src")
        page.key("n")
        assert page.value(AT) == 6
        assert page.value("document.getElementById('poster').src === document.querySelector('#slice-7 .query img').src")
        assert page.value("[...document.querySelectorAll('.query img')].every(i => i.complete && i.naturalWidth)")
        page.print_to(tmp_path / "case.pdf")
        assert page.requests == [] and page.errors == []


def test_identifiers_stand_there_only_where_they_were_asked_for(params) -> None:
    values = np.full((3, len(params.label_set)), 0.1)
    case = made_case(params, values, slice_thresholds=values[0], shown={}, attention={}, decision=False)
    case = replace(case, scan=Scan((1.0, 1.0), 2, (1, 2, 3), "NAME-IN-TEXT", "20260102", "ACC-4711"))
    hidden, open_ = case_page(case), case_page(case, identifiers=True)
    for said in ("NAME-IN-TEXT", "2026-01-02", "ACC-4711"):
        assert said not in hidden and said in open_
    assert "series 2" in hidden
