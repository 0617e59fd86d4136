"""Where a network may begin and end: cut layers, pooling, model files, other networks, files of other projects."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import keras
import numpy as np
import pytest

from ich_pipeline.core.errors import InputError
from ich_pipeline.explain.attention import class_activation
from ich_pipeline.training.backbones import build_backbone, cut_backbone
from ich_pipeline.training.layers import Pool, top_cells
from ich_pipeline.training.network import Network, NetworkSpec
from ich_pipeline.windowing.windows import Window

WINDOWS = (Window("brain", 40, 80), Window("subdural", 80, 200), Window("wide", 40, 380))
SPEC = NetworkSpec("tinynet", 32, WINDOWS, ("any", "epidural"), "none", "float32", 0.9, 3)


def hu(seed: int = 0, count: int = 5, size: int = 32) -> np.ndarray:
    return np.random.default_rng(seed).integers(-150, 230, (count, size, size)).astype(np.int16)


def test_a_cut_network_ends_where_it_is_cut() -> None:
    whole = build_backbone("tinynet", 32, "none", "float32")
    cut = cut_backbone(whole, "tinynet", "re_lu_1", ("re_lu",))
    assert [tuple(output.shape[1:]) for output in cut.outputs] == [(16, 16, 8), (8, 8, 16)]
    assert len(cut.get_weights()) < len(whole.get_weights())
    with pytest.raises(
        InputError, match=r"networks\.tinynet\.cut 're_lu_9' is no layer of tinynet; did you mean re_lu"
    ):
        cut_backbone(whole, "tinynet", "re_lu_9", ())


def test_only_what_lies_below_the_cut_is_built() -> None:
    used = ("conv_pw_1_relu", "conv_pw_2_relu")
    part = build_backbone("mobilenet", 32, "none", "float32", used)
    assert len(part.layers) < 20
    cuts = [
        cut_backbone(backbone, "mobilenet", used[1], used[:1])
        for backbone in (part, build_backbone("mobilenet", 32, "none", "float32"))
    ]
    ours, theirs = ([(layer.name, type(layer), layer.output.shape) for layer in cut.layers] for cut in cuts)
    assert ours == theirs
    # A name that Keras counted may be another layer's while it builds.
    keras.layers.ReLU()(keras.Input((2,)))
    named = build_backbone("tinynet", 32, "none", "float32", ("re_lu_1",))
    assert len(named.layers) == len(build_backbone("tinynet", 32, "none", "float32").layers)


def test_pools_against_a_sort() -> None:
    maps = np.random.default_rng(0).normal(size=(3, 5, 4, 6)).astype(np.float32)
    found = np.asarray(Pool(("mean", 0.2))(maps))
    flat = maps.reshape(3, 20, 6)
    largest = np.sort(flat, axis=1)[:, -top_cells(20, 0.2) :]
    assert top_cells(20, 0.2) == 4 and top_cells(20, 0.001) == 1
    assert np.allclose(found, np.concatenate([flat.mean(axis=1), largest.mean(axis=1)], axis=1), atol=1e-6)


def test_class_activation_adds_up_to_the_logit() -> None:
    rng = np.random.default_rng(1)
    maps = rng.random((4, 7, 6, 5)).astype(np.float32)
    kernel = rng.normal(size=(10, 3)).astype(np.float32)
    features = np.asarray(Pool(("mean", 0.1))(maps))
    cam = class_activation(maps, kernel, ("mean", 0.1))
    assert cam.shape == (4, 3, 7, 6)
    assert np.allclose(cam.mean(axis=(2, 3)), features @ kernel, atol=1e-4)


@pytest.mark.parametrize("pooling", [("mean",), ("mean", 0.05)])
def test_a_cut_network_is_saved_and_read(tmp_path: Path, pooling: tuple[str | float, ...]) -> None:
    network = Network.build(dataclasses.replace(SPEC, cut="re_lu_1", pooling=pooling))
    network.save(tmp_path)
    again = Network.load(tmp_path)
    assert again.spec == network.spec
    assert np.array_equal(again.probabilities(hu()), network.probabilities(hu()))


def test_a_network_begins_with_another_of_this_project_at_another_size(tmp_path: Path) -> None:
    before = Network.build(dataclasses.replace(SPEC, image_size=64, pooling=("mean", 0.05)))
    before.save(tmp_path)
    after = Network.build(dataclasses.replace(SPEC, weights=str(tmp_path), cut="re_lu_1", seed=99))
    kernels = [network.model.get_layer("backbone").get_layer("conv2d").get_weights()[0] for network in (before, after)]
    assert np.array_equal(*kernels)
    other = tuple(Window(w.name, w.center + 10, w.width) for w in WINDOWS)
    with pytest.raises(InputError, match="reads other windows"):
        Network.build(dataclasses.replace(SPEC, weights=str(tmp_path), windows=other))
    with pytest.raises(InputError, match="is tinynet: name a network of the same architecture"):
        Network.build(dataclasses.replace(SPEC, weights=str(tmp_path), architecture="calmnet"))


def test_any_keras_model_is_a_backbone(tmp_path: Path) -> None:
    """A file of anybody's, its input in 0..1 and of any size; what it answers is kept without the file."""
    inputs = keras.Input((None, None, 3))
    x = keras.layers.Conv2D(4, 3, strides=2, activation="relu", name="first")(inputs)
    x = keras.layers.Conv2D(6, 3, activation="relu")(x)
    model = keras.Model(inputs, x)
    model.save(tmp_path / "own.keras")
    spec = dataclasses.replace(SPEC, architecture="own", weights=str(tmp_path / "own.keras"), input_range=(0.0, 1.0))
    network = Network.build(spec)
    channels = np.stack([np.clip((hu() - (w.center - w.width / 2)) / w.width, 0, 1) for w in WINDOWS], -1)
    expected = np.asarray(model(channels.astype(np.float32))).mean(axis=(1, 2))
    found = network.run_batched(network.pooled_features(), hu())[0]
    assert np.allclose(found, expected, atol=1e-5)
    (tmp_path / "kept").mkdir()
    network.save(tmp_path / "kept")
    (tmp_path / "own.keras").unlink()
    again = Network.load(tmp_path / "kept")
    assert np.array_equal(again.probabilities(hu()), network.probabilities(hu()))
    with pytest.raises(InputError, match=r"own\.keras, which is no file"):
        Network.build(spec)
    (tmp_path / "own.keras").write_bytes(b"no model")
    with pytest.raises(InputError, match="is no Keras model that reads pictures of 32 × 32 × 3"):
        Network.build(spec)


def test_a_model_file_with_code_in_it_is_refused(tmp_path: Path) -> None:
    inputs = keras.Input((None, None, 3))
    keras.Model(inputs, keras.layers.Lambda(lambda x: x * 2)(inputs)).save(tmp_path / "code.keras")
    spec = dataclasses.replace(SPEC, weights=str(tmp_path / "code.keras"), input_range=(0.0, 1.0))
    with pytest.raises(InputError, match="is no Keras model"):
        Network.build(spec)


def test_a_file_in_the_form_of_radimagenet_is_read(tmp_path: Path) -> None:
    """Its published files are whole notop models in Keras' older HDF5 form."""
    source = keras.applications.MobileNet(weights=None, include_top=False, input_shape=(64, 64, 3))  # type: ignore[arg-type]
    source.save(tmp_path / "RadImageNet-MobileNet_notop.h5")
    taken = build_backbone("mobilenet", 32, str(tmp_path / "RadImageNet-MobileNet_notop.h5"), "float32")
    assert all(np.array_equal(a, b) for a, b in zip(taken.get_weights(), source.get_weights(), strict=True))
