"""The worklist: every study of a run on one page."""

from __future__ import annotations

import re
from datetime import date
from pathlib import Path

import numpy as np
import pytest

from ich_pipeline.report.worklist import age, entry, is_worklist, worklist
from tests.made.explained import made_case


def case(params, name: str, score: float, decision: bool | None, **changed):
    values = np.full((3, len(params.label_set)), 0.05)
    values[1, 0] = score
    settings = {"slice_thresholds": np.full(len(params.label_set), 0.5), "shown": {}, "attention": {}}
    return made_case(params, values, **settings, decision=decision, case_id=name, **changed)


def test_the_most_suspicious_come_first_and_nobody_is_left_out(params, tmp_path: Path) -> None:
    cases = [
        case(params, "Cb", 0.2, False),
        case(params, "Ca", 0.7, True),
        case(params, "Cd", np.nan, None, no_answer="not read: unlike all <others>", final=np.full((3, 6), np.nan)),
        case(params, "Cc", 0.95, True),
    ]
    page = worklist(
        [entry(one, ("a part was not read",) if one.case_id == "Ca" else ()) for one in cases],
        {"Ce": "no usable series <b>"},
        "ich-ensemble version 3",
        params.windowing.windows,
        caution="Not shown to be better.",
    )
    assert re.findall(r'href="(C\w)\.html">C', page) == ["Cc", "Ca", "Cb", "Cd"]
    assert "4 studies read by ich-ensemble version 3: 2 suspected, 1 without an answer; 1 could not be read" in page
    for words in (
        "a part was not read",
        "Not shown to be better.",
        "Ce",
        "no usable series &lt;b&gt;",
        "&lt;others&gt;",
    ):
        assert words in page
    assert page.count("data:image/png") == 4 and "http" not in re.sub(r'xmlns="[^"]*"', "", page)
    assert "study date" not in page and "slice 2 of 3" in page
    (tmp_path / "index.html").write_text(page)
    assert is_worklist((tmp_path / "index.html").read_bytes())
    (tmp_path / "own.html").write_text("<html>my own</html>")
    assert not is_worklist((tmp_path / "own.html").read_bytes())


def test_a_demonstration_is_no_answer(params) -> None:
    shown = case(params, "Ca", 0.99, True, no_answer="trained on synthetic heads: no answer for a patient")
    page = worklist([entry(shown), entry(case(params, "Cb", 0.2, False))], {}, "m", params.windowing.windows)
    assert "0 suspected, 1 without an answer" in page and "for demonstration" in page
    assert re.findall(r'href="(C\w)\.html">C', page) == ["Cb", "Ca"]
    assert 'class="suspected"' not in page and 'class="meter over"' not in page


@pytest.mark.parametrize("date", ["2026-11-02", ""])
def test_dates_stand_there_only_where_they_were_given(params, date: str) -> None:
    page = worklist([entry(case(params, "Ca", 0.7, True), (), date)], {}, "m", params.windowing.windows)
    assert ("study date" in page) == bool(date) and (date in page)


@pytest.mark.parametrize(
    ("studied", "words"),
    [
        ("2026-11-29", "today"),
        ("2026-11-28", "1 day old"),
        ("2026-10-01", "59 days old"),
        ("2026-09-01", "2 months old"),
        ("2024-11-28", "2 years old"),
        ("2026-12-01", ""),
        ("2026-13-01", ""),
        ("", ""),
    ],
)
def test_the_age_of_a_study_in_words(studied: str, words: str) -> None:
    assert age(studied, date(2026, 11, 29)) == words


def test_ages_stand_beside_dates_alone(params) -> None:
    one, today = case(params, "Ca", 0.7, True), date(2026, 11, 29)
    dated = worklist([entry(one, (), "2026-11-26", today)], {}, "m", params.windowing.windows)
    assert "2026-11-26<small>3 days old</small>" in dated
    assert " old<" not in worklist([entry(one, (), "", today)], {}, "m", params.windowing.windows)
