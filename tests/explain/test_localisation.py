"""Pointing game and mass against values worked out by hand."""

from __future__ import annotations

import numpy as np
import pytest

from ich_pipeline.explain.localisation import Draws, Localisation, cell_coverage, head_mask, localise, square, summarise


def test_hit_mass_and_chance_by_hand():
    lesion = np.zeros((8, 8), bool)
    lesion[0:2, 0:2] = True  # one cell of a 4 × 4 map
    head = np.ones((8, 8), bool)
    attention = np.zeros((4, 4))
    attention[1, 1], attention[0, 0] = 1.0, 0.5
    found = localise(attention, lesion, head)
    assert found.hit  # one cell beside the lesion
    assert found.hit_chance == pytest.approx(4 / 16)
    assert found.mass == pytest.approx(0.5 / 1.5)
    assert found.mass_chance == pytest.approx(1 / 16)
    attention[3, 3] = 2.0
    assert not localise(attention, lesion, head).hit


def test_a_flat_map_scores_chance():
    random = np.random.default_rng(2)
    lesion = np.zeros((40, 40), bool)
    lesion[random.integers(0, 40, 30), random.integers(0, 40, 30)] = True
    found = localise(np.ones((7, 7)), lesion, np.ones((40, 40), bool))
    assert found.mass == pytest.approx(found.mass_chance)


def test_coverage_keeps_area_when_cells_cut_pixels():
    mask = np.random.default_rng(0).random((10, 13)) > 0.5
    assert cell_coverage(mask, (7, 7)).mean() == pytest.approx(mask.mean())


def test_head_is_the_largest_part_with_its_holes():
    hu = np.full((20, 20), -1000)
    hu[4:16, 4:16] = 1000
    hu[6:14, 6:14] = -1000  # air inside the skull belongs to the head
    hu[0, 0] = 500
    assert head_mask(hu, -300).sum() == 144
    assert not head_mask(np.full((5, 5), -1000), -300).any()


def test_square_centres():
    assert square(np.ones((2, 4), bool), False).tolist() == [[0] * 4, [1] * 4, [1] * 4, [0] * 4]


DRAWS = Draws(replicates=500, seed=3, confidence=0.95)


def test_constant_maps_are_counted_not_averaged():
    one = localise(np.eye(2), np.eye(4, dtype=bool), np.ones((4, 4), bool))
    found = summarise("subdural", [one, None], ["a", "b"], DRAWS)
    assert (found.maps, found.constant, found.hit_rate) == (1, 1, 1.0)
    assert summarise("subdural", [None], ["a"], DRAWS).mass is None


def test_the_interval_draws_patients_not_maps():
    hit, miss = Localisation(True, 0.1, 0.5, 0.1), Localisation(False, 0.1, 0.2, 0.1)
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
    found = summarise("subdural", [Localisation(h, 0.1, 0.3, 0.1) for h in hits], patients, DRAWS)
    assert (found.hit_interval, found.mass_interval, found.reason) == (None, None, reason)
