"""Bed removal and crop on a drawn head on a drawn bed."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pytest
from numpy.typing import NDArray

from ich_pipeline.windowing.crop import AIR_HU, focus, head_mask


class Settings(NamedTuple):
    remove_bed: bool
    crop_head: bool
    field_of_view_mm: float | None = None


OFF = Settings(remove_bed=False, crop_head=False)
BOTH = Settings(remove_bed=True, crop_head=True)


def scene(side: int = 256) -> tuple[NDArray[np.int16], NDArray[np.bool_]]:
    """A head (skull, brain, an air-filled sinus) that touches a thin curved bed, and beside it a thin tube; and the head alone."""
    y, x = np.mgrid[:side, :side] / side
    r = np.hypot(x - 0.55, (y - 0.42) * 0.85)
    head = r < 0.25
    hu = np.full((5, side, side), -1000, np.int16)
    hu[:, head] = 35
    hu[:, head & (r > 0.22)] = 1200
    hu[:, np.hypot(x - 0.55, y - 0.35) < 0.04] = -950  # a sinus
    bed = np.abs(np.hypot(x - 0.55, y - 0.1) - 0.622) < 0.004
    hu[:, bed & (y > 0.5)] = 150
    hu[:, np.hypot(x - 0.1, y - 0.2) < 0.006] = 300  # a tube
    return hu, np.repeat(head[None], 5, axis=0)


def test_off_is_nothing_at_all() -> None:
    hu, _ = scene()
    seen = focus(hu, OFF)
    assert seen.hu is hu and hu[:, *seen.frame.inside].shape == hu.shape


@pytest.mark.parametrize("side", [192, 256, 512])
def test_the_bed_goes_and_the_head_stays(side: int) -> None:
    hu, head = scene(side)
    found = head_mask(hu)
    assert found[head].all(), "the whole head with its sinus"
    assert (found & ~head).sum() / head.sum() < 0.01
    removed = focus(hu, Settings(remove_bed=True, crop_head=False)).hu
    np.testing.assert_array_equal(removed[head], hu[head])
    assert (removed[~found] == AIR_HU).all() and removed.dtype == np.int16
    assert ((hu > -300) & ~found).sum() > side, "something was there to remove"


def test_the_crop_is_the_square_around_the_head_once_a_series() -> None:
    hu, head = scene()
    seen = focus(hu, BOTH)
    rows, columns = (np.flatnonzero(head[0].any(axis=axis)) for axis in (1, 0))
    box = seen.frame.inside
    assert box[0].start <= rows[0] and rows[-1] < box[0].stop
    assert box[1].start <= columns[0] and columns[-1] < box[1].stop
    extent = max(np.ptp(rows), np.ptp(columns)) + 1
    assert all(extent <= s <= extent * 1.12 for s in seen.hu.shape[1:])
    np.testing.assert_array_equal(seen.hu[head[:, *box]], hu[:, *box][head[:, *box]])


def test_a_head_at_the_edge_is_cut_there() -> None:
    hu, _ = scene()
    shifted = np.roll(hu, -60, axis=2)
    seen = focus(shifted, Settings(remove_bed=False, crop_head=True))
    assert seen.frame.inside[1].start == 0 and np.shares_memory(seen.hu, shifted)


def test_where_nothing_is_thick_nothing_is_done() -> None:
    hu = np.full((2, 64, 64), -1000, np.int16)
    hu[:, 10, :] = 50
    assert focus(hu, BOTH).hu is hu
