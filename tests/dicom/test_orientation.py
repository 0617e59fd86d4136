"""Left stays left: an asymmetric head in every position of the patient, against SimpleITK and against its own anatomy."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import SimpleITK
from hypothesis import given
from hypothesis import strategies as st

from ich_pipeline.dicom.orientation import Turn
from ich_pipeline.series.placement import Placement
from ich_pipeline.serving.load_case import load_case

STEP, DEEP = (1.0, 1.0), 5.0
ROWS, COLUMNS, SLICES = 40, 32, 6
# What the scanner writes: ImageOrientationPatient for how the patient lies and from where the picture is seen.
VIEWS = {
    "head first supine": [1, 0, 0, 0, 1, 0],
    "head first prone": [-1, 0, 0, 0, -1, 0],
    "decubitus right": [0, -1, 0, 1, 0, 0],
    "decubitus left": [0, 1, 0, -1, 0, 0],
    "feet first, seen from above": [-1, 0, 0, 0, 1, 0],
    "feet first prone, seen from above": [1, 0, 0, 0, -1, 0],
    "seen from above, on the side": [0, 1, 0, 1, 0, 0],
    "seen from above, on the other side": [0, -1, 0, -1, 0, 0],
}


def head(x, y, z):
    """HU at patient coordinates in mm (x left, y back, z head): air, an ellipsoid, a bright spot left front, a dark one back."""
    inside = (x / 14) ** 2 + (y / 18) ** 2 + ((z - 12) / 30) ** 2 < 1
    hu = np.where(inside, 30.0, -1000.0)
    hu = np.where(
        (np.abs(x - 7) < 3) & (np.abs(y + 5) < 4) & (z > 10), 80.0, hu
    )  # on the patient's left, in front, above
    return np.where((np.abs(x + 4) < 2) & (np.abs(y - 10) < 2), 5.0, hu).astype(np.int16)


def picture(orientation, origin, rows, columns):
    row, column = np.reshape(np.asarray(orientation, float), (2, 3))
    r, c = np.mgrid[:rows, :columns]
    x, y, z = (origin[i] + c * row[i] * STEP[1] + r * column[i] * STEP[0] for i in range(3))
    return head(x, y, z)


@pytest.fixture
def write_view(make_slice, save_slice):
    def write(folder, orientation, order=1):
        """The head as a scan that covers the same voxels whatever the view."""
        row, column = np.reshape(np.asarray(orientation, float), (2, 3))
        crossed = bool(abs(row[1]) > 0.5)
        rows, columns = (COLUMNS, ROWS) if crossed else (ROWS, COLUMNS)
        corner = np.array([-(COLUMNS - 1) / 2, -(ROWS - 1) / 2, 0.0])
        far = -corner
        # The first voxel is at the end where both directions begin.
        direction = row + column
        origin = np.where(direction > 0, corner, far)
        for n in range(SLICES):
            at = [origin[0], origin[1], DEEP * n]
            number = n + 1 if order > 0 else SLICES - n  # feet first: numbered from the head
            ds = make_slice(
                number=number, position=at, hu=picture(orientation, at, rows, columns),
                ImageOrientationPatient=[float(v) for v in orientation], PixelSpacing=list(STEP),
            )  # fmt: skip
            save_slice(ds, folder / f"{number}.dcm")

    return write


@pytest.mark.parametrize(("view", "order"), itertools.product(VIEWS, (1, -1)))
def test_every_view_gives_the_same_volume(tmp_path, write_view, ingest_params, view, order):
    write_view(tmp_path / "d", VIEWS[view], order)
    case = load_case([tmp_path / "d"], ingest_params)
    z, y, x = np.mgrid[:SLICES, :ROWS, :COLUMNS]
    expected = head(x - (COLUMNS - 1) / 2, y - (ROWS - 1) / 2, DEEP * z)
    np.testing.assert_array_equal(case.hu, expected)
    assert (case.hu[-1] == 80).any() and (
        case.hu[-1][:, : COLUMNS // 2] != 80
    ).all()  # the patient's left is on the right
    assert (case.series["Rows"], case.series["Columns"]) == case.hu.shape[1:]


@pytest.mark.parametrize("view", ["head first prone", "decubitus right"])
def test_the_tables_lead_back_to_the_files_own_pixels(tmp_path, write_view, ingest_params, read_in_process, view):
    write_view(tmp_path / "d", VIEWS[view])
    report = read_in_process(tmp_path / "d", ingest_params)
    [hu] = report.volumes.values()
    np.testing.assert_array_equal(hu, load_case([tmp_path / "d"], ingest_params).hu)
    columns = ["reorientation", "shift_rows_px", "shift_columns_px"]
    for row, picture in zip(report.slices.to_dict("records"), hu, strict=True):
        place = Placement(*(row[name] for name in columns))
        stored = SimpleITK.GetArrayFromImage(SimpleITK.ReadImage(tmp_path / "d" / f"{row['InstanceNumber']}.dcm"))[0]
        np.testing.assert_array_equal(place.to_file(picture), stored)
        np.testing.assert_array_equal(place.to_volume(stored), picture)


@pytest.mark.parametrize("view", VIEWS)
def test_the_volume_is_what_simpleitk_orients_to_lps(tmp_path, write_view, ingest_params, view):
    write_view(tmp_path / "d", VIEWS[view])
    names = SimpleITK.ImageSeriesReader.GetGDCMSeriesFileNames(str(tmp_path / "d"))
    image = SimpleITK.DICOMOrient(SimpleITK.ReadImage(names), "LPS")
    np.testing.assert_array_equal(
        load_case([tmp_path / "d"], ingest_params).hu, SimpleITK.GetArrayFromImage(image).astype(np.int16)
    )


@pytest.mark.parametrize("steps", itertools.product((False, True), repeat=3))
def test_a_turn_has_one_name_and_can_be_undone(steps):
    turn = Turn(*steps)
    assert Turn.from_code(turn.code) == turn
    volume = np.arange(2 * 3 * 4).reshape(2, 3, 4)
    np.testing.assert_array_equal(turn.undo(turn.apply(volume)), volume)
    for name in ("flip_columns+transpose", "", "upside_down"):
        with pytest.raises(ValueError, match="names no turn"):
            Turn.from_code(name)


@given(st.floats(-44, 44), st.sampled_from(list(VIEWS)), st.floats(-30, 30))
def test_a_turned_or_leaning_head_keeps_its_side(spin, view, lean):
    """Up to 44° of spin within the plane: the turn of the nearest whole view, never the mirror image."""
    row, column = np.reshape(np.asarray(VIEWS[view], float), (2, 3))
    a, b = np.deg2rad(spin), np.deg2rad(lean)
    spun = [np.cos(a) * row + np.sin(a) * column, np.cos(a) * column - np.sin(a) * row]
    tip = np.array([[1, 0, 0], [0, np.cos(b), -np.sin(b)], [0, np.sin(b), np.cos(b)]])
    turn = Turn.to_standard([*(tip @ spun[0]), *(tip @ spun[1])])
    swap = turn.transpose
    across, down = (tip @ spun[1], tip @ spun[0]) if swap else (tip @ spun[0], tip @ spun[1])
    across, down = across * (-1 if turn.flip_columns else 1), down * (-1 if turn.flip_rows else 1)
    assert across[0] > 0 and down[1] > 0
    assert np.cross(across, down)[2] > 0  # no mirror: left, back and head stay right-handed
