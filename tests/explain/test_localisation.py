"""Pointing game and mass against values worked out by hand."""

from __future__ import annotations

import numpy as np
import pytest

from ich_pipeline.explain.geometry import CellGrid
from ich_pipeline.explain.localisation import Draws, Localisation, score_values, summarise
from ich_pipeline.explain.placed import PlacedMap, head_of, peak, slice_head, square

DRAWS = Draws(replicates=500, seed=3, confidence=0.95)


def localise(placed: PlacedMap, lesion: np.ndarray, head: np.ndarray, *more) -> Localisation:
    """A map that locates something."""
    found = score_values(placed.inside(head | lesion), lesion, head, *more)
    assert found is not None
    return found


def _tiles(cells: int) -> CellGrid:
    return CellGrid((0.5 / cells, 0.5 / cells), (1 / cells, 1 / cells))


def _one_cell(row: int, column: int, cells: int = 4) -> PlacedMap:
    values = np.zeros((cells, cells), np.float32)
    values[row, column] = 1
    return PlacedMap(values, _tiles(cells))


HEAD = np.ones((8, 8), bool)
MM = (2.0, 1.0)  # rows are twice as far apart as columns


def test_a_hit_is_a_maximum_within_the_tolerance_in_mm():
    lesion = np.zeros((8, 8), bool)
    lesion[2, 2] = True
    # The cell (1, 1) is centred between pixels 2 and 3: of the four that tie, the middle's nearest is (2, 2).
    assert localise(_one_cell(1, 1), lesion, HEAD, MM, 0).hit
    # (3, 1) peaks at pixel (7, 2), flat beyond the last centre: five rows of 2 mm away.
    assert localise(_one_cell(3, 1), lesion, HEAD, MM, 10.0).hit
    assert not localise(_one_cell(3, 1), lesion, HEAD, MM, 9.9).hit
    # (1, 3) peaks at pixel (2, 7): five columns of 1 mm away.
    assert localise(_one_cell(1, 3), lesion, HEAD, MM, 5.0).hit
    assert not localise(_one_cell(1, 3), lesion, HEAD, MM, 4.9).hit
    # Within 1 mm lie the pixel and its two neighbours in the row.
    assert localise(_one_cell(1, 1), lesion, HEAD, MM, 1.0).hit_chance == pytest.approx(3 / 64)


def test_air_neither_hits_nor_counts():
    lesion = np.zeros((8, 8), bool)
    lesion[5, 5] = True
    head = np.zeros((8, 8), bool)
    head[2:6, 2:6] = True
    values = np.zeros((4, 4), np.float32)
    values[0, 0], values[2, 2] = 1.0, 0.4  # the maximum is in air
    found = localise(PlacedMap(values, _tiles(4)), lesion, head, (1.0, 1.0), 1.5)
    assert found.hit
    assert found.mass_chance == pytest.approx(1 / 16)
    assert found.hit_chance == pytest.approx(4 / 16)  # of the nine pixels near the lesion, those in the head
    elsewhere = np.roll(head, (2, 2), (0, 1))
    outside = _one_cell(0, 0).inside(elsewhere | lesion)
    assert score_values(outside, lesion, elsewhere, (1.0, 1.0), 1) is None  # nothing in the head


def test_the_control_is_the_other_lesion():
    own, other = np.zeros((8, 8), bool), np.zeros((8, 8), bool)
    own[0, 0], other[7, 7] = True, True
    found = localise(_one_cell(3, 3), own, HEAD, (1.0, 1.0), 1.0, other)
    assert (found.hit, found.hit_other) == (False, True)
    assert found.other_chance == pytest.approx(3 / 64)
    assert localise(_one_cell(3, 3), own, HEAD, (1.0, 1.0), 1.0).hit_other is None
    summary = summarise("subdural", [found, localise(_one_cell(0, 0), own, HEAD, (1.0, 1.0), 1.0)], ["a", "b"], DRAWS)
    assert (summary.maps, summary.shared, summary.hit_rate, summary.own_rate, summary.other_rate) == (2, 1, 0.5, 0, 1)


def test_a_flat_map_scores_chance():
    random = np.random.default_rng(2)
    lesion = np.zeros((40, 40), bool)
    lesion[random.integers(0, 40, 30), random.integers(0, 40, 30)] = True
    flat = PlacedMap(np.ones((7, 7), np.float32), _tiles(7))
    found = localise(flat, lesion, np.ones((40, 40), bool), (1.0, 1.0), 3.0)
    assert found.mass == pytest.approx(found.mass_chance)


def test_a_map_is_where_its_grid_says():
    values = np.zeros((3, 3), np.float32)
    values[0, 2] = 1
    placed = PlacedMap(values, CellGrid((0.25, 0.25), (0.25, 0.25)))  # centres at 1/4, 1/2, 3/4
    over = placed.over((100, 100))
    assert over[24:26, 74:76].min() > 0.9
    assert over[50, 75] == pytest.approx(0, abs=0.03)
    assert over[25, 62] == pytest.approx(0.5, abs=0.03)
    assert peak(placed.inside(np.ones((100, 100), bool))) == (12, 87)  # the middle of the flat corner beyond the centre


def test_nothing_of_a_map_lies_in_air():
    head = np.zeros((50, 50), bool)
    head[10:40, 15:35] = True
    inside = PlacedMap(np.random.default_rng(0).random((7, 7)).astype(np.float32), _tiles(7)).inside(head)
    assert not inside[~head].any()
    row, column = peak(inside)
    assert head[row, column]


def test_head_is_the_largest_part_with_its_holes():
    hu = np.full((20, 20), -1000)
    hu[4:16, 4:16] = 1000
    hu[6:14, 6:14] = -1000  # air inside the skull belongs to the head
    hu[0, 0] = 500
    assert slice_head(hu).sum() == 144
    assert not slice_head(np.full((5, 5), -1000)).any()
    # Clipped to the windows there is no air: the lowest value stands for it.
    assert slice_head(np.clip(hu, 0, 200)).sum() == 144
    assert head_of(hu[:, 2:18], 40)[8:32, 8:32].all()
    assert head_of(hu, 40).sum() == 4 * 144


def test_square_centres():
    assert square(np.ones((2, 4), bool), False).tolist() == [[0] * 4, [1] * 4, [1] * 4, [0] * 4]


def test_maps_that_locate_nothing_are_counted_not_averaged():
    one = localise(_one_cell(0, 0), np.eye(8, dtype=bool), HEAD, (1.0, 1.0), 0.0)
    found = summarise("subdural", [one, None], ["a", "b"], DRAWS)
    assert (found.maps, found.constant, found.hit_rate) == (1, 1, 1.0)
    assert summarise("subdural", [None], ["a"], DRAWS).mass is None


def test_the_interval_draws_patients_not_maps():
    hit, miss = Localisation(True, 0.1, 0.5, 0.1, 0.4, 0.1), Localisation(False, 0.1, 0.2, 0.1, 0.2, 0.1)
    maps = [hit] * 6 + [miss] * 2
    found = summarise("subdural", maps, ["a"] * 6 + ["b"] * 2, DRAWS)
    assert found.hit_rate == 0.75
    assert found.hit_interval == (0.0, 1.0)  # either patient alone may be drawn
    assert found.mass_interval == pytest.approx((0.2, 0.5))
    assert found.reason is None


@pytest.mark.parametrize(
    ("hits", "patients", "reason"),
    [
        ([], [], "no map"),
        ([True, False], ["a", "a"], "maps of one patient only"),
        ([True, True], ["a", "b"], "the same in every patient"),
    ],
)
def test_no_interval_where_the_data_cannot_give_one(hits, patients, reason):
    found = summarise("subdural", [Localisation(h, 0.1, 0.3, 0.1, 0.2, 0.1) for h in hits], patients, DRAWS)
    assert (found.hit_interval, found.mass_interval, found.reason) == (None, None, reason)
