from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydicom.dataset import Dataset
from pydicom.pixels.processing import apply_voi_lut, apply_windowing

from ich_pipeline.windowing.windows import Window, clip_range, interpolate, prepare, window_channels, window_table

BRAIN, SUBDURAL, STROKE = WINDOWS = (Window("brain", 40, 80), Window("subdural", 80, 200), Window("stroke", 40, 40))


def test_window_values_by_hand() -> None:
    hu = np.array([-1000, 0, 20, 40, 60, 80, 3000], np.int16)
    np.testing.assert_allclose(window_channels(hu, (BRAIN,))[:, 0], [0, 0, 0.25, 0.5, 0.75, 1, 1])


# The examples that PS3.3 C.11.2.1.2.1 and C.11.2.1.3.2 spell out: function, centre, width, the bounds at or below which and
# above which the output ends, and the ramp between them.
STANDARD: list[tuple[str, float, float, float, float, Callable[[float], float]]] = [
    ("LINEAR", 2048, 4096, 0, 4095, lambda x: (x - 2047.5) / 4095 + 0.5),
    ("LINEAR", 2048, 1, 2047.5, 2047.5, lambda x: np.nan),
    ("LINEAR", 0, 100, -50, 49, lambda x: (x + 0.5) / 99 + 0.5),
    ("LINEAR", 0, 1, -0.5, -0.5, lambda x: np.nan),
    ("LINEAR_EXACT", 2048, 4096, 0, 4096, lambda x: (x - 2048) / 4096 + 0.5),
    ("LINEAR_EXACT", 2048, 1, 2047.5, 2048.5, lambda x: (x - 2048) / 1 + 0.5),
    ("LINEAR_EXACT", 0, 100, -50, 50, lambda x: (x - 0) / 100 + 0.5),
    ("LINEAR_EXACT", 0, 1, -0.5, 0.5, lambda x: (x - 0) / 1 + 0.5),
]


@pytest.mark.parametrize(("function", "center", "width", "low", "high", "between"), STANDARD)
def test_the_standards_own_examples(function, center, width, low, high, between) -> None:
    hu = np.concatenate([np.arange(-3000, 8000), np.arange(-120, 120) / 4, np.arange(8160, 8220) / 4]).astype(
        np.float32
    )
    expected = [0.0 if x <= low else 1.0 if x > high else between(x) for x in hu.astype(float)]
    found = window_channels(hu, (Window("w", center, width, function),))[:, 0]
    np.testing.assert_allclose(found, expected, atol=1e-6)


@pytest.mark.parametrize("window", [BRAIN, SUBDURAL, STROKE, Window("odd", 35.5, 81.5)])
@pytest.mark.parametrize("function", ["LINEAR", "LINEAR_EXACT", "SIGMOID"])
def test_windows_equal_pydicom(function: str, window: Window) -> None:
    hu = np.arange(-1500, 3000, dtype=np.int16)
    ours = window_channels(hu, (window._replace(function=function),))[:, 0]
    assert ours.dtype == np.float32
    ds = Dataset()
    ds.PhotometricInterpretation = "MONOCHROME2"
    ds.PixelRepresentation = 1
    ds.BitsStored = 16
    ds.WindowCenter, ds.WindowWidth = window.center, window.width
    ds.VOILUTFunction = function
    for peer in (apply_windowing, apply_voi_lut):
        theirs = (peer(hu, ds) + 32768) / 65535
        np.testing.assert_allclose(ours, theirs, atol=1e-6)


def test_sigmoid_by_hand() -> None:
    # C.11.2.1.3.1: 1 / (1 + exp(-4 (x - c) / w))
    hu = np.array([-32768, 40, 60, 32767], np.int16)
    found = window_channels(hu, (Window("s", 40, 80, "SIGMOID"),))[:, 0]
    np.testing.assert_allclose(found, [0, 0.5, 1 / (1 + np.exp(-1)), 1], atol=1e-7)


def test_the_table_is_exact_for_every_int16() -> None:
    windows = (*WINDOWS, Window("sigmoid", 40, 80, "SIGMOID"), Window("linear", 40, 80, "LINEAR"))
    every = np.arange(-32768, 32768).astype(np.int16)
    direct = np.concatenate([window_channels(part, windows) for part in np.array_split(every, 7)])
    np.testing.assert_array_equal(window_table(windows)[every.view(np.uint16)], direct)
    # Large arrays take the table by themselves, also where their bytes lie apart.
    large = np.stack([every, every[::-1]])[:, ::-1]
    np.testing.assert_array_equal(window_channels(large, windows)[1], direct)


@pytest.mark.parametrize("dtype", [np.int16, np.float32])
def test_numpy_and_keras_windows_are_equal(dtype: type) -> None:
    from keras import ops

    sigmoid = (Window("sigmoid", 40, 80, "SIGMOID"),)
    values = np.arange(-300, 500).astype(dtype)
    theirs = np.asarray(window_channels(ops.convert_to_tensor(values), sigmoid, ops))
    np.testing.assert_allclose(window_channels(values, sigmoid), theirs, atol=2e-7)

    hu = np.random.default_rng(0).integers(-300, 500, (3, 9, 9)).astype(dtype)
    np.testing.assert_array_equal(
        window_channels(hu, WINDOWS), np.asarray(window_channels(ops.convert_to_tensor(hu), WINDOWS, ops))
    )


def test_clip_range_is_the_union() -> None:
    assert clip_range(WINDOWS) == (-20, 180)
    assert clip_range((Window("odd", 40.5, 80),)) == (0, 81)
    assert clip_range((Window("linear", 40, 80, "LINEAR"),)) == (0, 79)
    low, high = clip_range((Window("sigmoid", 40, 80, "SIGMOID"),))
    ends = window_channels(np.array([low, high], np.int16), (Window("sigmoid", 40, 80, "SIGMOID"),))
    assert (np.abs(ends[:, 0] - [0, 1]) < 0.5 / 255).all() and (low, high) == (-85, 165)


def area_mean(hu: np.ndarray, size: int) -> np.ndarray:
    """Area average by the integral: cumulative sums, linear between pixel edges; float64."""
    for axis in (1, 2):
        side = hu.shape[axis]
        moved = np.moveaxis(hu, axis, -1)
        integral = np.concatenate([np.zeros((*moved.shape[:-1], 1)), np.cumsum(moved, axis=-1)], axis=-1)
        edges = np.arange(size + 1) * side / size
        at_edges = np.apply_along_axis(lambda line: np.interp(edges, np.arange(side + 1), line), -1, integral)  # noqa: B023
        hu = np.moveaxis(np.diff(at_edges, axis=-1) * size / side, -1, axis)
    return hu


def test_integer_factor_is_the_block_mean() -> None:
    hu = np.random.default_rng(1).integers(-20, 181, (3, 64, 64)).astype(np.int16)
    expected = np.rint(hu.reshape(3, 16, 4, 16, 4).mean((2, 4)))
    np.testing.assert_array_equal(prepare(hu, 16, WINDOWS), expected)


@given(st.integers(3, 40), st.integers(2, 50), st.integers(0, 2**31))
def test_any_factor_is_the_area_mean(side: int, size: int, seed: int) -> None:
    hu = np.random.default_rng(seed).integers(-20, 181, (2, side, side)).astype(np.int16)
    ours = prepare(hu, size, WINDOWS)
    assert ours.dtype == np.int16 and ours.shape == (2, size, size)
    # The reference has rounding of its own: an exact half may fall on either side.
    assert np.abs(ours - area_mean(hu.astype(np.float64), size)).max() <= 0.5 + 1e-9


def test_same_size_changes_nothing() -> None:
    hu = np.random.default_rng(2).integers(-20, 181, (2, 7, 7)).astype(np.int16)
    np.testing.assert_array_equal(prepare(hu, 7, WINDOWS), hu)


def test_clipping_comes_before_resizing() -> None:
    # Bone (1,500) beside brain (40) in one output pixel counts as 180, the top of the union.
    hu = np.array([[[1500, 40], [1500, 40]]], np.int16)
    assert prepare(hu, 1, WINDOWS)[0, 0, 0] == 110


def test_oblong_pictures_are_centred_on_the_lowest_hu() -> None:
    hu = np.full((1, 2, 4), 100, np.int16)
    np.testing.assert_array_equal(prepare(hu, 4, WINDOWS)[0, :, 0], [-20, 100, 100, -20])


def test_chunks_do_not_matter() -> None:
    hu = np.random.default_rng(3).integers(-1024, 2000, (37, 20, 20)).astype(np.int16)
    np.testing.assert_array_equal(prepare(hu, 9, WINDOWS)[30:], prepare(hu[30:], 9, WINDOWS))


def test_interpolation_is_in_hu_before_windowing() -> None:
    slice_, neighbour = np.array([[0, 1000]], np.int16), np.array([[100, 0]], np.int16)
    np.testing.assert_allclose(interpolate(slice_, neighbour, 0.25), [[25, 750]])
    np.testing.assert_array_equal(interpolate(slice_, neighbour, 0.0), slice_)
    with pytest.raises(ValueError, match=r"degree 1\.0"):
        interpolate(slice_, neighbour, 1.0)
