"""The whole report from real outs: complete, self-contained, free of identifiers, equal bytes."""

from __future__ import annotations

import dataclasses
import json
import re
from pathlib import Path

import pytest

from ich_pipeline.evaluation import style
from ich_pipeline.explain.beside import CENTRE, RANDOM
from ich_pipeline.explain.boxes import BoxSummary
from ich_pipeline.papers.fill import write_papers
from ich_pipeline.report.boxed import OWN
from ich_pipeline.report.build import _model_card, build_report
from ich_pipeline.report.cases import listed_failures
from ich_pipeline.report.cautions import cautions
from ich_pipeline.report.localisation import TestLocalisation
from ich_pipeline.report.metrics import markdown
from ich_pipeline.report.pages import index_page
from ich_pipeline.report.render import display_name
from tests.made.browser import browser
from tests.report.conftest import SAID_BY_SPLIT

PLANTED = "SMITH-4711"  # the PatientID in conftest.py


@pytest.fixture(scope="module")
def reports(inputs, tmp_path_factory) -> Path:
    target = tmp_path_factory.mktemp("reports")
    (target / ".gitignore").write_text("/index.html\n")  # DVC keeps one there
    build_report(inputs, target)
    write_papers(inputs, target)  # the stage does both, and the pages link them
    return target


def test_everything_is_there(reports, params):
    files = {path.relative_to(reports).as_posix() for path in reports.rglob("*") if path.is_file()}
    assert {"index.html", "atlas.html", "metrics.json", "metrics.md", "model_card.md", ".gitignore"} <= files
    figures = {Path(f).stem for f in files if f.startswith("figures/") and f.endswith(".svg")}
    assert {"1_system", "2_outputs", "3_ablation", "5_atlas", "attention_test_prospective"} <= figures
    assert {f"4_{kind}_{test}" for kind in ("roc", "pr") for test in params.tests} <= figures
    metrics = json.loads((reports / "metrics.json").read_text())
    assert metrics.pop("data") == "synthetic"
    assert set(metrics) == set(params.tests)
    assert set(metrics["test_prospective"]["slice"]) == {*params.label_set.columns, "mean"}


def test_pages_need_nothing_from_outside_and_links_lead_somewhere(reports):
    for page in [*reports.glob("*.html"), *reports.glob("cases/*.html")]:
        html = page.read_text(encoding="utf-8")
        for target in re.findall(r'(?:src|href)="([^"]*)"', html) + re.findall(r"url\(([^)]*)\)", html):
            assert not re.match(r"(https?:)?//", target), f"{page.name} loads {target[:80]}"
            # The ledger's page is written by the pipeline, after the stages.
            if not target.startswith(("data:", "#", "../work/", "test_ledger.html")):
                assert (page.parent / target.split("#")[0]).exists(), f"{page.name} links {target}"
        assert page.stat().st_size < 5_000_000


def test_every_listed_failure_leads_to_its_page(inputs, reports):
    index = (reports / "index.html").read_text(encoding="utf-8")
    tables = re.findall(r'<div class="cases wrong">.*?</section>', index, flags=re.DOTALL)
    assert len(tables) == len(inputs.tests)
    for section, test in zip(tables, inputs.tests, strict=True):
        table = section.split("<h3>Decided rightly")[0]
        listed = listed_failures(test.failures)["case_id"].tolist()
        assert len(listed) > 2, "the turn through the kinds alone gives two of them a page"
        assert re.findall(r'href="cases/(.*?)\.html"', table) == listed
        assert all((reports / "cases" / f"{case}.html").is_file() for case in listed)
        assert table.count("data:image/png;base64,") == len(listed)


def test_pages_claim_no_more_than_is_known(reports):
    pages = [*reports.glob("*.html"), *reports.glob("*.md"), *reports.glob("cases/*.html")]
    words = {page: page.read_text(encoding="utf-8") for page in pages}
    for page, text in words.items():
        assert "once the system was fixed" not in text, page  # nothing proves it
    for page in reports.glob("cases/*.html"):
        assert "not a calibrated probability of the case" in words[page]
        # The fixture's ensemble names a reason for one label.
        assert "Not calibrated, on a scale of its own: Epidural (too few)" in words[page]
    assert "epidural is **not calibrated**: too few." in words[reports / "model_card.md"]
    trained = re.search(r"Trained on (.*?)\(cohort (\w+)\): 1 patients, 1 cases", words[reports / "model_card.md"])
    assert trained is not None and "scanners: ACME; slice thickness: 5 mm." in words[reports / "model_card.md"]


def test_what_six_cases_do_not_show_is_said(reports, params):
    said = json.loads((reports / "headline.json").read_text())["cautions"]
    assert said == [
        SAID_BY_SPLIT,
        *cautions(json.loads((reports / "metrics.json").read_text()), params.tests, params.labels.any),
    ]
    first = said[1]
    assert "better than chance is not shown" in first
    for name in ("index.html", "metrics.md", "model_card.md"):
        assert SAID_BY_SPLIT in (reports / name).read_text(), name
    for name in ("index.html", "metrics.md", "model_card.md"):
        assert first in (reports / name).read_text(), name


def test_pages_say_how_sure_the_system_is(reports):
    for page in reports.glob("cases/*.html"):
        text = page.read_text(encoding="utf-8")
        assert re.search(
            r"Haemorrhage (not )?suspected: (supported|undecided|doubtful|fits neither) at 90 % coverage\.", text
        )
        assert "One member: no disagreement." in text
    index = (reports / "index.html").read_text(encoding="utf-8")
    assert "conformal sets at 90 % coverage" in index and "not available: too few patients" in index
    for name in ("metrics.md", "model_card.md"):
        assert "conformal sets of cases at 90% coverage" in (reports / name).read_text(encoding="utf-8")


def test_boxes_are_scored_as_boxes_beside_the_masks(reports, inputs):
    index = (reports / "index.html").read_text(encoding="utf-8")
    for test in inputs.tests:
        title = f"{display_name(test.name)}: boxes"
        section = index[index.index(title) : index.index("</table>", index.index(title))]
        assert "is scored as such" in section
        rows = re.findall(r"<tr class=.*?</tr>", section, flags=re.DOTALL)
        assert len(rows) == 4  # three findings and "any"; the others have no box
        assert all(len(re.findall("<td", row)) == 11 for row in rows)
        assert rows[0].startswith('<tr class=""><td>Any</td><td class="n">3</td>')


def test_boxes_without_masks_are_not_called_nothing(inputs, params, tmp_path):
    seen = BoxSummary("any", 3, 0, 0.625, (0.5, 0.75), 0.125, 0.25, None, 0.0625)
    unseen = BoxSummary("epidural", 0, 0, None, None, None, None, None, None)
    boxed: dict[str, tuple[BoxSummary, ...]] = {OWN: (seen, unseen), CENTRE: (seen, unseen), RANDOM: (seen, unseen)}
    explain = params.explain.model_copy(update={"maps": "any"})
    inputs = dataclasses.replace(inputs, params=params.model_copy(update={"explain": explain}))
    for test in inputs.tests:
        for name in ("roc", "pr"):
            (tmp_path / f"4_{name}_{test.name}.svg").write_text("<svg/>")
    for name in ("1_system", "2_outputs", "3_ablation", "5_atlas", "5_basis"):
        (tmp_path / f"{name}.svg").write_text("<svg/>")
    name = inputs.tests[0].name
    for found, said in (({}, False), (boxed, True)):
        localisations = [TestLocalisation(name, ("any",), (), (), {}, (), found)]
        card = _model_card(inputs, {}, [], "# Results\n", localisations)
        assert ("no lesion masks and no boxes" in card) == (not said)
        assert (f"| {name} | any | 3 | 0 | 0.62 (0.50–0.75) | 0.12 | " in card) == said
        assert "| epidural | 0 |" not in card and "Dice: of the outlined region" not in card
        page = index_page(inputs, tmp_path, [], localisations, [], "LayerCAM of block5", "C1")
        section = page[page.index('id="attention"') : page.index('id="data"')]
        assert ("no lesion masks and no boxes" in section) == (not said)
        for words in ("Chosen on validation", "LayerCAM of block5", "The rows in grey"):
            assert (words in section) == said, words


def test_no_identifier_reaches_a_page(reports):
    for path in reports.rglob("*"):
        if path.is_file():
            content = path.read_bytes()
            assert PLANTED.encode() not in content, path
            assert b"1.2.0.2" not in content, path  # a SOPInstanceUID


@pytest.mark.long  # a second report of the same; the fresh clone compares the recorded bytes
def test_equal_bytes(inputs, reports, tmp_path):
    build_report(inputs, tmp_path)
    for path in tmp_path.rglob("*"):
        if path.is_file():
            assert path.read_bytes() == (reports / path.relative_to(tmp_path)).read_bytes(), path.name


def test_pages_open_without_a_console_error(reports, chromium, tmp_path):
    case = next(iter((reports / "cases").glob("*.html")))
    with browser(chromium, tmp_path / "profile") as tab:
        for page in (case, reports / "index.html", reports / "atlas.html"):
            tab.open(page)
            if page == case:
                assert tab.ready() == "ready"
                assert re.match(r"slice \d+ of 5", tab.value("document.getElementById('place').textContent"))
            assert "Research use only" in tab.value("document.body.textContent")
            assert tab.errors == [] and tab.requests == []


def test_the_headline_is_a_dozen_figures_and_says_what_it_is_of(reports, params):
    found = json.loads((reports / "headline.json").read_text())
    metrics = json.loads((reports / "metrics.json").read_text())
    assert (found.pop("data"), len(found.pop("cautions")) > 1) == ("synthetic", True)
    assert set(found) == set(params.tests)
    point = params.ensemble.decision
    for test, figures in found.items():
        block = metrics[test]
        assert figures == {
            "slice_auc": block["slice"]["any"]["auc"]["value"],
            "slice_map": block["slice"]["mean"]["ap"]["value"],
            "case_auc": block["case"]["any"]["auc"]["value"],
            "case_sensitivity": block["case"]["any"][f"sensitivity@{point}"]["value"],
            "case_specificity": block["case"]["any"][f"specificity@{point}"]["value"],
        }


def test_figures_of_synthetic_heads_are_marked_and_others_are_not(tmp_path):
    def drawn(data: str) -> str:
        figure, _ = style.new_figure(1, 3, 2)
        with style.marked(data):
            style.save(figure, tmp_path / f"{data}.svg")
        return (tmp_path / f"{data}.svg").read_text()

    assert "synthetic heads (phantom)" in drawn("synthetic")
    assert "synthetic" not in drawn("folder")
    assert "Synthetic heads." in markdown({}, [], "balanced", 0.95, (), "synthetic")
    assert "Synthetic" not in markdown({}, [], "balanced", 0.95, (), "folder")


def test_the_overview_tells_its_story_on_six_screens_and_folds_the_rest(reports, chromium, tmp_path):
    with browser(chromium, tmp_path / "profile") as tab:
        tab.open(reports / "index.html", 1280, 960)
        assert tab.value("document.getElementById('folds').getBoundingClientRect().top + scrollY") <= 6 * 960
        figures = "[...document.querySelectorAll('figure.story')].map(one => one.id)"
        assert tab.value(figures) == [f"figure-{n}" for n in range(1, 6)]
        assert tab.value("[...document.images].every(one => one.complete && one.naturalWidth > 0)")
        folds = "document.querySelectorAll('details.fold').length"
        shut = "document.querySelectorAll('details.fold:not([open])').length"
        assert tab.value(shut) == tab.value(folds) > 8
        links = tab.value("[...document.querySelectorAll('#contents a[href^=\"#\"]')].map(one => one.hash.slice(1))")
        assert {*links} >= {"cases", "results", "readers", "attention", "limits"}
        tab.click('#contents a[href="#attention"]')
        assert tab.value("document.getElementById('attention').open") and tab.value(shut) == tab.value(folds) - 1
        assert abs(tab.value("document.getElementById('attention').getBoundingClientRect().top")) < 960
        assert tab.value("document.getElementById('contents').getBoundingClientRect().top") == 0, "it stays beside"
        tab.value("dispatchEvent(new Event('beforeprint'))")
        assert tab.value(shut) == 0
        tab.value("dispatchEvent(new Event('afterprint'))")
        assert tab.value(shut) == tab.value(folds) - 1
        tab.open(reports / "index.html", 390, 844)
        assert not tab.value("document.getElementById('contents').open")
        assert tab.value("document.documentElement.scrollWidth") <= 390


def test_the_overview_marks_simulated_readers(reports):
    index = (reports / "index.html").read_text(encoding="utf-8")
    assert "1 <b>simulated readers: chance made their decisions" in index and "No person read these cases." in index
    drawn = (reports / "figures" / "4_roc_test_prospective.svg").read_text(encoding="utf-8")
    assert "reader simulated A: sens." in drawn
