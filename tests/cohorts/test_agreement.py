"""Kappas against scikit-learn, their own definition and a worked example."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import cohen_kappa_score

from ich_pipeline.cohorts.bring import NO_CASE, NO_VARIETY, agreement, cohen_kappa, fleiss_kappa

VOTES = st.lists(st.tuples(*[st.integers(0, 1)] * 3), min_size=2, max_size=40).filter(lambda v: len({*sum(v, ())}) == 2)


@settings(max_examples=30, deadline=None)
@given(VOTES)
def test_kappas_equal_independent_implementations(votes: list[tuple[int, ...]]) -> None:
    table = np.array(votes)
    agreeing = np.mean([(table[:, a] == table[:, b]).mean() for a, b in ((0, 1), (0, 2), (1, 2))])
    by_chance = table.mean() ** 2 + (1 - table.mean()) ** 2
    assert fleiss_kappa(table)["kappa"] == pytest.approx((agreeing - by_chance) / (1 - by_chance), abs=1e-12)
    for a, b in ((0, 1), (0, 2), (1, 2)):
        ours = cohen_kappa(table[:, a], table[:, b])
        if ours["kappa"] is None:
            assert ours["reason"] == NO_VARIETY and len(set(table[:, [a, b]].ravel())) == 1
        else:
            assert ours["kappa"] == pytest.approx(cohen_kappa_score(table[:, a], table[:, b]), abs=1e-12)
        assert ours["both"] + ours["first_only"] + ours["second_only"] + ours["neither"] == len(table)


def test_worked_example() -> None:
    """20 yes–yes, 5 yes–no, 10 no–yes, 15 no–no: observed 0.7, by chance 0.5, so kappa 0.4."""
    a, b = np.repeat([1, 1, 0, 0], [20, 5, 10, 15]), np.repeat([1, 0, 1, 0], [20, 5, 10, 15])
    ours = cohen_kappa(a, b)
    assert ours == {
        "kappa": pytest.approx(0.4), "reason": None, "agreement": 0.7,
        "both": 20, "first_only": 5, "second_only": 10, "neither": 15,
    }  # fmt: skip


def test_what_cannot_be_had_is_null_with_its_reason() -> None:
    assert fleiss_kappa(np.zeros((4, 3), int)) == {
        "kappa": None, "reason": NO_VARIETY, "cases_by_positive_votes": [4, 0, 0, 0],
    }  # fmt: skip
    empty = np.zeros((0, 3), int)
    assert fleiss_kappa(empty)["reason"] == NO_CASE and cohen_kappa(empty[:, 0], empty[:, 1])["reason"] == NO_CASE


def test_of_all_findings_with_counts() -> None:
    votes = {
        "R1": pd.DataFrame({"any": [1, 1, 0, 0]}),
        "R2": pd.DataFrame({"any": [1, 0, 0, 0]}),
        "R3": pd.DataFrame({"any": [1, 1, 1, 0]}),
    }
    found = agreement(votes)
    assert (found["cases"], found["readers"]) == (4, ["R1", "R2", "R3"])
    of_any = found["findings"]["any"]
    assert of_any["positive"] == {"R1": 2, "R2": 1, "R3": 3} and of_any["majority"] == 2
    assert [pair["readers"] for pair in of_any["pairs"]] == [["R1", "R2"], ["R1", "R3"], ["R2", "R3"]]
    assert of_any["fleiss"]["cases_by_positive_votes"] == [1, 1, 1, 1]
