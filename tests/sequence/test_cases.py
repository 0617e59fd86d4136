"""Slices become padded sequences and come back in their places."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from ich_pipeline.sequence.cases import GROUP, STEP, batch_of, by_length, groups, padded_length, rows_of_cases


@settings(deadline=None)
@given(st.lists(st.integers(1, 40), min_size=1, max_size=12), st.integers(1, 5), st.randoms(use_true_random=False))
def test_every_slice_is_in_one_place_in_its_order(lengths: list[int], size: int, random) -> None:
    case_index = np.repeat(np.arange(len(lengths)), lengths)
    order = list(range(len(case_index)))
    random.shuffle(order)  # cases may be interleaved
    case_index = case_index[order]
    features = np.arange(1, len(case_index) + 1, dtype=np.float32)[:, None]
    logits = -features
    cases = rows_of_cases(case_index)
    assert [len(rows) for rows in cases] == lengths
    seen = []
    for length, some in by_length(cases, size):
        assert length % STEP == 0 and {padded_length(len(rows)) for rows in some} == {length} and len(some) <= size
        batch = batch_of(features, logits, some, size, length)
        assert batch.features.shape == (size, length, 1) and batch.mask.shape == (size, length)
        for at, rows in enumerate(some):
            np.testing.assert_array_equal(batch.features[at, batch.mask[at], 0], features[rows, 0])
            np.testing.assert_array_equal(batch.logits[at, batch.mask[at], 0], -features[rows, 0])
            assert not batch.mask[at, len(rows) :].any() and (np.diff(rows) > 0).all()
            seen += rows.tolist()
        assert not batch.features[~batch.mask].any()
    assert sorted(seen) == list(range(len(case_index)))


def test_groups_hold_whole_cases_and_end() -> None:
    cases = rows_of_cases(np.repeat(np.arange(100), 30))
    found = list(groups(cases))
    assert [rows.tolist() for group in found for rows in group] == [rows.tolist() for rows in cases]
    assert all(sum(map(len, group)) < GROUP + 30 for group in found)
