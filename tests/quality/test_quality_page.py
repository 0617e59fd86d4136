"""The page and results.json: self-contained, escaped, the same bytes for the same results."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from pathlib import Path

import pandas as pd
import pytest

from ich_pipeline.core.files import read_json
from ich_pipeline.quality.checks import Check, Histogram, Outcome, SuiteResult, overall, summary_table
from ich_pipeline.quality.page import histogram_svg, print_breaches, quality_page, write_results


def check(severity: str) -> Check:
    return Check(
        "spacing",
        "Rows lie <close>",
        "ExpectColumnValuesToBeBetween",
        {"column": "row_spacing_mm"},
        "0.2 to 3 mm",
        "look at these cases.",
        severity=severity,  # type: ignore[arg-type]
    )


HISTOGRAM = Histogram(0.4, 45.0, (39, 0, 1), (False, False, True))
PASSED = Outcome(check("error"), "passed", "all 40 hold", 40, 0)
WARNED = Outcome(check("warning"), "warning", "1 of 40 break it", 40, 1, ("C000000000000000000000003",), HISTOGRAM)
FAILED = Outcome(check("error"), "failed", "1 of 40 break it", 40, 1, ("C000000000000000000000003",), HISTOGRAM)


def results(*outcomes: Outcome) -> tuple[SuiteResult, ...]:
    return (SuiteResult("series", "Series", "chosen series", 40, outcomes),)


class Balanced(HTMLParser):
    """Collects attributes; a tag that is closed out of order is an error."""

    void = frozenset({"meta", "br"})

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.attributes: list[tuple[str, str | None]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.attributes += attrs
        if tag not in self.void:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.attributes += attrs

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


@pytest.mark.parametrize(
    ("outcomes", "verdict"),
    [((PASSED,), "All passed"), ((PASSED, WARNED), "Passed with a warning"), ((FAILED, WARNED), "Stopped")],
)
def test_page_is_well_formed_and_loads_nothing(outcomes: tuple[Outcome, ...], verdict: str) -> None:
    page = quality_page("Data <quality>", results(*outcomes), ["1 < 2"])
    parser = Balanced()
    parser.feed(page)
    assert parser.open == []
    assert verdict in page
    assert "http" not in page
    assert {name for name, _ in parser.attributes} & {"src", "href", "onload", "onclick"} == set()
    assert "url(" not in page
    assert "@import" not in page
    assert "<script" not in page
    assert "Data &lt;quality&gt;" in page
    assert "Rows lie &lt;close&gt;" in page
    assert "1 &lt; 2" in page


def test_every_outcome_is_on_the_page_with_its_limit_and_example() -> None:
    page = quality_page("Data quality", results(PASSED, FAILED))
    assert len(re.findall(r'<td class="limit">0\.2 to 3 mm', page)) == 2
    assert "<code>C000000000000000000000003</code>" in page
    assert "Look at these cases." in page
    assert "1 failed, 0 warnings" in page


def test_histogram_marks_what_is_beyond() -> None:
    svg = histogram_svg(HISTOGRAM)
    assert svg.count("<rect") == 2
    assert svg.count('class="beyond"') == 1
    assert 'height="1"' in svg  # one among 39 is still visible


def test_files_are_the_same_bytes_and_machine_readable(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        write_results(tmp_path / name, "Data quality", results(PASSED, FAILED))
    for name in ("results.json", "index.html"):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()
    content = read_json(tmp_path / "a" / "results.json")
    assert content["status"] == "failed"
    assert content["suites"][0]["failed"] == 1
    assert content["suites"][0]["checks"][1]["examples"] == ["C000000000000000000000003"]
    assert set(content) == {"schema", "status", "suites"}


def test_overall_and_summary() -> None:
    assert overall(results(PASSED)) == "passed"
    assert overall(results(PASSED, WARNED)) == "warning"
    assert overall(results(FAILED, WARNED)) == "failed"
    expected = pd.DataFrame([["Series", 40, 1, 1, 1]], columns=["suite", "rows", "passed", "warnings", "failed"])
    pd.testing.assert_frame_equal(summary_table(results(PASSED, WARNED, FAILED)), expected, check_column_type=False)


def test_terminal_table_says_what_to_do_and_is_silent_when_all_passed(capsys: pytest.CaptureFixture[str]) -> None:
    print_breaches(results(PASSED), width=160)
    assert capsys.readouterr().err == ""
    print_breaches(results(PASSED, WARNED, FAILED), width=160)
    text = capsys.readouterr().err
    assert text.count("look at these cases.") == 2
    assert text.index("failed") < text.index("warning")
    assert "such as C000000000000000000000003" in text.replace("\n", " ")
