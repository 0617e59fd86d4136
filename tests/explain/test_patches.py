"""Spots of the strongest activation: against the network's own pooled features and maps, and by hand."""

from __future__ import annotations

import numpy as np
import pytest

from ich_pipeline.explain.patches import Firing, Patches, channels_of, cut_out, firing, strongest
from ich_pipeline.training.network import Network, NetworkSpec
from ich_pipeline.windowing.windows import Window


def test_spots_of_two_depths_and_poolings(slices):
    spec = NetworkSpec(
        "vgg16", 64, (Window("brain", 40, 80),) * 3, ("any", "epidural"), "none", "float32", 0.9, 3,
        cut="block2_pool", also_pooled=("block1_pool",), pooling=("mean", 1e-4),
    )  # fmt: skip
    network = Network.build(spec)
    found = firing(network, slices)
    pooled = network.run_batched(network.pooled_features(), slices)[0]
    assert len(found.channel_of) == pooled.shape[1]
    # The smallest share of a map is its one largest value: those features are the strengths themselves.
    largest = np.concatenate([np.arange(64, 128), np.arange(2 * 64 + 128, 2 * 64 + 256)])
    np.testing.assert_allclose(pooled[:, largest], found.strength[:, found.channel_of[largest]], rtol=1e-5, atol=1e-6)
    # 16 × 16 cells of 4 pixels in the last map, channels from 64 on.
    layer = network.model.get_layer
    maps = np.asarray(layer("backbone")(layer("preprocess")(layer("windows")(slices.astype(np.float32))))[-1])
    for n, channel in ((0, 3), (2, 100)):
        row, column = np.unravel_index(maps[n, :, :, channel].argmax(), (16, 16))
        np.testing.assert_allclose(found.at[n, 64 + channel], [(row + 0.5) / 16, (column + 0.5) / 16], atol=1e-6)


def test_channels_by_hand():
    np.testing.assert_array_equal(channels_of([2, 3], 2), [0, 1, 0, 1, 2, 3, 4, 2, 3, 4])


def test_strongest_spots_are_of_other_patients_and_shown_once():
    strength = np.array([[1.0, 9], [5, 8], [4, 7], [5, 1]], np.float32)
    at = np.arange(16, dtype=np.float32).reshape(4, 2, 2)
    found = strongest(
        Firing(np.array([0, 1, 0, 1], np.int32), strength, at), np.array([3, 0, 1], np.int32), list("aabb")
    )
    np.testing.assert_array_equal(found.channels, [1, 0])  # the order of the features; features 3 and 1 share a channel
    np.testing.assert_array_equal(found.rows, [[0, 2, -1], [1, 3, -1]])  # of equal ones the first
    np.testing.assert_array_equal(found.at[0, :2], [at[0, 1], at[2, 1]])
    assert found.share(np.array([True, False, False, True])) == 0.5
    nothing = np.zeros(0, np.int32)
    assert Patches(nothing, np.zeros((0, 3), np.int32), np.zeros((0, 3, 2), np.float32)).share(np.ones(4, bool)) is None


@pytest.mark.parametrize(("at", "middle"), [((0.5, 0.25), 42), ((0.0, 0.0), 0), ((1.0, 1.0), 99)])
def test_a_patch_has_its_spot_in_the_middle(at, middle):
    picture = np.arange(100, dtype=np.int16).reshape(10, 10)
    patch = cut_out(picture, np.array(at), 6)
    assert patch.shape == (6, 6)
    assert patch[3, 3] == {42: 52}.get(middle, middle)
    if middle == 0:
        assert (patch[:3] == 0).all()  # beyond the edge
