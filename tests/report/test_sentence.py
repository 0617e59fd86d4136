"""The sentence that stands first."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ich_pipeline.config import load_params
from ich_pipeline.explain.case import margin
from ich_pipeline.explain.sentence import case_sentence
from tests.made.explained import made_case

PARAMS = load_params(Path(__file__).parents[2] / "ich_pipeline" / "profiles" / "phantom.yaml")
ANY, EDH, IPH, IVH, SAH, SDH = range(6)


def case(values, **changed):
    settings = {"slice_thresholds": np.full(6, 0.5), "shown": {}, "attention": {}, **changed}
    return made_case(PARAMS, values, **settings)


def scores(**reached) -> np.ndarray:
    """Ten slices, all scores 0.1 but those named: finding → (slices, score)."""
    found = np.full((10, 6), 0.1)
    for name, (slices, value) in reached.items():
        found[slices, PARAMS.label_set.columns.index(name)] = value
    return found


@pytest.mark.parametrize(
    ("values", "changed", "said"),
    [
        (
            scores(any=([3, 4, 5], 0.9), intraparenchymal=([3, 4, 5], 0.9), epidural=([4], 0.6)),
            {},
            "Suspected: intraparenchymal, side not determined, slices 4–6; epidural possible, slice 5; others not named.",
        ),
        (
            scores(any=([0, 2, 3, 5, 9], 0.9), subdural=([0, 2, 3, 7, 9], 0.9)),
            {},
            "Suspected: subdural, side not determined, slices 1, 3–4 and 10; others not named.",
        ),
        (scores(any=([7], 0.9)), {}, "Suspected: haemorrhage of no named kind, slice 8."),
        (scores(any=([7], 0.2)), {"decision": False}, "Not suspected."),
        (
            scores(any=([7], 0.2), epidural=([6, 7], 0.7)),
            {"decision": False},
            "Check: epidural possible, slice 7; haemorrhage as a whole not suspected.",
        ),
        (
            scores(epidural=([6, 7], 0.7), subdural=([2], 0.8)),
            {"decision": False, "slice_thresholds": np.array([np.nan, *[0.5] * 5])},
            "Check: subdural possible, slice 3; epidural possible, slices 7–8; haemorrhage as a whole not suspected.",
        ),
        (
            scores(any=([1], 0.9), intraparenchymal=([1], 0.9)),
            {"case_thresholds": np.array([0.5, 0.5, 0.5, 0.5, 0.5, np.nan])},
            "Suspected: intraparenchymal, side not determined, slice 2; others not named; subdural not judged.",
        ),
        (scores(), {"decision": None, "no_answer": "not read: unlike the scans"}, "Not read: unlike the scans."),
        (
            scores(),
            {"decision": None, "no_answer": "trained on synthetic heads: no answer for a patient"},
            "Not read: trained on synthetic heads: no answer for a patient.",
        ),
        (
            scores(any=([7], 0.9)),
            {"no_answer": "trained on synthetic heads: no answer for a patient"},
            "No answer (trained on synthetic heads: no answer for a patient); for demonstration: suspected: "
            "haemorrhage of no named kind, slice 8.",
        ),
        (
            scores(),  # a case score that is not the highest slice's
            {"case_scores": np.array([0.9, 0.7, 0.1, 0.1, 0.1, 0.1])},
            "Suspected: epidural, side not determined, highest in slice 1; others not named.",
        ),
    ],
)
def test_what_is_said(values, changed, said: str) -> None:
    assert case_sentence(case(values, **changed)) == said


def test_a_low_threshold_leads_nobody() -> None:
    """0.4 is nearly three times a threshold of 0.15 and says less than 0.98 above one of 0.9."""
    values = scores(any=([2], 0.9), subarachnoid=([2], 0.4), subdural=([2], 0.98))
    thresholds = np.array([0.5, 0.5, 0.5, 0.5, 0.15, 0.9])
    assert case_sentence(case(values, case_thresholds=thresholds)).startswith(
        "Suspected: subdural, side not determined, slice 3; subarachnoid"
    )


numbers = st.lists(st.floats(0, 1), min_size=18, max_size=18).map(lambda v: np.reshape(v, (3, 6)))


@given(values=numbers, thresholds=st.lists(st.one_of(st.floats(0.01, 0.99), st.just(np.nan)), min_size=6, max_size=6),
       decision=st.booleans())  # fmt: skip
def test_it_never_promises_health(values, thresholds, decision: bool) -> None:
    limits = np.array(thresholds)
    said = case_sentence(case(values, decision=decision, case_thresholds=limits, slice_thresholds=limits))
    assert said.startswith("Suspected: " if decision else ("Not suspected", "Check: "))
    assert "no haemorrhage" not in said.lower() and said.endswith(".") and said.count(".") == 1
    for k, name in enumerate(PARAMS.label_set.subtypes, start=1):
        unjudged = np.isnan(limits[k])
        reached = not unjudged and values[:, k].max() >= limits[k]  # also where log-odds are clipped
        assert (name in said) == bool(reached or unjudged), (name, said)


def test_a_margin_is_monotone_and_knows_no_threshold() -> None:
    above = margin(np.array([[0.2, 0.9], [0.6, 0.99]]), np.array([0.5, np.nan]))
    assert above[0, 0] < 0 < above[1, 0] and np.isneginf(above[:, 1]).all()
