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


# How numbers and times tell two scans apart: of pass k of n slices, the i-th slice.
TOLD = {
    "number of the scan": lambda k, i, n: {"acquisition_number": k + 1, "instance_number": i},
    "number of the slice": lambda k, i, n: {"acquisition_number": n * k + i, "instance_number": n * k + i},
    "number of the slice begins anew": lambda k, i, n: {"acquisition_number": i, "instance_number": n * k + i},
    "time of the scan": lambda k, i, n: {"acquired": 100.0 * k, "instance_number": i},
    "time of the slice": lambda k, i, n: {"acquired": 100.0 * k + i, "instance_number": i},
    "instance goes on": lambda k, i, n: {"instance_number": n * k + i},
    "instance begins anew": lambda k, i, n: {"instance_number": i},
    "instance begins anew, one number": lambda k, i, n: {"acquisition_number": 1, "instance_number": i},
    "both begin anew": lambda k, i, n: {"acquisition_number": i, "instance_number": i},
}


@settings(max_examples=120, deadline=None)
@given(st.sampled_from(sorted(TOLD)), st.data())
def test_passes_over_one_stretch_are_two_scans_whatever_the_thickness_and_direction(params: IngestParams, told, data):
    step = data.draw(st.sampled_from([2.5, 4.0, 5.0, 7.0]))
    # Odd and even slices of one scan, which adjoin, are one scan where nothing but InstanceNumber is there.
    thickness = step * data.draw(st.floats(0.6 if told == "instance goes on" else 0.4, 1.0))
    offset = step * data.draw(st.floats(0.1, 0.9))
    count = data.draw(st.integers(18, 30))
    aborted = data.draw(st.sampled_from([None, 0, 1]))
    lost = data.draw(st.integers(5, 12))
    headers = []
    for k in (0, 1):
        places = [offset * k + step * i for i in range(count)]
        if data.draw(st.booleans()):
            places = places[::-1]
        if k == aborted:
            places = places[: data.draw(st.integers(8, 12))]
        for i, z in enumerate(places):
            if i != lost or data.draw(st.booleans()):
                headers.append(header(z, f"{k}/{i}", thickness_mm=thickness, **TOLD[told](k, i, count)))
    data.draw(st.randoms()).shuffle(headers)
    found = [{h.name.split("/")[0] for h in group.headers} for group in group_series(headers, params)]
    assert sorted(found, key=str) == [{"0"}, {"1"}]


@few
@given(st.lists(st.integers(8, 16), min_size=2, max_size=3), st.data())
def test_slabs_that_adjoin_are_one_scan_whatever_their_numbers_and_directions(params: IngestParams, slabs, data):
    told = TOLD[data.draw(st.sampled_from(sorted(TOLD)))]
    edges = np.cumsum([0, *slabs])
    order = data.draw(st.permutations(range(len(slabs))))
    headers = []
    for k, slab in enumerate(order):
        places = [5.0 * i for i in range(edges[slab], edges[slab + 1])]
        places = places[::-1] if data.draw(st.booleans()) else places
        headers += [header(z, f"{z}", thickness_mm=5.0, **told(k, i, 100)) for i, z in enumerate(places)]
    assert [len(g.slots) for g in group_series(headers, params)] == [sum(slabs)]


def test_odd_and_even_slices_of_one_acquisition_are_one_scan(params):
    places = [*range(0, 120, 10), *range(5, 120, 10)]
    headers = [header(float(z), acquisition_number=1, instance_number=i) for i, z in enumerate(places)]
    assert [len(g.slots) for g in scans(headers, params)] == [24]


def test_two_passes_of_unknown_thickness_are_two_scans(params):
    headers = [
        header(5.0 * i + 2.5 * k, acquisition_number=1, instance_number=24 * k + i, thickness_mm=None)
        for k in (0, 1)
        for i in range(24)
    ]
    assert [len(g.slots) for g in scans(headers, params)] == [24, 24]


def test_slices_thicker_than_their_step_are_one_scan_in_any_order(params):
    for seed in range(20):
        numbers = np.random.default_rng(seed).permutation(48)
        headers = [header(2.5 * i, instance_number=int(n), acquisition_number=1) for i, n in enumerate(numbers)]
        assert [len(g.slots) for g in scans(headers, params)] == [48]
        late = [header(2.5 * i, instance_number=99 if i == seed + 5 else i, acquired=1.0 * i) for i in range(48)]
        assert [len(g.slots) for g in scans(late, params)] == [48]


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
