"""Contrast agent by the pixels: vessels in every slice are seen, calcium in a few and blood are not."""

from __future__ import annotations

import numpy as np
import pytest

from ich_pipeline.ingest.page import remarks
from ich_pipeline.series.contrast_pixels import brightness

SIZE, PIXEL = 160, (1.2, 1.2)


def head(slices=10, seed=1):
    """Skull around a noisy brain."""
    y, x = (np.mgrid[:SIZE, :SIZE] - SIZE / 2) * PIXEL[0]
    radius = np.hypot(x / 68, y / 82)
    hu = np.where(radius < 1.1, 900.0, -1000.0)
    brain = np.where(radius < 1.0, 35.0, hu)
    noise = np.random.default_rng(seed).normal(0, 8, (slices, SIZE, SIZE))
    return np.where(radius < 1.0, brain + noise, brain), x, y


def volume(paint=None, **keys):
    hu, x, y = head(**keys)
    if paint:
        paint(hu, x, y)
    return hu.round().astype(np.int16)


def vessels(hu, x, y):
    """Five arteries of 4 mm, 250 HU, in every slice."""
    for a, b in ((0, -20), (25, 0), (-25, 0), (10, 15), (-10, 15)):
        hu[:, np.hypot(x - a, y - b) < 2] = 250


def calcium(hu, x, y):
    """Pineal gland and choroid plexus: large and bright, in three slices of ten."""
    for a, b in ((0, 10), (15, 25), (-15, 25)):
        hu[4:7, np.hypot(x - a, y - b) < 5] = 220


def bleeding(hu, x, y):
    hu[2:9, np.hypot(x - 25, y) < 20] = 85


def test_vessels_are_seen_and_nothing_else():
    assert brightness(volume(), PIXEL).median == 0
    assert brightness(volume(calcium), PIXEL).median == 0
    assert brightness(volume(bleeding), PIXEL).median == 0
    assert brightness(volume(vessels), PIXEL).median > 0.004


def test_a_little_in_three_quarters_of_the_slices_is_suspected_too():
    def faint(hu, x, y):
        hu[1:, np.hypot(x, y + 20) < 1.7] = 250

    bright = brightness(volume(faint), PIXEL)
    assert 0.0003 <= bright.quartile <= bright.median < 0.002 and bright.suspected(0.002, 0.15)
    assert not bright.suspected(0.002, 1.0), "the quartile alone tells"
    assert not brightness(volume(calcium), PIXEL).suspected(0.002, 0.15)


def test_without_a_closed_skull_there_is_no_evidence():
    assert np.isnan(brightness(np.full((5, 64, 64), 30, np.int16), PIXEL).median)
    assert np.isnan(brightness(volume(slices=1), PIXEL).median)


@pytest.mark.parametrize("paint", [None, vessels])
def test_it_is_a_remark_and_sets_nothing_aside(tmp_path, make_slice, save_slice, ingest_params, read_in_process, paint):
    hu = volume(paint)
    for n, picture in enumerate(hu, start=1):
        save_slice(make_slice(number=n, hu=picture, PixelSpacing=list(PIXEL)), tmp_path / "d" / f"{n}")
    report = read_in_process(tmp_path / "d", ingest_params)
    assert set(report.account["reason"]) == {"used"}
    assert report.series["contrast_suspected"].tolist() == [paint is not None]
    found = remarks(report.series.to_dict("records")[0])
    assert [r.split(":")[0] for r in found] == (["contrast agent suspected"] if paint else [])
