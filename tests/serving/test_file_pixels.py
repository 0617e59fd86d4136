"""Maps of the answer lie over the pixels of the files, whichever way the patient lay and whatever was cut."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ich_pipeline.dicom.orientation import Turn
from ich_pipeline.explain.geometry import CellGrid
from ich_pipeline.explain.placed import PlacedMap
from ich_pipeline.series.placement import Placement
from ich_pipeline.serving.file_pixels import FilePixels
from ich_pipeline.windowing.frame import Frame

TURNS = [Turn(*flags) for flags in itertools.product((False, True), repeat=3)]
CELLS = (5, 4)


@given(
    turn=st.sampled_from(TURNS),
    margins=st.tuples(*[st.integers(0, 9)] * 4),
    read=st.tuples(st.integers(40, 64), st.integers(40, 64)),
    shift=st.tuples(st.integers(-6, 6), st.integers(-6, 6)),
    start=st.tuples(st.integers(0, 9), st.integers(0, 9)),
    seed=st.integers(0, 1000),
)
def test_as_the_drawn_map_turned_back(turn, margins, read, shift, start, seed) -> None:
    """Against Placement.to_file of the map drawn pixel by pixel: equal at the centre of every cell that is in the file."""
    rng = np.random.default_rng(seed)
    shape = (read[0] + margins[0] + margins[1], read[1] + margins[2] + margins[3])
    box = (slice(margins[0], margins[0] + read[0]), slice(margins[2], margins[2] + read[1]))
    side = max(read)
    grid = CellGrid(
        ((start[0] + 0.5) / side, (start[1] + 0.5) / side), (7 / side, 8 / side)
    )  # centred on pixels, so that the drawing has their values
    found = PlacedMap(rng.random(CELLS, np.float32), grid)
    top, left = (side - read[0]) // 2, (side - read[1]) // 2
    volume = np.full(shape, np.nan)
    volume[box] = found.over((side, side))[top : top + read[0], left : left + read[1]]
    drawn = Placement(turn.code, *map(float, shift)).to_file(volume, np.nan)
    pixels = FilePixels(shape, Frame.around(box), turn, np.array([[0.0, 0.0], shift]))
    values, first, step = pixels.back(1, found)
    compared = 0
    for row, column in np.ndindex(values.shape):
        at = np.array([first[0] + step[0] * row, first[1] + step[1] * column])
        assert np.abs(at - np.rint(at)).max() < 1e-6
        y, x = np.rint(at).astype(int).tolist()
        inside = 0 <= y < drawn.shape[0] and 0 <= x < drawn.shape[1]
        if inside and np.isfinite(drawn[y, x]):
            assert drawn[y, x] == pytest.approx(values[row, column], abs=1e-5)
            compared += 1
    assert compared >= 4


def test_a_whole_square_picture_in_the_standard_view_stays_as_it_is() -> None:
    found = PlacedMap(np.arange(6, dtype=np.float32).reshape(2, 3), CellGrid((0.25, 1 / 6), (0.5, 1 / 3)))
    frame = Frame.around((slice(0, 60), slice(0, 60)))
    values, first, step = FilePixels((60, 60), frame, Turn(), np.zeros((1, 2))).back(0, found)
    np.testing.assert_array_equal(values, found.values)
    assert first == pytest.approx((14.5, 9.5)) and step == pytest.approx((30, 20))
