"""Input at true scale: a millimetre is as many pixels whatever the scanner's field of view, here and back in the file."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from ich_pipeline.config import load_params
from ich_pipeline.core.errors import InputError
from ich_pipeline.dicom.orientation import Turn
from ich_pipeline.explain.geometry import CellGrid
from ich_pipeline.explain.placed import PlacedMap
from ich_pipeline.serving.file_pixels import FilePixels
from ich_pipeline.windowing.crop import AIR_HU, focus
from ich_pipeline.windowing.frame import Frame, check_spacing
from ich_pipeline.windowing.windows import Window, clip_range

WINDOWS = (Window("brain", 40, 80),)
SIDE_MM, SIZE = 200.0, 100  # 2 mm a pixel of the network
DISC_MM = 110.0  # diameter
PLACES = st.floats(-20, 20)
STEPS = st.floats(0.4, 1.2)


@dataclass(frozen=True)
class Settings:
    field_of_view_mm: float | None = SIDE_MM
    remove_bed: bool = False
    crop_head: bool = False


def disc(spacing: tuple[float, float], shape: tuple[int, int], middle_mm: tuple[float, float]) -> NDArray[np.int16]:
    """One slice with a disc of 60 HU, its middle in mm from the picture's."""
    y, x = (
        (np.arange(length) + 0.5 - length / 2) * step - middle
        for length, step, middle in zip(shape, spacing, middle_mm, strict=True)
    )
    inside = np.hypot(y[:, None], x[None]) <= DISC_MM / 2
    return np.where(inside, 60, -1000).astype(np.int16)[None]


def shape_of(millimetres: tuple[float, float], spacing: tuple[float, float]) -> tuple[int, int]:
    rows, columns = (round(mm / step) for mm, step in zip(millimetres, spacing, strict=True))
    return rows, columns


@settings(max_examples=40)
@given(
    spacing=st.tuples(STEPS, STEPS),
    square=st.booleans(),
    field=st.tuples(st.floats(160, 280), st.floats(160, 280)),
    middle=st.tuples(PLACES, PLACES),
)
def test_a_disc_has_its_size_whatever_the_spacing_and_the_field_of_view(spacing, square, field, middle) -> None:
    """Padded or cropped, with pixels that are square or not; and it lies in the middle."""
    spacing = (spacing[0], spacing[0]) if square else spacing
    hu = disc(spacing, shape_of(field, spacing), middle)
    seen = focus(hu, Settings(), spacing)
    picture = seen.prepare(SIZE, WINDOWS)
    assert picture.shape == (1, SIZE, SIZE) and seen.hu.shape[1:] == seen.frame.extent
    low, high = clip_range(WINDOWS)
    share = (picture[0] - low) / (min(60, high) - low)
    wanted = DISC_MM / SIDE_MM * SIZE
    for axis in (0, 1):
        chord = share.sum(axis=axis).max()
        step, other = spacing[axis], spacing[1 - axis]
        assert abs(chord - wanted) * SIDE_MM / SIZE < max(step, other) * 1.5 + wanted * step / (2 * SIDE_MM)
        centre = (share.sum(axis=1 - axis) * (np.arange(SIZE) + 0.5)).sum() / share.sum()
        assert abs(centre - SIZE / 2) * SIDE_MM / SIZE < step * 1.1
    assert seen.shown.shape[1] == seen.shown.shape[2]
    if square:
        assert seen.shown is seen.hu


def test_what_lies_outside_the_picture_is_air_and_what_lies_in_it_stays() -> None:
    hu = disc((1.0, 1.0), (130, 120), (0.0, 0.0))
    seen = focus(hu, Settings(), (1.0, 1.0))
    assert seen.frame == Frame((slice(0, 130), slice(0, 120)), (-35, -40), (200, 200))
    np.testing.assert_array_equal(seen.hu[:, 35:165, 40:160], hu)
    rest = np.ones((200, 200), bool)
    rest[35:165, 40:160] = False
    assert (seen.hu[0][rest] == AIR_HU).all()
    assert (seen.prepare(SIZE, WINDOWS)[0, :17] == clip_range(WINDOWS)[0]).all()


def test_a_larger_picture_is_cropped_about_the_head_and_an_empty_one_in_its_middle() -> None:
    hu = disc((0.5, 0.5), (600, 600), (20.0, -10.0))
    seen = focus(hu, Settings(), (0.5, 0.5))
    # The disc's middle is row 340 and column 280, the square 400 pixels wide.
    assert seen.frame.start == (140, 80) and seen.frame.extent == (400, 400)
    assert np.shares_memory(seen.hu, hu)
    empty = focus(np.full((2, 600, 600), -1000, np.int16), Settings(), (0.5, 0.5))
    assert empty.frame.start == (100, 100)


def test_the_side_is_within_half_a_pixel() -> None:
    for step in np.linspace(0.2, 3, 57):
        frame = Frame.of_millimetres(230.0, (float(step), 0.5), (512, 512), (512, 512))
        assert abs(frame.extent[0] * step - 230.0) <= step / 2 + 1e-9 and frame.extent[1] == 460


@settings(max_examples=60)
@given(
    spacing=st.tuples(STEPS, STEPS),
    shape=st.tuples(st.integers(150, 400), st.integers(150, 400)),
    pixel=st.tuples(st.floats(0.3, 0.7), st.floats(0.3, 0.7)),
    flips=st.tuples(st.booleans(), st.booleans(), st.booleans()),
)
def test_a_maps_maximum_lies_on_its_pixel_of_the_file(spacing, shape, pixel, flips) -> None:
    """A bright point of the picture, found in what the network reads, goes back to the pixel that it came from."""
    row, column = (int(share * length) for share, length in zip(pixel, shape, strict=True))
    hu = np.full((1, *shape), -1000, np.int16)
    hu[0, row, column] = 80
    turn = Turn(*flips)
    frame = Frame.of_millimetres(SIDE_MM, spacing, shape, shape)
    if not all(
        0 <= at - low < length for at, low, length in zip((row, column), frame.start, frame.extent, strict=True)
    ):
        return  # beyond the square: no map shows it
    read = frame.cut(hu, AIR_HU)
    seen = focus(hu, Settings(), spacing)
    assert seen.frame == frame  # one pixel is no head
    values = seen.prepare(SIZE, WINDOWS)[0].astype(np.float32)
    np.testing.assert_array_equal(read, seen.hu)
    found = PlacedMap(values, CellGrid((0.5 / SIZE, 0.5 / SIZE), (1 / SIZE, 1 / SIZE)))
    turned, first, step = FilePixels(shape, frame, turn, np.zeros((1, 2))).back(0, found)
    at = np.unravel_index(turned.argmax(), turned.shape)
    marked = turn.undo(hu)[0]
    expected = np.unravel_index(marked.argmax(), marked.shape)
    for axis in (0, 1):
        # The cell's own half, and half a pixel of the file.
        assert abs(first[axis] + step[axis] * at[axis] - expected[axis]) <= step[axis] / 2 + 0.5 + 1e-6
    drawn = frame.even(frame.cut(hu[0], AIR_HU))
    down, right = frame.even_spacing_mm(spacing)
    assert drawn.shape == (max(frame.extent),) * 2 and down == pytest.approx(frame.extent[0] * spacing[0] / len(drawn))
    shown = np.argwhere(drawn == 80).mean(axis=0) + 0.5
    for place, mm, start, index, original in zip(
        shown, (down, right), frame.start, (row, column), spacing, strict=True
    ):
        assert abs(place * mm - (index - start + 0.5) * original) <= original


@pytest.mark.parametrize(
    ("spacing", "words"),
    [
        (None, "is missing"),
        ((np.nan, np.nan), "is missing"),
        ((0.0, 0.5), "is 0, 0.5 mm, outside"),
        ((-0.5, 0.5), "is -0.5, 0.5 mm, outside"),
        ((0.5, 45.0), "is 0.5, 45 mm, outside"),
        ((0.5, np.inf), "is 0.5, inf mm, outside"),
        ((0.5,), "is 0.5 mm, outside"),
    ],
)
def test_a_spacing_that_cannot_be_is_refused_by_name(spacing, words: str) -> None:
    with pytest.raises(InputError, match=rf"PixelSpacing of the series Vx {words}.*field_of_view_mm: null"):
        check_spacing(spacing, (0.2, 3.0), "the series Vx")


def test_a_crop_to_the_head_contradicts_it(tmp_path: Path, project_root: Path) -> None:
    raw = yaml.safe_load((project_root / "ich_pipeline" / "profiles" / "phantom.yaml").read_text())
    raw["windowing"] |= {"field_of_view_mm": 230, "crop_head": True}
    (tmp_path / "params.yaml").write_text(yaml.safe_dump(raw))
    with pytest.raises(InputError, match=r"windowing: crop_head .* field_of_view_mm 230 .* set crop_head: false"):
        load_params(tmp_path / "params.yaml")


def test_the_window_stage_refuses_a_series_before_it_writes(
    tmp_path: Path, project_root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from flows import window
    from flows.engine.stage import Stage
    from ich_pipeline.core.files import write_table

    monkeypatch.chdir(tmp_path)
    params = load_params(project_root / "ich_pipeline" / "profiles" / "phantom.yaml")
    wide = params.windowing.model_copy(update={"field_of_view_mm": 230.0})
    rows = pd.DataFrame({
        "case_id": ["C1", "C2"], "patient_key": ["P1", "P2"], "SOPInstanceUID": ["1.1", "1.2"], "volume": ["V1", "V2"],
        "index": [0, 0], "position_mm": [0.0, 0.0], "neighbour_before": [-1, -1], "neighbour_after": [-1, -1],
    })  # fmt: skip
    series = rows.assign(chosen=True, row_spacing_mm=[0.5, 4.5], column_spacing_mm=0.5)
    for folder in ("work/ingest", "work/split"):
        Path(folder).mkdir(parents=True)
    write_table(Path("work/ingest/slices.parquet"), rows, "slices/2")
    write_table(Path("work/ingest/series.parquet"), series, "series/3")
    write_table(Path("work/split/cohorts.parquet"), rows[["case_id"]].assign(cohort="train"), window_schema())
    stage = Stage(
        "window", None, params.model_copy(update={"windowing": wide}), logging.getLogger("t"), lambda *_: None
    )
    with pytest.raises(InputError, match=r"PixelSpacing of the series V2 of case C2 is 4\.5, 0\.5 mm"):
        window.body(stage)
    assert not Path("work/window").exists()


def window_schema() -> str:
    from ich_pipeline.tables.schemas import COHORTS_TABLE

    return COHORTS_TABLE
