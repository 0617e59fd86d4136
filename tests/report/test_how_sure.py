"""How sure the system is of a case, in words that fit the first line: the same on the page and in the answer as JSON."""

from __future__ import annotations

import dataclasses
import re

import numpy as np
import pytest

from ich_pipeline.ensemble.uncertainty import CaseUncertainty
from ich_pipeline.explain.scan import Scan
from ich_pipeline.explain.sentence import certain_sentence
from ich_pipeline.report.case_page import case_page
from tests.made.explained import made_case, maps


def test_the_page_speaks_of_every_finding_and_of_disagreement(params):
    labels = params.label_set
    known = CaseUncertainty(
        coverage=0.9,
        sets={"any": "undecided", "subdural": "neither", "epidural": "present"},
        reasons=dict.fromkeys(labels.subtypes[1:4], "validation has 3 patients with the finding"),
        slice_sets={},
        disagreement=dict.fromkeys(labels.columns, 0.12),
        slice_disagreement=np.full((1, len(labels)), 0.1),
        reason=None,
    )
    values = np.full((1, len(labels)), 0.6)
    of_any = {"slice_thresholds": np.full(len(labels), 0.9), "shown": {0: ()}, "attention": {0: maps(labels.any)}}
    page = case_page(made_case(params, values, **of_any, uncertainty=known))
    assert "Haemorrhage suspected: undecided at 90 % coverage." in page
    assert _rows(page)["subdural"].endswith(": fits neither")
    assert [k for k, words in _rows(page).items() if words.endswith(": not available")] == list(labels.subtypes[1:4])
    assert "Subarachnoid: validation has 3 patients with the finding." in page
    assert "“Any” differ by 0.12" in page
    # Every finding has the first line's word for it, and how clear that is.
    assert "epidural" in _first_line(page) and _rows(page)["epidural"] in (
        "suspected: supported",
        "possible: supported",
    )
    low = np.array([[0.6, 0.4, 0.6, 0.6, 0.6, 0.6]])
    aside = dataclasses.replace(known, sets={"any": "present", "epidural": "present", "subdural": "absent"})
    page = case_page(made_case(params, low, **of_any, uncertainty=aside))
    assert _rows(page)["epidural"] == "not named: doubtful" and _rows(page)["subdural"] == "possible: doubtful"
    assert "calibrated without conformal sets" in case_page(made_case(params, values, **of_any))
    # Where no finding has a set, the reason stands once.
    few = "validation has 3 patients with the finding, and 90% coverage needs at least 9"
    nothing = dataclasses.replace(known, sets={}, reasons=dict.fromkeys(labels.columns, few))
    page = case_page(made_case(params, values, **of_any, uncertainty=nothing))
    assert "No statement at 90 % coverage." in page and page.count(few) == 1 and "“Any” differ by 0.12" in page


@pytest.mark.parametrize(
    ("decision", "found", "said"),
    [
        (False, "present", "not suspected: doubtful"),
        (False, "absent", "not suspected: supported"),
        (False, "undecided", "not suspected: undecided"),
        (True, "absent", "suspected: doubtful"),
        (True, "present", "suspected: supported"),
        (True, "neither", "suspected: fits neither"),
    ],
)
def test_the_set_of_any_fits_the_first_line(params, decision: bool, found: str, said: str):
    made = _of_sets(params, {"any": found}, decision=decision)
    page = case_page(made)
    assert f"<b>Haemorrhage {said} at 90 % coverage.</b>" in page
    assert certain_sentence(made) == f"Haemorrhage {said} at 90 % coverage"
    assert ("<strong>Not suspected.</strong>" in page) == (not decision)


@pytest.mark.parametrize("found", ["present", "absent", "undecided"])
def test_a_finding_without_a_threshold_is_not_judged(params, found: str):
    thresholds = np.full(len(params.label_set), 0.5)
    thresholds[params.label_set.index("epidural")] = np.nan
    made = _of_sets(params, {"any": "present", "epidural": found}, case_thresholds=thresholds, score=0.4)
    page = case_page(made)
    assert "epidural not judged.</strong>" in page and _rows(page)["epidural"] == "not judged"
    # Both reach the threshold of a slice; subdural has one of the case, and does not reach it.
    assert re.findall(r"Prediction basis: (\w+) .*?>\((.*?)\)</span>", page) == [
        ("epidural", "not judged for the case"),
        ("subdural", "not named for the case"),
    ]
    assert page.count("validation gave none for the case") == 1 and page.count("and not that of the case") == 1


def _rows(page: str) -> dict[str, str]:
    """Finding → words of the panel "How sure"."""
    panel = page[page.index("<h3>How sure</h3>") :]
    found = re.findall(r"<td[^>]*>([^<]+)</td><td[^>]*>([^<]+)</td>", panel[: panel.index("</table>")])
    return {name.lower(): words for name, words in found}


def _first_line(page: str) -> str:
    return page[page.index("<strong>") : page.index("</strong>")]


def _of_sets(params, sets: dict[str, str], *, score: float = 0.6, **changed):
    labels = params.label_set
    known = CaseUncertainty(
        coverage=0.9,
        sets=sets,
        reasons={name: "validation has 3 patients with the finding" for name in labels.columns if name not in sets},
        slice_sets={},
        disagreement=None,
        slice_disagreement=None,
        reason="one member: no disagreement",
    )
    values = np.full((1, len(labels)), score)
    shown = {"shown": {0: ("epidural", "subdural")}, "attention": {0: maps(labels.any)}}
    low = np.full(len(labels), 0.3)
    if not changed.get("decision", True):
        values[:] = 0.2
    return made_case(params, values, slice_thresholds=low, **shown, uncertainty=known, **changed)


def test_below_the_headline_stands_what_speaks_against_it_and_how_a_pacs_counts(params):
    columns = params.label_set.columns
    uncertain = CaseUncertainty(
        0.9, {"any": "undecided"}, dict.fromkeys(columns[1:], "few"), {}, None, None, "one member"
    )
    values = np.full((3, len(columns)), 0.1)
    values[1, 0] = 0.6
    own = {"slice_thresholds": np.full(len(columns), 0.5), "shown": {}, "attention": {}, "uncertainty": uncertain}
    page = case_page(made_case(params, values, decision=False, threshold=0.7, **own))
    assert 'class="verdict neutral"' in page and re.findall(r'class="(check)" title="slice (\d)', page) == [
        ("check", "2")
    ]
    assert _below(page) == (
        "case score 0.60 &lt; 0.70 (balanced operating point) · undecided at 90 % coverage · slice 2 reaches the threshold "
        "of a slice, the case does not reach its own: look there"
    )
    values[1:, [0, 5]] = 0.9
    downwards = Scan((1.0, 1.0), 2, (9, 8, 7))
    page = case_page(made_case(params, values, scan=downwards, **{**own, "uncertainty": None}))
    assert "slices 2–3" in _first_line(page)
    assert _below(page).endswith("· named first: InstanceNumber 8–7")
    for numbers in ((1, 2, 3), (2, 3, 1), (5, 5, 6), (4, None, 2)):  # nothing to say, or of two series
        page = case_page(made_case(params, values, scan=Scan((1.0, 1.0), 2, numbers), **{**own, "uncertainty": None}))
        assert "InstanceNumber" not in _below(page)


def _below(page: str) -> str:
    """The text that begins with the case score, its white space evened."""
    return " ".join(re.findall(r"case score [^<]* (?:&lt;|≥|<) [^<]*", page)[0].split())
