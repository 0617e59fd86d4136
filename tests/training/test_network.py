from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

from ich_pipeline.core.errors import InputError
from ich_pipeline.training.backbones import architecture_function, build_backbone, preprocess_input
from ich_pipeline.training.network import BATCH, WEIGHTS_FILE, Network, NetworkSpec
from ich_pipeline.windowing.windows import Window, window_channels

WINDOWS = (Window("brain", 40, 80), Window("subdural", 80, 200), Window("stroke", 40, 40))
SPEC = NetworkSpec("mobilenet", 32, WINDOWS, ("any", "a", "b"), "none", "float32", 0.9, 5)


@pytest.fixture(scope="module")
def hu() -> np.ndarray:
    return np.random.default_rng(0).integers(-20, 181, (BATCH + 5, 32, 32)).astype(np.int16)


@pytest.fixture(scope="module")
def network() -> Network:
    built = Network.build(SPEC, np.array([0.2, 0.1, 0.0]))
    kernel, bias = built.model.get_layer("head").get_weights()
    draw = np.random.default_rng(1).normal(0, 0.5, kernel.shape)
    built.model.get_layer("head").set_weights([draw, bias])
    return built


@pytest.mark.parametrize(
    ("name", "function"),
    [("vgg16", "VGG16"), ("resnet50", "ResNet50"), ("inception_v3", "InceptionV3"), ("DenseNet121", "DenseNet121"),
     ("inception_resnet_v2", "InceptionResNetV2"), ("efficientnet_b0", "EfficientNetB0"), ("mobilenet_v3_small", "MobileNetV3Small")],
)  # fmt: skip
def test_names_match_whatever_case_and_underscores(name: str, function: str) -> None:
    assert architecture_function(name) is getattr(keras.applications, function)
    assert callable(preprocess_input(name))


def test_an_unknown_name_lists_near_ones() -> None:
    with pytest.raises(InputError, match=r"'resnet5'.*ResNet50"):
        architecture_function("resnet5")


def test_a_picture_too_small_is_said() -> None:
    with pytest.raises(InputError, match=r"inception_v3.image_size 40.*75"):
        build_backbone("inception_v3", 40, "none", "float32")


def test_every_network_of_keras_has_its_preprocessing() -> None:
    names = [name for name, value in vars(keras.applications).items() if name[:1].isupper() and callable(value)]
    assert len(names) > 30
    for name in names:
        assert callable(preprocess_input(name)), name


def test_weights_that_would_read_another_input_are_refused(tmp_path: Path) -> None:
    """Keras puts a layer more into EfficientNetB0 to B7 where it loads ImageNet's weights."""
    with pytest.raises(InputError, match=r"networks\.efficientnet_b0\.weights .*KERAS_HOME"):
        build_backbone("efficientnet_b0", 32, str(tmp_path / "notop.weights.h5"), "float32")


def test_before_training_the_answer_is_the_prevalence() -> None:
    answer = Network.build(SPEC, np.array([0.2, 0.1, 0.0])).probabilities(np.zeros((2, 32, 32), np.int16))
    np.testing.assert_allclose(answer, [[0.2, 0.1, 1e-4]] * 2, rtol=1e-5)


def test_windows_then_the_backbones_own_preprocessing(hu: np.ndarray) -> None:
    spec = dataclasses.replace(SPEC, architecture="vgg16")
    model = Network.build(spec).model
    inner = keras.Model(model.inputs, model.get_layer("preprocess").output)
    expected: Any = keras.applications.vgg16.preprocess_input(window_channels(hu[:2], WINDOWS) * np.float32(255))
    np.testing.assert_allclose(np.asarray(inner(hu[:2].astype(np.float32))), expected, atol=1e-4)


def test_batch_norm_momentum_is_the_setting(network: Network) -> None:
    layers = [x for x in network.model.get_layer("backbone").layers if isinstance(x, keras.layers.BatchNormalization)]
    assert layers and {layer.momentum for layer in layers} == {0.9}


def test_save_and_load_give_equal_bytes_and_probabilities(network: Network, hu: np.ndarray, tmp_path: Path) -> None:
    first, second = tmp_path / "a", tmp_path / "b"
    first.mkdir()
    second.mkdir()
    network.save(first)
    loaded = Network.load(first)
    loaded.save(second)
    assert loaded.spec == SPEC
    for name in (WEIGHTS_FILE, "network.json"):
        assert (first / name).read_bytes() == (second / name).read_bytes()
    np.testing.assert_array_equal(network.probabilities(hu), loaded.probabilities(hu))
    # And with a network of another kind in between, whose layers would take the automatic names.
    Network.build(dataclasses.replace(SPEC, architecture="vgg16"))
    np.testing.assert_array_equal(network.probabilities(hu), Network.load(first).probabilities(hu))


def test_weights_of_another_network_are_refused(network: Network, tmp_path: Path) -> None:
    network.save(tmp_path)
    spec_file = tmp_path / "network.json"
    spec_file.write_text(spec_file.read_text().replace('"mobilenet"', '"vgg16"'))
    with pytest.raises(InputError, match="does not fit"):
        Network.load(tmp_path)
    spec_file.write_text(spec_file.read_text().replace("network/1", "network/0"))
    with pytest.raises(InputError, match="network/0"):
        Network.load(tmp_path)


def test_a_slices_answer_does_not_depend_on_its_company(network: Network, hu: np.ndarray) -> None:
    together = network.probabilities(hu)
    np.testing.assert_array_equal(together[7:8], network.probabilities(hu[7:8]))
    np.testing.assert_array_equal(together[::-1], network.probabilities(hu[::-1]))
    np.testing.assert_array_equal(together, network.probabilities(hu.astype(np.float32)))
    assert network.probabilities(hu[:0]).shape == (0, 3)


def test_given_weights_are_used_or_refused(tmp_path: Path) -> None:
    no_weights: Any = None  # Keras types it as text only
    donor = keras.applications.MobileNet(weights=no_weights, include_top=False, input_shape=(32, 32, 3))
    path = tmp_path / "donor.weights.h5"
    donor.save_weights(path)
    taken = build_backbone("mobilenet", 64, str(path), "float32")
    for ours, theirs in zip(taken.get_weights(), donor.get_weights(), strict=True):
        np.testing.assert_array_equal(ours, theirs)
    missing = keras.Model(donor.inputs, donor.layers[-4].output)
    missing.save_weights(tmp_path / "missing.weights.h5")
    with pytest.raises(InputError, match=r"missing.weights.h5 does not fit mobilenet"):
        build_backbone("mobilenet", 32, str(tmp_path / "missing.weights.h5"), "float32")
    donor.set_weights([weight * np.nan for weight in donor.get_weights()])
    donor.save_weights(path)
    with pytest.raises(InputError, match="not in the file, or not numbers"):
        build_backbone("mobilenet", 32, str(path), "float32")
    with pytest.raises(InputError, match=r"networks.mobilenet.weights names .*nowhere"):
        build_backbone("mobilenet", 32, str(tmp_path / "nowhere.h5"), "float32")
    with pytest.raises(InputError, match="does not fit vgg16"):
        build_backbone("vgg16", 32, str(path), "float32")
    (tmp_path / "broken.weights.h5").write_bytes(b"nothing")
    with pytest.raises(InputError, match="broken"):
        build_backbone("mobilenet", 32, str(tmp_path / "broken.weights.h5"), "float32")
