"""A tilted gantry's volume, sheared back: against an analytic head, and the way back to the files' pixels."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import ndimage

from ich_pipeline.dicom.decode import AIR_HU
from ich_pipeline.ingest.page import remarks
from ich_pipeline.series.placement import Placement
from ich_pipeline.series.shear import move, shifts_px, straighten
from ich_pipeline.serving.load_case import load_case

TILT = 18.5
SIZE, PIXEL, STEP, COUNT = 96, 2.0, 4.0, 24


def ellipsoid(right, down, up):
    """A smooth head in the frame of the tilted plane (mm): soft edges, so that linear interpolation is near the truth."""
    radius = np.sqrt((right / 60) ** 2 + (down / 70) ** 2 + (up / 80) ** 2)
    hu = 40 + 30 * np.cos(right / 15) * np.sin(down / 18)
    return AIR_HU + (hu - AIR_HU) / (1 + np.exp((radius - 1) * 60))


@pytest.fixture
def tilted(tmp_path, make_slice, save_slice):
    """Slices of the tilted plane, stacked along z as a table moves: ImagePositionPatient changes in z alone."""
    lean = math.radians(TILT)
    row, column = np.array([1.0, 0, 0]), np.array([0, math.cos(lean), math.sin(lean)])
    normal = np.cross(row, column)
    travel = STEP / normal[2]
    corner = -(SIZE - 1) / 2 * PIXEL * (row + column)
    r, c = np.mgrid[:SIZE, :SIZE] * PIXEL
    truth = []
    for n in range(COUNT):
        origin = corner + np.array([0, 0, travel * (n - COUNT // 2)])
        along, across, up = origin @ column, origin @ row, origin @ normal
        hu = np.rint(ellipsoid(across + c, along + r, up)).astype(np.int16)
        straight = np.rint(ellipsoid(corner @ row + c, corner @ column + r, up)).astype(np.int16)
        truth.append(straight)
        ds = make_slice(
            number=n + 1, position=origin.tolist(), hu=hu, SliceThickness="4",
            ImageOrientationPatient=[*row, *column], PixelSpacing=[PIXEL, PIXEL], GantryDetectorTilt="-5",
        )  # fmt: skip
        save_slice(ds, tmp_path / "d" / f"{n:02d}")
    return tmp_path / "d", np.stack(truth)


def test_the_phantom_becomes_rectangular(tilted, ingest_params):
    folder, truth = tilted
    as_is = load_case([folder], ingest_params)
    assert abs(as_is.series["tilt_deg"]) == pytest.approx(TILT, abs=1e-6)  # by positions; GantryDetectorTilt says −5
    assert not as_is.series["tilt_corrected"] and not as_is.shifts_px.any()
    straight = load_case([folder], ingest_params.model_copy(update={"correct_tilt": True}))
    assert straight.series["tilt_corrected"] and straight.series["tilt_lost_voxels"] == 0
    assert straight.series["tilt_deg"] == as_is.series["tilt_deg"]
    soft = ndimage.binary_erosion(truth > 0, np.ones((1, 5, 5)))  # inside the edge, where bone would be
    error = np.abs(straight.hu.astype(int) - truth)[soft]
    before = np.abs(as_is.hu.astype(int) - truth)[soft]
    assert np.percentile(error, 99) <= 2 < np.percentile(before, 50)
    # The centre of the head stays above itself.
    centres = [np.argwhere(picture > -200).mean(axis=0) for picture in straight.hu[2:-2]]
    assert np.ptp(centres, axis=0).max() < 0.2
    drift = [np.argwhere(picture > -200).mean(axis=0) for picture in as_is.hu[2:-2]]
    assert np.ptp(drift, axis=0)[0] > 10


def test_the_tables_say_so_and_record_the_way_back(tilted, ingest_params, read_in_process):
    folder, _ = tilted
    report = read_in_process(folder, ingest_params.model_copy(update={"correct_tilt": True}))
    shifts = report.slices["shift_rows_px"].to_numpy()
    np.testing.assert_allclose(np.diff(shifts), np.diff(shifts)[0])
    assert abs(np.diff(shifts)[0]) == pytest.approx(STEP * math.tan(math.radians(TILT)) / PIXEL)
    [remark] = remarks(report.series.to_dict("records")[0])
    assert remark == "gantry tilted by -18.5°, sheared back"
    columns = ["reorientation", "shift_rows_px", "shift_columns_px"]
    place = Placement(*report.slices.loc[1, columns])
    mask = np.zeros((SIZE, SIZE), bool)
    mask[40:60, 30:50] = True
    moved = place.to_volume(mask)
    assert moved.dtype == np.bool_ and moved.sum() == mask.sum() and (moved != mask).any()
    np.testing.assert_array_equal(place.to_file(moved), mask)


def test_a_whole_pixel_is_moved_exactly_and_what_leaves_is_counted():
    hu = np.full((3, 8, 8), 40, np.int16)
    shifts = np.array([[0.0, 0.0], [2.0, 0.0], [-1.0, 3.0]])
    moved, lost = straighten(hu, shifts)
    assert (moved[0] == 40).all()
    assert (moved[1][:2] == AIR_HU).all() and (moved[1][2:] == 40).all()
    assert (moved[2][-1] == AIR_HU).all() and (moved[2][:-1, 3:] == 40).all() and (moved[2][:, :3] == AIR_HU).all()
    assert lost == 16 + (64 - 7 * 5)
    assert straighten(hu, np.full((3, 2), 20.0))[1] == hu.size


def test_half_a_pixel_is_the_mean_of_two():
    picture = np.array([[0.0, 10.0, 20.0]])
    np.testing.assert_allclose(move(picture, (0, 0.5), -10), [[-5, 5, 15]])


def test_an_upright_stack_is_not_moved():
    points = np.array([[-80.0, -80.0, 5.0 * n] for n in range(5)])
    assert not shifts_px(points, [1, 0, 0, 0, 1, 0], (0.5, 0.5)).any()
