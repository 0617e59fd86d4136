"""Where nothing is read of a head, that is said, whatever hinders it; where nothing is missing, nothing is said."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ich_pipeline.series.cautions import why_and_cautions
from tests.made.ct import ct_slice, read, save
from tests.made.heads import PIXEL, head, neck, place

COUNT = 24


def cautions(found) -> list[str]:
    return list(why_and_cautions(found.series.loc[found.series["chosen"], "reason"].item())[1])


def cut(path) -> None:
    path.write_bytes(path.read_bytes()[:-2000])


# What hinders: fields of the files, whether they are cut, the reason that is told, and that of the account where it is another.
HINDRANCES = {
    "cut": ({}, True, "decode_failed"),
    "cut, another field of view": ({"PixelSpacing": [PIXEL * 0.9] * 2}, True, "decode_failed"),
    "cut, a bone kernel": ({"ConvolutionKernel": "H60s"}, True, "decode_failed", "bone_kernel"),
    "no slope": ({"RescaleSlope": None}, False, "header_incomplete"),
    "no bits": ({"BitsAllocated": None}, False, "header_incomplete"),
    "other units": ({"RescaleType": "XX"}, False, "not_hu"),
    "other units, another zero": ({"RescaleType": "XX", "RescaleIntercept": "1024"}, False, "implausible_hu", "not_hu"),
    "a localizer, it says": ({"ImageType": ["ORIGINAL", "PRIMARY", "LOCALIZER"]}, False, "localizer"),
    "another zero": ({"RescaleIntercept": "1024"}, False, "implausible_hu"),
    "air at -2048": ({"RescaleIntercept": "-1048"}, False, "implausible_hu"),
    "another zero, another field of view": (
        {"RescaleIntercept": "1024", "PixelSpacing": [PIXEL * 0.9] * 2}, False, "implausible_hu",
    ),
}  # fmt: skip


@settings(max_examples=3, deadline=None)
@given(data=st.data())
@pytest.mark.parametrize("hindrance", HINDRANCES)
def test_a_stretch_that_is_not_read_is_said(tmp_path_factory, params, hindrance, data):
    fields, damaged, reason, *other = HINDRANCES[hindrance]
    folder = tmp_path_factory.mktemp("head")
    same_series = data.draw(st.booleans())
    lost = data.draw(st.integers(7, 11))
    top = data.draw(st.booleans())
    out = range(COUNT - lost, COUNT) if top else range(lost)
    for i in range(COUNT):
        here = place(5.0 * i) | (fields if i in out else {})
        series = "rest" if i in out and not same_series else "head"
        path = save(ct_slice(series=series, number=i, hu=head(i), **here), folder / f"{i}")
        if damaged and i in out:
            cut(path)
    found = read(folder, params)
    assert found.counts["used"] == COUNT - lost and found.counts[(*other, reason)[0]] == lost
    [caution] = cautions(found)
    assert caution.startswith(f"slices at {5.0 * out[0]:.1f}…{5.0 * out[-1]:.1f} mm ")
    assert caution.endswith(f" read ({lost}, {reason})")


@settings(max_examples=5, deadline=None)
@given(lost=st.sets(st.integers(0, COUNT - 1), min_size=1, max_size=8))
def test_every_slice_of_the_series_that_cannot_be_read_is_counted(tmp_path_factory, params, lost):
    folder = tmp_path_factory.mktemp("head")
    for i in range(COUNT):
        path = save(ct_slice(number=i, hu=head(i), **place(5.0 * i)), folder / f"{i}")
        if i in lost:
            cut(path)
    [caution] = cautions(read(folder, params))
    assert caution.startswith(f"slice{'s' * (len(lost) > 1)} at {5.0 * min(lost):.1f}")
    assert caution.endswith(f" mm could not be read ({len(lost)}, decode_failed)")


def test_stretches_between_which_slices_are_read_are_told_apart(tmp_path, ingest_params):
    for i in range(COUNT):
        path = save(ct_slice(number=i, hu=head(i), **place(5.0 * i)), tmp_path / f"{i}")
        if i in (0, 1, 2, 8, 20, 21):
            cut(path)
    assert cautions(read(tmp_path, ingest_params)) == [
        "slices at 0.0…10.0, 40.0, 100.0…105.0 mm could not be read (6, decode_failed)"
    ]


# What lies beside or beyond a head and is no part of it, or was read.
QUIET = {
    "a broken copy of another kernel": (5.0, range(COUNT), {"ConvolutionKernel": "H60s"}, head, True),
    "a broken thin copy": (2.5, range(2 * COUNT - 1), {"SliceThickness": "2.5"}, head, True),
    "a neck": (5.0, range(-30, -1), {"SliceThickness": "3"}, neck, False),
    "a broken neck that says so": (5.0, range(-30, -1), {"BodyPartExamined": "CSPINE"}, neck, True),
    "a broken foot": (5.0, range(-200, -180), {}, neck, True),
    "broken coronal pictures": (5.0, range(-9, 40), {"ImageOrientationPatient": [1, 0, 0, 0, 0, -1]}, head, True),
    "two broken scouts": (40.0, range(-1, 1), {"ImageType": ["ORIGINAL", "PRIMARY", "LOCALIZER"]}, head, True),
}


@pytest.mark.parametrize("kind", QUIET)
def test_of_what_is_no_part_that_is_missing_nothing_is_said(tmp_path, ingest_params, kind):
    step, numbers, fields, draw, damaged = QUIET[kind]
    for i in range(COUNT):
        save(ct_slice(series="head", number=i, hu=head(i), **place(5.0 * i)), tmp_path / f"h{i}")
    for i in numbers:
        other = ct_slice(series="other", number=i, hu=draw(abs(i)), **place(step * i) | fields)
        path = save(other, tmp_path / f"o{i}")
        if damaged:
            cut(path)
    assert cautions(read(tmp_path, ingest_params)) == []


def test_pictures_cut_out_of_the_body_are_in_hounsfield_units(tmp_path, ingest_params):
    """No air is in them; a head of them is judged as before, and none of its slices is set aside."""
    for i in range(COUNT):
        hu = head(i)
        if i < 8:  # as if the field of view were smaller
            hu[hu < -500] = 40
        save(ct_slice(number=i, hu=hu, **place(5.0 * i)), tmp_path / f"{i}")
    found = read(tmp_path, ingest_params)
    assert found.counts == {"used": COUNT} and cautions(found) == []
