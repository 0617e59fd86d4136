"""One head in several series is read as one; where it cannot be, what is not read is said."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ich_pipeline.config import IngestParams
from ich_pipeline.ingest.page import remarks
from ich_pipeline.series.cautions import why_and_cautions
from ich_pipeline.series.grouping import group_series
from ich_pipeline.series.mixed_identity import find_mixed_identity
from tests.made.heads import head, header, neck, place

few = settings(max_examples=15, deadline=None)
decimals = st.sampled_from([2, 3, 4, 6])


@few
@given(st.data())
def test_random_splits_of_one_head_are_one_group(params: IngestParams, data):
    count, step = data.draw(st.integers(8, 30)), data.draw(st.sampled_from([1.0, 3.0, 5.0]))
    series = data.draw(st.lists(st.integers(0, 3), min_size=count, max_size=count))
    if data.draw(st.booleans()):
        series = sorted(series)  # slabs; else slices that fill each other's holes
    kernels = data.draw(st.lists(st.sampled_from(["H31s", "FC21", "FC26"]), min_size=4, max_size=4))
    lean = math.radians(data.draw(st.floats(-20, 20)))
    headers = []
    for i, s in enumerate(series):
        digits = data.draw(decimals)
        orientation = (1.0, 0.0, 0.0, 0.0, round(math.cos(lean), digits), round(math.sin(lean), digits))
        spacing = round(0.48828, max(digits, 3))
        headers.append(
            header(
                step * i / math.cos(lean), f"{i}", series_uid=f"2.25.{s}", kernel=kernels[s], orientation=orientation,
                spacing_mm=(spacing, spacing), thickness_mm=step, instance_number=data.draw(st.integers(1, 99)),
            )
        )  # fmt: skip
    [group] = group_series(headers, params)
    assert group.reason is None and [slot[0].name for slot in group.slots] == [f"{i}" for i in range(count)]


def test_two_whole_reconstructions_stay_two(params):
    headers = [
        header(5.0 * i, series_uid=f"2.25.{s}", kernel=k) for i in range(20) for s, k in ((1, "H31s"), (2, "H20s"))
    ]
    assert [len(g.slots) for g in group_series(headers, params)] == [20, 20]


@few
@given(st.data())
def test_two_acquisitions_in_two_series_stay_two_whatever_the_thickness(params: IngestParams, data):
    step, count = data.draw(st.sampled_from([2.5, 5.0, 7.0])), data.draw(st.integers(12, 30))
    told = data.draw(st.sampled_from(["acquisition_number", "acquired", ""]))
    offset = step * data.draw(st.floats(0.1, 0.9))
    # Without a number or a time only slices that overlap tell.
    thickness = step * data.draw(st.floats(0.4 if told else 0.6, 1.0))
    several = data.draw(st.booleans())  # values of a scan, or of its slices
    headers = [
        header(
            offset * k + step * i, f"{k}/{i}", series_uid=f"2.25.{k}", thickness_mm=thickness, instance_number=i,
            **({told: 100 * k + i * several} if told else {}),
        )
        for k in (0, 1)
        for i in range(count)
    ]  # fmt: skip
    assert [{h.name[0] for h in g.headers} for g in group_series(headers, params)] == [{"0"}, {"1"}]


@few
@given(st.integers(8, 30))
def test_one_acquisition_whose_slices_go_to_two_series_in_turn_is_one(params: IngestParams, count):
    headers = [
        header(5.0 * i, series_uid=f"2.25.{i % 2}", acquisition_number=i, acquired=10.0 * i) for i in range(count)
    ]
    assert [len(g.slots) for g in group_series(headers, params)] == [count]


@few
@given(st.data())
def test_the_same_slices_under_two_series_are_copies(params: IngestParams, data):
    count = data.draw(st.integers(5, 20))
    lossy = data.draw(st.lists(st.booleans(), min_size=2, max_size=2))
    headers = [
        header(
            5.0 * i, f"{s}/{i}", sop_instance_uid=f"2.25.9.{i}", series_uid=f"2.25.{s}", series_number=s, lossy=lossy[s]
        )
        for i in range(count)
        for s in (0, 1)
    ]
    data.draw(st.randoms()).shuffle(headers)
    judged, _ = find_mixed_identity(headers)
    [group] = group_series(judged, params)
    assert group.reason is None and [len(slot) for slot in group.slots] == [2] * count
    assert all(slot[0].lossy <= slot[1].lossy for slot in group.slots)
    if lossy[0] == lossy[1]:
        assert {slot[0].series_uid for slot in group.slots} == {"2.25.0"}


def test_a_study_that_was_archived_twice_is_read_once(tmp_path, make_slice, save_slice, ingest_params, read_in_process):
    for i in range(6):
        for study in ("2.25.8", "2.25.9"):
            ds = make_slice(number=i + 1, StudyInstanceUID=study, SeriesInstanceUID=f"{study}.1")
            save_slice(ds, tmp_path / study / f"{i}")
    assert read_in_process(tmp_path, ingest_params).counts == {"used": 6, "duplicate_study": 6}


SPLITS = {
    "two thicknesses": lambda i, z: ("low", 4.0) if z < 56 else ("high", 7.0),
    "a series a slice": lambda i, z: (f"s{i}", 5.0),
}


@pytest.mark.parametrize("split", SPLITS)
def test_a_head_in_several_series_is_read_whole_with_a_remark(
    tmp_path, make_slice, save_slice, ingest_params, read_in_process, split
):
    z = i = 0
    while z < 105:
        series, thick = SPLITS[split](i, z)
        fields = {"SliceThickness": f"{thick:g}", "SeriesDescription": "" if split.startswith("a series") else series}
        save_slice(make_slice(series=series, number=i, hu=head(i), **place(z), **fields), tmp_path / f"{i}")
        z, i = z + thick, i + 1
    found = read_in_process(tmp_path, ingest_params)
    assert found.counts == {"used": i} and found.slices["volume"].nunique() == 1
    row = found.series.to_dict("records")[0]
    assert "read as one" in " ".join(remarks(row))
    assert row["slices"] == i and row["gaps"] == 0


def test_a_part_of_the_head_that_is_not_read_is_said(tmp_path, make_slice, save_slice, ingest_params, read_in_process):
    """The base has another field of view, so it cannot be one volume with the rest."""
    for i in range(20):
        low = i < 7
        spacing = {"PixelSpacing": [3.3, 3.3]} if low else {}
        ds = make_slice(series="low" if low else "high", number=i, hu=head(i), **place(5.0 * i) | spacing)
        save_slice(ds, tmp_path / f"{i}")
    found = read_in_process(tmp_path, ingest_params)
    assert found.counts == {"used": 13, "not_chosen": 7}
    row = found.series[found.series["chosen"]].to_dict("records")[0]
    _, [caution] = why_and_cautions(row["reason"])
    assert caution.startswith("slices at 0.0…30.0 mm lie in another series and were not read (7, not_chosen)")
    assert caution in remarks(row)


@pytest.mark.parametrize("gap", [3.0, 40.0])
@pytest.mark.parametrize("said", [True, False])
def test_a_neck_never_beats_a_head_nor_is_it_joined_to_one(
    tmp_path, make_slice, save_slice, ingest_params, read_in_process, said, gap
):
    for i in range(14):
        save_slice(make_slice(series="head", number=i, hu=head(i), **place(5.0 * i)), tmp_path / f"h{i}")
    fields = {"SliceThickness": "3", "SeriesDescription": "C-Spine 3.0" if said else "3.0", "SeriesNumber": 1}
    fields |= {"BodyPartExamined": "CSPINE" if said else "HEAD"}
    for i in range(40):
        z = 3.0 * i - 117 - gap
        save_slice(make_slice(series="neck", number=i, hu=neck(i), **place(z), **fields), tmp_path / f"n{i}")
    found = read_in_process(tmp_path, ingest_params)
    assert found.counts == {"used": 14, "not_chosen": 40}
    [why] = found.series.loc[found.series["chosen"], "reason"]
    assert "shows 0 mm of brain" in why and "not read" not in why


def test_a_neck_alone_is_no_head_where_the_header_says_so_too(
    tmp_path, make_slice, save_slice, ingest_params, read_in_process
):
    for i in range(6):
        ds = make_slice(number=i, hu=neck(i), BodyPartExamined="NECK", **place(5.0 * i))
        save_slice(ds, tmp_path / "said" / f"{i}")
        save_slice(make_slice(study="b", number=i, hu=neck(i), **place(5.0 * i)), tmp_path / "unsaid" / f"{i}")
    found = read_in_process(tmp_path, ingest_params)
    assert found.counts == {"no_brain": 6, "used": 6}
    assert "is it a head?" in " ".join(remarks(found.series[found.series["chosen"]].to_dict("records")[0]))


LAST = [
    {"ImageType": ["ORIGINAL", "SECONDARY", "AXIAL"]},
    {"ImageType": ["DERIVED", "SECONDARY", "REFORMATTED", "AVERAGE"]},
    {"ImageType": ["DERIVED", "PRIMARY", "AXIAL", "VMI"]},
    {"ImageType": ["DERIVED", "PRIMARY", "AXIAL", "MAT_REMOVED"]},
    {"SeriesDescription": "Mono 40 keV"},
    {"SeriesDescription": "Head VNC 5.0"},
    {"SeriesDescription": "Virtuell nativ"},
    {"SeriesDescription": "Jodkarte"},
    {"SeriesDescription": "densité électronique"},
]


@pytest.mark.parametrize("fields", LAST)
def test_a_last_resort_is_read_only_where_nothing_else_is(
    tmp_path, make_slice, save_slice, ingest_params, read_in_process, fields
):
    for i in range(8):
        save_slice(make_slice(series="last", number=i, **fields), tmp_path / "last" / f"{i}")
    alone = read_in_process(tmp_path, ingest_params)
    assert alone.counts == {"used": 8}
    _, [caution] = why_and_cautions(alone.series["reason"].iloc[0])
    assert caution.startswith("read as a last resort, since nothing better is there: ")
    for i in range(4):  # fewer, and read all the same
        save_slice(make_slice(series="plain", number=i, position=(-80, -80, 5 * i)), tmp_path / "plain" / f"{i}")
    beside = read_in_process(tmp_path, ingest_params)
    assert beside.counts["used"] == 4
    assert set(beside.counts) - {"used"} <= {"secondary", "virtual"}


def test_of_two_equal_copies_all_slices_come_from_one_series(
    tmp_path, make_slice, save_slice, ingest_params, read_in_process
):
    """Numbers and names of files draw the order anew at every slice."""
    for i in range(6):
        for series in ("a", "b"):
            number = i if series == "a" else 9 - i
            ds = make_slice(series=series, number=number, hu=head(i), **place(5.0 * i), SOPInstanceUID=f"2.25.7.{i}")
            save_slice(ds, tmp_path / series / f"{number}")
    found = read_in_process(tmp_path, ingest_params)
    assert found.counts == {"used": 6, "duplicate_instance": 6}
    [row] = found.series.to_dict("records")
    assert "read as one" not in " ".join(remarks(row))


def test_of_two_copies_with_other_pixels_names_decide_nothing(
    tmp_path, make_slice, save_slice, ingest_params, read_in_process
):
    read = []
    for order in ("ab", "ba"):
        root = tmp_path / order
        for i in range(5):
            for copy in (0, 1):
                ds = make_slice(number=i, hu=head(10 * i + copy), **place(5.0 * i))
                save_slice(ds, root / f"{order[copy]}{i}")
        found = read_in_process(root, ingest_params)
        assert found.counts == {"used": 5, "duplicate_instance": 5}
        assert "its pixels differ from those of the copy that is read" in set(found.account["detail"])
        read.append(next(iter(found.volumes.values())))
    np.testing.assert_array_equal(*read)
