"""Scores against boxes: by hand, chance by drawing, and boxes through turns and crops."""

from __future__ import annotations

import numpy as np
import pytest

from ich_pipeline.explain.boxes import BoxedSlice, around, overlap, score_boxes, summarise_boxes
from ich_pipeline.explain.localisation import Draws
from ich_pipeline.series.placement import Placement
from ich_pipeline.tables.labels import Labels
from ich_pipeline.tables.masks import Box, Boxes
from ich_pipeline.windowing.frame import Frame
from tests.made.explained import head

LABELS = Labels("any", ("epidural", "subdural"))


def _map(*blobs: tuple[int, int, int, int], side: int = 40) -> np.ndarray:
    values = np.zeros((side, side))
    for strength, (top, left, bottom, right) in zip((1.0, 0.8, 0.2), blobs, strict=False):
        values[top:bottom, left:right] = strength
    return values


def test_hit_and_overlap_by_hand():
    inside = np.ones((40, 40), bool)
    values = _map((10, 10, 14, 20), (30, 30, 34, 34), (0, 0, 2, 2))  # the third lies below half of the maximum
    found = score_boxes(values, [(10, 12, 14, 20), (20, 30, 34, 34)], inside, 0.5)
    assert found is not None
    assert found.hit
    assert found.hit_chance == pytest.approx((32 + 56) / 1600)
    assert found.overlap == pytest.approx((32 / 40 + 16 / 56) / 2)
    missed = score_boxes(values, [(0, 0, 2, 2)], inside, 0.5)
    assert missed is not None
    assert (missed.hit, missed.overlap) == (False, 0.0)
    assert score_boxes(np.zeros((40, 40)), [(0, 0, 2, 2)], inside, 0.5) is None
    assert overlap((0, 0, 2, 2), (1, 1, 3, 3)) == pytest.approx(1 / 7)
    assert around(values > 0.9) == (10, 10, 14, 20)


def test_chance_is_what_a_box_put_down_anywhere_gives():
    random = np.random.default_rng(4)
    support = head(40) > 0
    support[-2:] = False
    box, like = (12, 15, 24, 22), (20, 18, 27, 30)
    found = score_boxes(_map(like), [box], support, 0.5)
    assert found is not None
    drawn = []
    for row, column in random.choice(np.argwhere(support), 4000):
        top, left = row - (like[2] - like[0]) // 2, column - (like[3] - like[1]) // 2
        drawn.append(overlap(box, (top, left, top + like[2] - like[0], left + like[3] - like[1])))
    assert found.overlap_chance == pytest.approx(np.mean(drawn), abs=4 * np.std(drawn) / np.sqrt(4000))


def test_boxes_follow_the_picture_into_the_square_of_the_networks():
    hu = head(64)
    boxes = {"subdural": Boxes(64, 64, (Box(10, 20, 6, 4),)), "unknown": Boxes(64, 64, (Box(0, 0, 9, 9),))}
    frame = Frame.around((slice(4, 60), slice(4, 60)))
    found = BoxedSlice.of_volume("P", frame.cut(hu, -1024), frame, Placement("flip_rows+flip_columns"), boxes, LABELS)
    # Half a turn: rows 20–24 and columns 10–16 become 40–44 and 48–54, less the four that are cut off.
    assert found.boxes == {"subdural": ((36, 44, 40, 50),), "any": ((36, 44, 40, 50),)}
    assert found.head.shape == (56, 56)


def test_means_are_by_patient():
    inside = np.ones((40, 40), bool)
    scores = [score_boxes(_map((10, 10, 14, 20)), [box], inside, 0.5) for box in ((10, 10, 14, 20), (30, 30, 34, 34))]
    summary = summarise_boxes("subdural", [*scores, None], ["a", "b", "b"], Draws(200, 1, 0.9))
    assert (summary.maps, summary.constant, summary.hit_rate, summary.overlap) == (2, 1, 0.5, 0.5)
    assert summary.hit_interval == (0.0, 1.0)
    nothing = summarise_boxes("subdural", [], [], Draws(200, 1, 0.9))
    assert (nothing.maps, nothing.hit_rate, nothing.hit_interval) == (0, None, None)
