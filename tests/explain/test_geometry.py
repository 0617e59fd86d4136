"""Where cells lie: by hand, and by what an impulse in the picture moves in the real layers."""

from __future__ import annotations

import numpy as np
import pytest

from ich_pipeline.config import load_params
from ich_pipeline.explain.attention import layer_to_show
from ich_pipeline.explain.geometry import CellGrid, cell_grid
from ich_pipeline.training.backbones import build_backbone
from tests.explain.conftest import PHANTOM

SIZES = {name: of.image_size for name, of in load_params(PHANTOM).networks.items()}
# InceptionResNetV2 takes long to build.
FOUR = [pytest.param(n, marks=pytest.mark.long if n == "inception_resnet_v2" else ()) for n in SIZES]
OTHERS = (
    "mobilenet_v2", "mobilenet_v3_small", "densenet121", "xception", "nasnet_mobile", "efficientnet_b0",
    "efficientnet_v2_b0", "convnext_tiny", "resnet50_v2",
)  # fmt: skip


def _grid(name: str, size: int, layer: str) -> np.ndarray:
    backbone = build_backbone(name, size, "none", "float32")
    tensor = backbone.get_layer(layer).output
    return cell_grid(backbone, tensor).centres(0, tensor.shape[1]) * size


def test_centres_by_hand():
    # Three stem convolutions and two poolings without padding, two of them strided, then mixed2 at stride 8.
    np.testing.assert_allclose(_grid("inception_v3", 80, "mixed2"), 13.5 + 8 * np.arange(7))
    # Same padding everywhere: the cells tile the picture.
    np.testing.assert_allclose(_grid("vgg16", 48, "block3_conv3"), 2 + 4 * np.arange(12))
    # Padding 3 before 7 × 7 at stride 2, padding 1 before 3 × 3 at stride 2: the first centre stays on the first pixel.
    np.testing.assert_allclose(_grid("resnet50", 48, "conv2_block2_out"), 0.5 + 4 * np.arange(12))


def _against_impulses(name: str, size: int, minimum_map: int) -> tuple[float, float]:
    """Where impulses along the diagonal of a picture move a map, against where the grid puts them, away from the border.

    Returns:
        mean distance in cells, and by how much the found places are stretched.
    """
    import keras

    keras.utils.set_random_seed(3)
    backbone = build_backbone(name, size, "none", "float32")
    tensor = backbone.get_layer(layer_to_show(backbone, minimum_map)[0]).output
    cells = tensor.shape[1]
    model = keras.Model(backbone.inputs, tensor)
    random = np.random.default_rng(0)
    places = np.arange(size // 8, size - size // 8, 2)
    pictures = np.repeat(random.normal(0, 0.1, (1, size, size, 3)).astype(np.float32), len(places) + 1, axis=0)
    for picture, place in zip(pictures[1:], places, strict=True):
        picture[place, place] += 3.0
    answers = np.asarray(model.predict_on_batch(pictures))
    moved = ((answers[1:] - answers[0]) ** 2).sum(axis=-1)
    found = (moved.sum(axis=2) * np.arange(cells)).sum(axis=1) / moved.sum(axis=(1, 2))
    expected = cell_grid(backbone, tensor).at(0, (places + 0.5) / size)
    inner = (expected > 0.2 * cells) & (expected < 0.8 * cells - 1)  # near the border part of the response is cut off
    assert inner.sum() >= 5
    return float(np.abs(found - expected)[inner].mean()), float(np.polyfit(expected[inner], found[inner], 1)[0])


@pytest.mark.parametrize("name", FOUR)
def test_an_impulse_moves_the_cell_that_lies_there(name):
    distance, stretch = _against_impulses(name, SIZES[name], 7)
    assert distance < 0.25
    assert stretch == pytest.approx(1, abs=0.2)  # cells that tile the picture: 0.7 for Inception


@pytest.mark.parametrize("name", [pytest.param(n, marks=pytest.mark.long) for n in OTHERS])
def test_any_other_network(name):
    distance, stretch = _against_impulses(name, 96, 12)
    assert distance < 0.4
    assert stretch == pytest.approx(1, abs=0.2)


def test_what_changes_a_map_in_an_unknown_way_is_refused():
    import keras

    picture = keras.Input((8, 8, 1))
    model = keras.Model(picture, keras.layers.Reshape((4, 4, 4))(picture))
    with pytest.raises(ValueError, match="Reshape"):
        cell_grid(model, model.outputs[0])
    with pytest.raises(ValueError, match="no map"):
        cell_grid(model, keras.Input((2, 2, 1)))


def test_dilation_cropping_padding_and_upsampling():
    import keras

    layers = keras.layers
    picture = keras.Input((20, 24, 1))
    padded = layers.ZeroPadding2D(((1, 0), (3, 0)))(picture)  # first centres -0.5 and -2.5
    dilated = layers.Conv2D(1, 3, dilation_rate=2)(padded)  # two pixels in: 1.5 and -0.5
    cropped = layers.Cropping2D(((2, 0), (1, 0)))(dilated)  # 3.5 and 0.5
    pooled = layers.AveragePooling2D(2)(cropped)  # half a pixel on, step 2: 4 and 1
    finer = layers.UpSampling2D(2)(pooled)  # step 1: 3.5 and 0.5
    model = keras.Model(picture, finer)
    grid = cell_grid(model, finer)
    np.testing.assert_allclose(np.array(grid.first) * (20, 24), (3.5, 0.5))
    np.testing.assert_allclose(np.array(grid.step) * (20, 24), (1, 1))
    assert CellGrid.from_json(grid.to_json()) == grid
