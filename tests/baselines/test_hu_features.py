"""The numbers of the HU rule on drawn heads, against values computed by hand."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ich_pipeline.baselines import hu_features
from ich_pipeline.baselines.brain import bone_threshold, enclosed, find_brain
from ich_pipeline.baselines.hu_features import NAMES, averaged, compactness, measure, neighbourhood, slice_features
from tests.baselines.drawn import BONE, BRAIN, CENTER, INNER, SIZE, head

HIGH = 180
RELATIVE = [i for i, name in enumerate(NAMES) if name != "median"]


def numbers(picture: np.ndarray, high: float = HIGH) -> dict[str, float]:
    return dict(zip(NAMES, slice_features(picture, high).tolist(), strict=True))


def brain_pixels() -> int:
    """Of the drawn round head: brain whose four neighbours are brain."""
    brain = head() == BRAIN
    whole = brain.copy()
    for axis in (0, 1):
        for step in (-1, 1):
            whole &= np.roll(brain, step, axis)
    return int(whole.sum())


def test_an_even_brain_has_nothing_bright_and_no_sides() -> None:
    found = numbers(head())
    assert found["area"] == pytest.approx(brain_pixels() / SIZE**2, abs=1e-6)
    assert found["median"] == BRAIN and found["elongation"] == pytest.approx(1, abs=1e-3)
    assert all(value == 0 for name, value in found.items() if name not in ("area", "median", "elongation"))


def test_one_blot_is_measured_as_drawn() -> None:
    picture = head()
    picture[50:60, 75:87] = BRAIN + 35  # 10 × 12 pixels, right of the midline
    found, total = numbers(picture), brain_pixels()
    for step in (5, 10, 15, 20, 25, 30):
        assert found[f"share_{step}"] == pytest.approx(120 / total, abs=1e-6)
    assert found["share_40"] == 0
    assert found["blob_area_10"] == found["blob_area_30"] == pytest.approx(120 / total, abs=1e-6)
    assert found["blob_second_20"] == 0
    # A rectangle's second moments are h²/12 and w²/12.
    assert found["blob_compact_20"] == pytest.approx(120 / (2 * np.pi * (100 + 144) / 12), abs=1e-6)
    y, x = np.mgrid[50:60, 75:87] - CENTER
    assert found["blob_depth_20"] == pytest.approx((1 - np.hypot(y, x) / INNER).mean(), abs=0.02)
    assert found["sides_20"] == found["brighter_20"] == found["brighter_blob"] == pytest.approx(120 / total, abs=1e-6)
    # Each pixel of the blot and each of its mirror image differs by 35 HU; a few pixels at the edge have no mirror image.
    assert found["asymmetry"] == pytest.approx(35 * 240 / total, rel=0.02)
    assert found["median"] == BRAIN and found["rim_20"] == 0 and found["centre_20"] > 0


def test_a_second_blot_and_a_thin_rim() -> None:
    picture = head()
    picture[50:60, 75:87] = picture[90:94, 40:45] = BRAIN + 22
    found, total = numbers(picture), brain_pixels()
    assert found["blob_area_20"] == pytest.approx(120 / total, abs=1e-6)
    assert found["blob_second_20"] == pytest.approx(20 / total, abs=1e-6)
    assert found["blob_area_30"] == 0
    rim = head()
    y, x = np.mgrid[:SIZE, :SIZE] - CENTER
    r = np.hypot(y, x)
    rim[(r <= INNER) & (r > INNER - 5)] = BRAIN + 30  # depth up to 5/44 = 0.11
    found = numbers(rim)
    assert found["centre_20"] == 0 and found["rim_20"] == pytest.approx(0.5, abs=0.15)
    assert found["blob_compact_20"] < 0.5, "a ring is no disc"
    assert found["blob_depth_20"] < 0.11


def test_blots_on_both_sides_are_no_asymmetry() -> None:
    picture = head()
    picture[50:60, 75:87] = BRAIN + 35
    picture = np.where(picture[:, ::-1] > picture, picture[:, ::-1], picture)
    found = numbers(picture)
    assert found["share_20"] > 0
    assert found["sides_20"] == found["brighter_10"] == found["asymmetry"] == 0


@settings(max_examples=12, deadline=None)
@given(tilt=st.floats(-20, 20))
def test_the_midline_of_a_long_head_is_found(tilt: float) -> None:
    """What is mirrored about the head's own midline, and not the picture's, is no asymmetry."""
    picture = head(stretch=1.2, tilt_deg=tilt)
    y, x = np.mgrid[:SIZE, :SIZE] - CENTER
    angle = np.radians(tilt)
    along, across = y * np.cos(angle) + x * np.sin(angle), x * np.cos(angle) - y * np.sin(angle)
    spots = (np.abs(along - 20) < 7) & (np.abs(np.abs(across) - 20) < 7)
    picture[spots] = BRAIN + 40
    found = numbers(picture)
    assert found["elongation"] == pytest.approx(1.2, abs=0.03)
    # Only pixels at the spots' edges may find another pixel than their own image.
    assert found["brighter_blob"] < 0.25 * found["share_20"]
    picture[spots & (across > 0)] = BRAIN
    assert numbers(picture)["brighter_20"] > 0.8 * numbers(picture)["share_20"] > 0


@settings(max_examples=15, deadline=None)
@given(shift=st.integers(-8, 8), row=st.integers(40, 80), column=st.integers(35, 80), size=st.integers(2, 12))
def test_neither_the_scanners_zero_nor_the_side_counts(shift: int, row: int, column: int, size: int) -> None:
    picture = head()
    picture[row : row + size, column : column + size] = BRAIN + 33
    found = slice_features(picture, HIGH)
    moved = np.where(picture == BONE, picture, picture + shift).astype(np.int16)
    np.testing.assert_allclose(slice_features(moved, HIGH)[RELATIVE], found[RELATIVE], atol=1e-5)
    np.testing.assert_allclose(slice_features(picture[:, ::-1], HIGH), found, atol=1e-4)


def test_a_gap_in_the_skull_lets_nothing_out() -> None:
    picture = head()
    y, x = np.mgrid[:SIZE, :SIZE] - CENTER
    picture[(np.abs(y) < 5) & (x > 40) & (picture == BONE)] = -20  # a burr hole of 10 pixels
    within, brain = enclosed(picture >= 120), head() == BRAIN
    assert (within & brain).sum() > 0.99 * brain.sum()
    assert (within & ~brain).sum() < 0.03 * brain.sum()


@pytest.mark.parametrize(
    "picture",
    [
        np.full((SIZE, SIZE), -20, np.int16),
        np.full((SIZE, SIZE), 180, np.int16),
        np.where(head() == BONE, 30, head()),  # a head without a skull
        np.full((32, 32), 35, np.int16),
    ],
    ids=["air", "bone", "no skull", "small"],
)
def test_where_no_skull_encloses_a_brain_all_numbers_are_zero(picture: np.ndarray) -> None:
    assert find_brain(averaged(picture), HIGH) is None
    assert not slice_features(picture, HIGH).any()


def test_a_narrow_clip_range_moves_the_skulls_threshold() -> None:
    assert (bone_threshold(180), bone_threshold(80)) == (120, 75)
    picture = head()
    picture[50:60, 75:87] = BRAIN + 35
    narrow = np.clip(picture, 0, 80)
    assert numbers(narrow, 80)["share_20"] == numbers(picture)["share_20"] > 0


def test_large_pictures_are_averaged_down() -> None:
    picture = head()
    picture[50:60, 75:87] = BRAIN + 35
    large = np.kron(picture, np.ones((3, 3), np.int16))
    np.testing.assert_array_equal(averaged(large), picture)
    np.testing.assert_array_equal(slice_features(large, HIGH), slice_features(picture, HIGH))
    assert averaged(np.zeros((255, 255))).shape == (255, 255) and averaged(np.zeros((513, 513))).shape == (128, 128)


def test_compactness_of_shapes() -> None:
    y, x = np.mgrid[:101, :101] - 50
    assert compactness(np.hypot(y, x) <= 40) == pytest.approx(1, abs=0.01)
    assert compactness(np.ones((1, 1), bool)) == pytest.approx(1 / (2 * np.pi / 6))
    assert compactness((y == 0) & (abs(x) <= 40)) < 0.03


def test_neighbours_and_their_absence() -> None:
    features = np.arange(6, dtype=np.float32).reshape(3, 2)
    found = neighbourhood(features, np.array([[-1, 1], [0, 2], [1, -1]]))
    expected = [[0, 1, 0, 1, 2, 3], [2, 3, 0, 1, 4, 5], [4, 5, 2, 3, 4, 5]]
    np.testing.assert_array_equal(found, expected)


def test_several_processes_measure_the_same(tmp_path, monkeypatch) -> None:
    rng = np.random.default_rng(0)
    heads = np.stack([head(stretch=1 + 0.1 * rng.random()) for _ in range(9)])
    heads[:, 50:60, 75:87] += rng.integers(0, 50, (9, 10, 12)).astype(np.int16)
    np.save(tmp_path / "hu.npy", heads)
    rows = np.array([8, 0, 3, 5, 1])
    alone = measure(tmp_path / "hu.npy", rows, HIGH)
    monkeypatch.setattr(hu_features, "BLOCK", 2)
    monkeypatch.setattr(hu_features, "ALONE", 0)
    np.testing.assert_array_equal(measure(tmp_path / "hu.npy", rows, HIGH, workers=2), alone)
    np.testing.assert_array_equal(alone, [slice_features(heads[row], HIGH) for row in rows])
