"""The exact building blocks against their definitions."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.interpolate import BSpline

from ich_pipeline.phantom.draw import Draw
from ich_pipeline.phantom.fields import (
    RingNoise,
    SplineNoise,
    capsule,
    cover,
    diamond_turn,
    line_cover,
    spline_weights,
)
from ich_pipeline.phantom.grain import noise
from ich_pipeline.phantom.study import _Geometry


def test_draws_are_named_streams() -> None:
    assert Draw("a", 1).unit() == Draw("a", 1).unit()
    assert Draw("a", 1).unit() != Draw("a", 2).unit()
    draw = Draw("spread")
    values = [draw.unit() for _ in range(4000)]
    assert 0 <= min(values) < 0.01 and 0.99 < max(values) < 1
    assert abs(np.mean(values) - 0.5) < 0.02
    assert sorted(draw.shuffled(range(20))) == list(range(20))
    assert {draw.integer(3, 5) for _ in range(100)} == {3, 4, 5}


def test_first_draw_is_fixed() -> None:
    # PCG64's raw stream seeded with the first 16 bytes of sha256("golden"); numpy promises it never changes.
    assert Draw("golden").unit() == 0.10007378455158633


def test_spline_weights_are_the_cubic_b_spline() -> None:
    t = np.linspace(0, 0.99, 25, dtype=np.float32)
    basis = BSpline.basis_element([0, 1, 2, 3, 4])
    expected = [basis(np.float64(t) + 3 - i) for i in range(4)]
    assert np.allclose(spline_weights(t), expected, atol=1e-6)


def test_fields_have_unit_spread_and_are_smooth() -> None:
    axis = np.arange(-100, 100, 1, dtype=np.float32)
    plane = SplineNoise(Draw("s"), 8, 8).plane(3.0, axis, axis)
    assert plane.dtype == np.float32 and 0.7 < plane.std() < 1.3
    assert np.abs(np.diff(plane, axis=0)).max() < 1
    ring = RingNoise(Draw("r"), 60, 10)
    turn = np.array([0.0, 3.9999], np.float32)
    assert abs(float(np.diff(ring.at(0.0, turn))[0])) < 0.01  # closed


def test_diamond_turn_rises_with_the_angle() -> None:
    angles = np.linspace(0.01, 2 * math.pi - 0.01, 300)
    turn = diamond_turn(np.cos(angles).astype(np.float32), np.sin(angles).astype(np.float32))
    assert (np.diff(turn) > 0).all() and turn.min() >= 0 and turn.max() < 4


def test_cover_is_partial_volume() -> None:
    assert cover(np.array([-1.0, -0.5, 0.0, 0.5, 1.0], np.float32), 1.0).tolist() == [0, 0, 0.5, 1, 1]
    # A sheet of half-width 0.2 mm fills 0.4 of a pixel of 1 mm that it crosses, and no more.
    assert line_cover(np.array([0.0], np.float32), 0.2, 1.0)[0] == pytest.approx(0.4)
    assert line_cover(np.array([0.0, 1.0, 3.0], np.float32), 2.0, 1.0).tolist() == [1, 1, 0]


def test_capsule_depth() -> None:
    # Beside the middle, where the rod's radius is 3; and 3-4-5 beyond its end, where the radius is 4.
    x, y, z = (np.array(v, np.float32) for v in ((5.0, 13.0), (1.0, 0.0), (0.0, 4.0)))
    assert capsule(x, y, z, (0, 0, 0), (10, 0, 0), (2.0, 4.0)) == pytest.approx([3 - 1, 4 - 5])


@pytest.mark.parametrize(("sharp", "neighbours"), [(False, 0.667), (True, -0.345)])
def test_noise_has_its_deviation_and_grain(sharp: bool, neighbours: float) -> None:
    grain = noise(Draw("n"), 256, 5.0, sharp)
    assert grain.std() == pytest.approx(5.0, rel=0.04)
    assert abs(grain.mean()) < 0.2
    # Autocorrelation at one pixel: 4/6 of the binomial (1, 2, 1); (5·-1·2) / 29 of the sharpening cross.
    assert np.corrcoef(grain[:, 1:].ravel(), grain[:, :-1].ravel())[0, 1] == pytest.approx(neighbours, abs=0.03)


def test_tilt_is_its_arc_tangent() -> None:
    for half in (0.0, 0.03, 0.16):
        assert _Geometry(half, 64).tilt_deg == pytest.approx(math.degrees(2 * math.atan(half)), abs=1e-5)
