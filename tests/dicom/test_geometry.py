"""Order, gaps, duplicates and tilt of stacks built from known geometry."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ich_pipeline.dicom.geometry import axial_normal, group_positions, is_orthonormal, neighbours, tilt_deg

angles = st.floats(-30, 30)


def leaned(degrees: float) -> list[float]:
    """ImageOrientationPatient of a plane that is turned about the patient's left-right axis."""
    angle = math.radians(degrees)
    return [1.0, 0.0, 0.0, 0.0, math.cos(angle), math.sin(angle)]


@settings(deadline=None)
@given(angles, st.floats(-180, 180))
def test_the_normal_points_to_the_head_however_the_plane_is_turned(lean, spin):
    row, column = np.reshape(leaned(lean), (2, 3))
    c, s = math.cos(math.radians(spin)), math.sin(math.radians(spin))
    for sign in (1, -1):  # −1: seen from above
        orientation = [*(c * row + s * column), *(sign * (c * column - s * row))]
        assert is_orthonormal(orientation)
        normal = axial_normal(orientation)
        assert normal is not None
        assert normal[2] == pytest.approx(math.cos(math.radians(lean)), abs=1e-9)


@pytest.mark.parametrize("orientation", [[1, 0, 0, 0, 0, -1], [0, 1, 0, 0, 0, -1], leaned(50)])
def test_coronal_sagittal_and_far_leaning_planes_are_not_axial(orientation):
    assert axial_normal(orientation) is None


@pytest.mark.parametrize("orientation", [[1, 0, 0, 0, 2, 0], [1, 0, 0, 1, 0, 0], [0] * 6])
def test_vectors_that_span_no_plane_are_found(orientation):
    assert not is_orthonormal(orientation)


@settings(deadline=None)
@given(angles, st.floats(0.5, 10), st.integers(2, 40))
def test_tilt_of_a_sheared_volume_is_the_lean_and_of_an_upright_one_zero(lean, step, count):
    orientation = leaned(lean)
    along_z = np.array([[-100.0, -90.0, -20.0 + step * i] for i in range(count)])
    # z = cos·normal + sin·column: on their way to the head the slices move along the column by tan(lean) per mm.
    assert tilt_deg(along_z, orientation) == pytest.approx(-lean, abs=1e-6)
    normal = axial_normal(orientation)
    assert normal is not None
    upright = np.array([-100.0, -90.0, -20.0]) + step * np.arange(count)[:, None] * normal
    assert tilt_deg(upright, orientation) == pytest.approx(0, abs=1e-4)


@settings(deadline=None)
@given(st.permutations(range(12)), st.sets(st.integers(0, 11), max_size=3))
def test_slots_do_not_depend_on_the_order_of_files(order, doubled):
    heights = np.array([4.0 * i for i in range(12)] + [4.0 * i + 0.01 for i in sorted(doubled)])
    shuffled = np.array([*order, *range(12, len(heights))])
    slots = group_positions(heights[shuffled])
    assert [round(float(heights[shuffled][slot].min()) / 4) for slot in slots] == list(range(12))
    assert [len(slot) - 1 for slot in slots] == [int(i in doubled) for i in range(12)]


@settings(deadline=None)
@given(
    st.integers(6, 40),
    st.floats(0.6, 10),
    st.data(),
    st.floats(-0.05, 0.05),
)
def test_no_neighbour_across_a_gap_and_all_links_go_both_ways(count, step, data, jitter):
    # At most a third of the slices missing, never the ends: the usual step stays the median.
    missing = data.draw(st.sets(st.integers(1, count - 2), max_size=(count - 2) // 3))
    kept = [i for i in range(count) if i not in missing]
    positions = np.array([step * (i + jitter * (i % 2)) for i in kept])
    links, gaps = neighbours(positions, np.full(len(kept), step), 0.2)
    steps = np.diff(kept)
    assert gaps == int((steps > 1).sum())
    for i, jump in enumerate(steps):
        joined = jump == 1
        assert links[i, 1] == (i + 1 if joined else -1)
        assert links[i + 1, 0] == (i if joined else -1)
    assert links[0, 0] == -1 and links[-1, 1] == -1


def test_two_slice_thicknesses_in_one_series_are_no_gap():
    positions = np.array([0, 4, 8, 12, 13.08, 20.08, 27.08, 34.08])
    thickness = np.array([4, 4, 4, 4, 7, 7, 7, 7])
    links, gaps = neighbours(positions, thickness, 0.2)
    assert gaps == 0
    assert links[:, 0].tolist() == [-1, 0, 1, 2, 3, 4, 5, 6]
    # A slice missing among the thin ones is a gap still, though 8 mm is near the thick ones' step.
    links, gaps = neighbours(np.delete(positions, 1), np.delete(thickness, 1), 0.2)
    assert gaps == 1
    assert links[1, 0] == -1


def test_one_slice_has_no_neighbours():
    links, gaps = neighbours(np.array([3.0]), np.array([5.0]), 0.2)
    assert links.tolist() == [[-1, -1]]
    assert gaps == 0
