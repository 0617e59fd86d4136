"""Two acquisitions over one stretch are two scans; those that adjoin are one."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ich_pipeline.config import IngestParams
from ich_pipeline.series.grouping import group_series
from tests.made.heads import head, header, place


def scans(headers, params: IngestParams):
    return [g for g in group_series(headers, params) if g.reason is None]


few = settings(max_examples=15, deadline=None)


@few
@given(st.data())
def test_random_acquisitions_over_one_stretch_are_never_mixed(params: IngestParams, data):
    step = data.draw(st.sampled_from([2.5, 4.0, 5.0, 7.0]))
    told_by = data.draw(st.sampled_from(["acquisition_number", "acquired", "instance_number"]))
    counts = data.draw(st.lists(st.integers(8, 30), min_size=2, max_size=2))
    offsets = [0.0, data.draw(st.floats(0.1, 0.65)) * step + step * data.draw(st.integers(0, 3))]
    headers = []
    for k, (count, offset) in enumerate(zip(counts, offsets, strict=True)):
        for i in range(count):
            told = {"acquisition_number": k + 1, "acquired": 100.0 * k, "instance_number": 100 * k + i}
            extra = {"instance_number": 100 * k + i} if told_by == "acquired" else {}
            told = {told_by: told[told_by]} | extra
            headers.append(header(offset + step * i, f"{k}/{i}", thickness_mm=step, **told))
    data.draw(st.randoms()).shuffle(headers)
    found = scans(headers, params)
    assert sorted(len(g.slots) for g in found) == sorted(counts)
    for group in found:
        assert len({h.name.split("/")[0] for h in group.headers}) == 1
        assert np.allclose(np.diff(group.positions_mm), step)


@few
@given(st.lists(st.integers(1, 6), min_size=2, max_size=8), st.booleans())
def test_acquisitions_that_adjoin_are_one_scan(params: IngestParams, turns, downwards):
    """Many scanners count every turn of the tube."""
    numbers = [n for n, count in enumerate(turns) for _ in range(count)]
    numbers = numbers[::-1] if downwards else numbers
    headers = [header(5.0 * i, acquisition_number=n) for i, n in enumerate(numbers)]
    if len(headers) >= params.minimum_slices:
        assert [len(g.slots) for g in scans(headers, params)] == [len(headers)]


def test_a_slice_taken_again_stands_in_for_its_place_only(params):
    headers = [header(5.0 * i, acquisition_number=1) for i in range(20)]
    again = header(35.0, "again", acquisition_number=2)
    [group] = scans([*headers, again], params)
    assert [len(slot) for slot in group.slots] == [1] * 7 + [2] + [1] * 12


@pytest.mark.parametrize("aborted", [1, 2])
def test_the_aborted_one_of_two_interleaved_loses_and_is_named(
    tmp_path, make_slice, save_slice, ingest_params, read_in_process, aborted
):
    for k, offset in ((1, 0.0), (2, 2.5)):
        for i in range(5 if k == aborted else 14):
            picture = head(100 * k + i, shift=14.0 * (k - 1))
            ds = make_slice(number=100 * k + i, hu=picture, AcquisitionNumber=k, **place(offset + 5 * i))
            save_slice(ds, tmp_path / f"{(37 * i + k) % 97}_{k}")
    found = read_in_process(tmp_path, ingest_params)
    assert found.counts == {"used": 14, "other_acquisition": 5}
    assert set(found.slices["InstanceNumber"] // 100) == {3 - aborted}
    [detail] = set(found.account.loc[found.account["reason"] == "other_acquisition", "detail"])
    assert detail.startswith(f"AcquisitionNumber {aborted}, a second acquisition of the same stretch")
    assert "caution" not in found.series.loc[found.series["chosen"], "reason"].iloc[0]
