"""CAM against sums done by hand, LayerCAM against finite differences, constant maps."""

from __future__ import annotations

import numpy as np
import pytest

from ich_pipeline.explain.attention import Explainer, normalise


def test_cam_is_the_head_on_the_last_maps(network, slices, explain):
    explainer = Explainer(network, explain.model_copy(update={"method": "cam"}))
    maps, pooled = explainer.raw_maps(slices)
    model = network.model
    channels = model.get_layer("preprocess")(model.get_layer("windows")(slices.astype(np.float32)))
    last = np.asarray(model.get_layer("backbone")(channels, training=False))
    kernel, bias = model.get_layer("head").get_weights()
    by_hand = np.zeros((3, kernel.shape[1], *last.shape[1:3]))
    for k in range(kernel.shape[1]):
        for feature in range(kernel.shape[0]):
            by_hand[:, k] += kernel[feature, k] * last[..., feature]
    np.testing.assert_allclose(maps, by_hand, rtol=2e-4, atol=1e-3)  # float32, graph against eager
    np.testing.assert_allclose(pooled, last.mean(axis=(1, 2)), rtol=2e-4, atol=1e-4)
    # Exact for global average pooling: mean over space plus bias is the logit.
    probabilities = network.probabilities(slices)
    np.testing.assert_allclose(
        maps.mean(axis=(2, 3)) + bias, np.log(probabilities / (1 - probabilities)), rtol=2e-3, atol=2e-3
    )


def test_auto_takes_layercam_where_the_last_map_is_small(network, slices, explain):
    found = Explainer(network, explain).explain(slices)
    assert found.method.startswith("LayerCAM")
    assert min(found.maps.shape[2:]) >= explain.minimum_map
    assert found.localises.any()
    shown = found.maps[found.localises]
    assert shown.min() >= 0
    np.testing.assert_array_equal(shown.max(axis=(1, 2)), 1)


def test_gradients_match_finite_differences(network, slices, explain):
    explainer = Explainer(network, explain)
    activation, _ = explainer._forward.predict_on_batch(slices[:1].astype(np.float32))
    activation = np.repeat(np.asarray(activation), 2, axis=0)
    kernel = explainer.kernel.T[[1, 2]]
    assert explainer._gradients is not None
    gradients = explainer._gradients(activation, kernel)
    # Along the gradient, where the activation is positive: at zeros a max pooling has no derivative.
    direction = np.where(activation > 0.2, gradients, 0)
    direction /= np.linalg.norm(direction)
    step = 1e-2 * activation.std()
    ahead, behind = (
        (np.asarray(explainer.tail(activation + sign * step * direction)) * kernel).sum(axis=1) for sign in (1, -1)
    )
    np.testing.assert_allclose((gradients * direction).sum(axis=(1, 2, 3)), (ahead - behind) / (2 * step), rtol=0.01)


def test_a_map_does_not_depend_on_its_batch(network, slices, explain):
    explainer = Explainer(network, explain)
    alone, together = explainer.explain(slices[1:2]), explainer.explain(slices)
    np.testing.assert_allclose(alone.maps[0], together.maps[1], atol=1e-5)
    wanted = np.zeros((3, 6), bool)
    wanted[1, 2] = True
    only = explainer.explain(slices, wanted)
    np.testing.assert_allclose(only.maps[1, 2], together.maps[1, 2], atol=1e-5)
    assert only.localises.sum() == 1 and not only.maps[~wanted].any()


@pytest.mark.parametrize(
    "values", [np.zeros((1, 1, 4, 4)), np.full((1, 1, 4, 4), 3.0), np.full((1, 1, 1, 1), 5.0), -np.ones((1, 1, 2, 2))]
)
def test_a_constant_map_locates_nothing(values):
    maps, localises = normalise(values.astype(np.float32))
    assert not localises.any()
    assert not maps.any()


def test_wrong_size_is_refused(network, explain):
    with pytest.raises(ValueError, match="64 × 64"):
        Explainer(network, explain).explain(np.zeros((2, 32, 32), np.int16))


def test_a_layer_that_strided_1x1_convolutions_read_is_passed_over():
    import keras

    from ich_pipeline.explain.attention import layer_to_show

    backbone = keras.applications.ResNet50(include_top=False, weights=None, input_shape=(64, 64, 3))  # pyright: ignore[reportArgumentType]
    # conv3_block4_out (8 × 8) is the deepest wide enough, but the next stage reads one cell in four of it.
    assert layer_to_show(backbone, 7)[0] == "conv3_block3_out"


def test_a_layer_by_name(network, slices, explain):
    from ich_pipeline.core.errors import InputError
    from ich_pipeline.explain.trials import layers_to_try

    finer = explain.model_copy(update={"method": "hirescam", "layer": "block2_conv2"})
    found = Explainer(network, finer).explain(slices)
    assert found.method == "HiResCAM of block2_conv2, 32 × 32"
    with pytest.raises(InputError, match=r"explain.layer 'no_such'"):
        Explainer(network, finer.model_copy(update={"layer": "no_such"}))
    # At 64 pixels every fourth is 16 cells; block3's map has as many, so that nothing finer is tried.
    assert layers_to_try(network, 4) == ("block5_conv3", "block4_conv3", "block3_conv3")
    assert layers_to_try(network, 16) == ("block3_conv3",)


def test_random_weights_are_others_and_always_the_same(network, slices):
    from ich_pipeline.explain.beside import with_random_weights

    one, two = with_random_weights(network, 3), with_random_weights(network, 3)
    learned, drawn = network.model.get_weights(), one.model.get_weights()
    assert not any(np.array_equal(a, b) for a, b in zip(learned, drawn, strict=True) if a.ndim > 1)
    for a, b in zip(drawn, two.model.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)
    assert one.probabilities(slices).std() > 0
