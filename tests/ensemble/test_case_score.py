"""Case scores by hand, and what holds of every rule."""

from __future__ import annotations

from typing import get_args

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from ich_pipeline.ensemble.case_score import CaseScore, Rule

# The first case has a gap between its second and third slice; the second case has one slice.
SLICES = np.array([[0.1, 0.2], [0.4, 0.4], [0.9, 0.0], [0.3, 0.3]])
CASES = np.array([0, 0, 0, 1])
NEIGHBOURS = np.array([[-1, 1], [0, -1], [-1, -1], [-1, -1]])


@pytest.mark.parametrize(
    ("rule", "expected"),
    [
        ("max", [[0.9, 0.4], [0.3, 0.3]]),
        ("top_k_mean", [[0.65, 0.3], [0.3, 0.3]]),
        ("noisy_or", [[1 - 0.9 * 0.6 * 0.1, 1 - 0.8 * 0.6], [0.3, 0.3]]),
        # Between gaps a slice counts by itself: 0.9, and not 0.2.
        ("neighbours", [[0.9, np.sqrt(0.2 * 0.4)], [0.3, 0.3]]),
    ],
)
def test_rules(rule: Rule, expected) -> None:
    np.testing.assert_allclose(CaseScore(rule, 2)(SLICES, CASES, NEIGHBOURS), expected)


def test_of_two_neighbours_the_higher_one_counts_and_a_lonely_artefact_less_than_blood_in_two_slices() -> None:
    artefact, blood = [0.1, 0.9, 0.1, 0.1], [0.1, 0.6, 0.6, 0.1]
    slices = np.array([*artefact, *blood])[:, None]
    rows = np.arange(8)
    chain = np.stack([np.where(rows % 4 > 0, rows - 1, -1), np.where(rows % 4 < 3, rows + 1, -1)], axis=1)
    case_index = rows // 4
    np.testing.assert_allclose(CaseScore("neighbours")(slices, case_index, chain)[:, 0], [0.3, 0.6])
    np.testing.assert_allclose(CaseScore("max")(slices, case_index, chain)[:, 0], [0.9, 0.6])


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_a_score_is_a_probability_that_knows_no_order_of_rows_and_falls_with_no_slice(data: st.DataObject) -> None:
    lengths = data.draw(st.lists(st.integers(1, 5), min_size=1, max_size=4))
    case_index = np.repeat(np.arange(len(lengths)), lengths)
    n = len(case_index)
    slices = data.draw(arrays(float, (n, 2), elements=st.floats(0, 1)))
    gaps = data.draw(arrays(bool, n))
    rows = np.arange(n)
    joined = np.append(case_index[1:] == case_index[:-1], False) & ~gaps  # with the next row
    neighbours = np.stack(
        [np.where(np.append(False, joined[:-1]), rows - 1, -1), np.where(joined, rows + 1, -1)], axis=1
    )
    order = np.array(data.draw(st.permutations(range(n))))
    place = np.argsort(order)
    moved = np.where(neighbours[order] >= 0, place[neighbours[order]], -1)
    higher = np.minimum(slices + data.draw(arrays(float, (n, 2), elements=st.floats(0, 0.5))), 1.0)
    for rule in get_args(Rule):
        score = CaseScore(rule, 2)
        found = score(slices, case_index, neighbours)
        assert ((found >= 0) & (found <= 1)).all()
        np.testing.assert_allclose(score(slices[order], case_index[order], moved), found, atol=1e-12)
        assert (score(higher, case_index, neighbours) >= found - 1e-12).all()
    at_most = CaseScore("max")(slices, case_index, neighbours)
    assert (CaseScore("neighbours")(slices, case_index, neighbours) <= at_most + 1e-12).all()


@pytest.mark.parametrize(("rule", "top_k"), [("mean", 1), ("top_k_mean", 0)])
def test_a_rule_that_is_none_is_never_taken_for_another(rule, top_k: int) -> None:
    with pytest.raises(ValueError, match="no case score"):
        CaseScore(rule, top_k)
