"""Brain inside a skull is seen in every head, a newborn's too, and in no other part of the body."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from ich_pipeline.series.looking import shows_brain
from tests.made.ct import ct_slice, read, save
from tests.made.heads import PIXEL, head, neck, place

few = settings(max_examples=12, deadline=None)
pixels = st.sampled_from([0.45, 0.98])
noises = st.floats(0, 30)


def grid(pixel: float, extent: float) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    n = round(extent / pixel)
    y, x = (np.mgrid[:n, :n] - (n - 1) / 2) * pixel
    return y, x


def seen(hu: NDArray[np.float64], pixel: float, noise: float = 0.0) -> bool:
    hu = hu + np.random.default_rng(1).normal(0, noise, hu.shape) if noise else hu
    return shows_brain(hu.round().astype(np.int16), (pixel, pixel))


@few
@given(
    pixel=pixels, noise=noises, skull=st.integers(160, 1500), wide=st.integers(45, 75),
    thick=st.floats(1.5, 8), brain=st.floats(20, 42), holder=st.booleans(),
)  # fmt: skip
def test_a_skull_of_any_age_is_one(pixel, noise, skull, wide, thick, brain, holder):
    y, x = grid(pixel, 224)
    radius = np.hypot(x, y / 1.25)
    hu = np.select([radius < wide - thick, radius < wide, radius < wide + 4], [brain, skull, 40.0], -1000.0)
    if holder:
        hu[(np.abs(np.hypot(x, y) - 108) < 3) & (y > 0)] = 300
    assert seen(hu, pixel, noise)


@few
@given(
    pixel=pixels, noise=noises, wide=st.integers(46, 52), deep=st.integers(56, 64), bone=st.integers(400, 1500),
    muscle=st.floats(47, 62),
)  # fmt: skip
def test_a_jaw_is_no_skull(pixel, noise, wide, deep, bone, muscle):
    y, x = grid(pixel, 224)
    hu = np.full(x.shape, -1000.0)
    hu[np.hypot(x / (wide + 20), y / (deep + 23)) < 1] = muscle
    hu[(np.abs(np.hypot(x / wide, (y + 10) / deep) - 1) < 0.09) & (y < 20)] = bone
    hu[np.hypot(x / 20, (y - 25) / 18) < 1] = 500
    assert not seen(hu, pixel, noise)


@few
@given(
    pixel=pixels, noise=noises, wide=st.integers(85, 115), deep=st.integers(58, 80), bone=st.integers(300, 900),
    muscle=st.floats(47, 62),
)  # fmt: skip
def test_a_pelvis_is_no_skull(pixel, noise, wide, deep, bone, muscle):
    y, x = grid(pixel, 400)
    hu = np.full(x.shape, -1000.0)
    hu[np.hypot(x / (wide + 65), y / (deep + 45)) < 1] = -90
    hu[np.hypot(x / (wide + 45), y / (deep + 25)) < 1] = muscle
    hu[np.abs(np.hypot(x / wide, y / deep) - 1) < 0.1] = bone
    assert not seen(hu, pixel, noise)


@few
@given(noise=st.floats(0, 60))
def test_noise_is_no_bone(noise):
    assert not seen(np.kron(neck(), np.ones((4, 4), np.int16)).astype(np.float64), PIXEL / 4, noise)


@pytest.mark.parametrize("open_", [0.0, 0.2, 0.3])
def test_a_skull_of_which_a_part_was_removed_is_one(open_):
    y, x = grid(0.9, 224)
    radius, angle = np.hypot(x / 70, y / 88), np.arctan2(y, x) / (2 * np.pi) + 0.5
    hu = np.select([radius < 0.9, (radius < 1) & (angle > open_), radius < 1.05], [34.0, 900.0, 40.0], -1000.0)
    assert seen(hu, 0.9, 8)


def jaw(pixel: float, extent: float = 224) -> NDArray[np.float64]:
    y, x = grid(pixel, extent)
    hu = np.full(x.shape, -1000.0)
    hu[np.hypot(x / 70, y / 85) < 1] = 48
    hu[(np.abs(np.hypot(x / 50, (y + 10) / 62) - 1) < 0.09) & (y < 20)] = 1000
    hu[np.hypot(x / 20, (y - 25) / 18) < 1] = 500
    return hu


@pytest.mark.parametrize("skull", [170, 235, 1000])
def test_a_head_of_any_age_is_read_and_the_jaw_beside_it_is_not_missed(tmp_path, ingest_params, skull):
    """The neck is longer than the head, begins at the jaw, and does not say what it is."""
    drawn = np.where(head() > 500, skull, head()).astype(np.int16)
    for i in range(16):
        save(ct_slice(series="head", number=i, hu=drawn, **place(5.0 * i)), tmp_path / f"h{i}")
    for i in range(40):
        hu = jaw(PIXEL).round().astype(np.int16) if i >= 28 else neck(i)
        lower = place(3.0 * i - 125) | {"SliceThickness": "3", "SeriesNumber": 1}
        save(ct_slice(series="neck", number=i, hu=hu, **lower), tmp_path / f"n{i}")
    found = read(tmp_path, ingest_params)
    assert found.counts == {"used": 16, "not_chosen": 40}
    assert "not read" not in found.series.loc[found.series["chosen"], "reason"].item()
