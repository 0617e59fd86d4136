"""Settings that are off by default: what each changes, and what it must not change."""

from __future__ import annotations

import dataclasses
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import killed_training
import numpy as np
import pytest
import tiny

from ich_pipeline.config import NetworkParams, TrainingParams
from ich_pipeline.core.errors import InputError
from ich_pipeline.training.backbones import build_backbone, freeze
from ich_pipeline.training.backend import keras
from ich_pipeline.training.batch_norm import re_estimate
from ich_pipeline.training.fit import FitResult, fit, start_network
from ich_pipeline.training.network import Network, NetworkSpec
from ich_pipeline.windowing.windows import Window

WINDOWS = (Window("brain", 40, 80), Window("subdural", 80, 200), Window("stroke", 40, 40))
SPEC = NetworkSpec("calmnet", 32, WINDOWS, ("any", "left", "right"), "none", "float32", 0.9, 5)
SLICES = killed_training.spots(24)
STEPS = 6


def settings(**changes: Any) -> NetworkParams:
    """Six steps."""
    base = NetworkParams(image_size=32, epochs=2, batch_size=8, learning_rate=0.002, weights="none")
    return base.model_copy(update=changes)


def shared(**changes: Any) -> TrainingParams:
    base = killed_training.settings(Path())[1]
    plain = {"optimizer": "adam", "accumulate": 1, "batch_norm_batches": 0, "validations": 1}
    return base.model_copy(update={**plain, **changes})


def trained(
    training: TrainingParams, spec: NetworkSpec = SPEC, network: NetworkParams | None = None, **more: Any
) -> tuple[Network, FitResult]:
    spec = dataclasses.replace(spec, dtype=training.dtype)
    made = start_network(spec, SLICES, training)
    return made, fit(made, SLICES, SLICES, network or settings(), training, **more)


@pytest.fixture(scope="module")
def plain() -> tuple[Network, FitResult]:
    return trained(shared())


def differences(ours: Network, theirs: Network) -> float:
    pairs = zip(ours.model.get_weights(), theirs.model.get_weights(), strict=True)
    return max(float(np.abs(a - b).max()) for a, b in pairs)


@pytest.mark.parametrize("optimizer", ["adam", "nesterov"])
def test_parts_of_a_batch_add_up_to_the_batch(plain: tuple[Network, FitResult], optimizer: str) -> None:
    whole = plain if optimizer == "adam" else trained(shared(optimizer=optimizer))
    parts = trained(shared(optimizer=optimizer, accumulate=4))
    assert differences(parts[0], whole[0]) < 1e-4
    assert parts[1].best.loss == pytest.approx(whole[1].best.loss, abs=1e-5)


def test_xla_computes_the_same(plain: tuple[Network, FitResult]) -> None:
    compiled = trained(shared(jit_compile=True))
    assert differences(compiled[0], plain[0]) < 1e-3
    assert compiled[1].best.loss == pytest.approx(plain[1].best.loss, abs=1e-4)


@pytest.mark.parametrize("dtype", ["mixed_bfloat16", "mixed_float16"])
def test_mixed_precision_learns_alike(plain: tuple[Network, FitResult], dtype: str) -> None:
    network, result = trained(shared(dtype=dtype))
    assert result.best.loss == pytest.approx(plain[1].best.loss, rel=0.05)
    assert {weight.dtype.name for weight in network.model.get_weights()} == {"float32"}
    backbone = network.model.get_layer("backbone")
    assert backbone.output.dtype == dtype.removeprefix("mixed_")


@pytest.mark.long  # two trainings on two devices
def test_two_devices_share_a_batch_and_resume(plain: tuple[Network, FitResult], tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from functools import partial; import ich_pipeline, tensorflow as tf\n"
        "cpu = tf.config.list_physical_devices('CPU')[0]\n"
        "tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)\n"
        "from ich_pipeline.training import devices, fit\n"
        "fit.strategy = partial(devices.strategy, kind='CPU')\n"
        "import test_options as t\n"
        "from ich_pipeline.training.checkpoint import Checkpoint\n"
        "def three(items, words, total):\n"
        "    for count, item in enumerate(items):\n"
        "        if count == 3: raise KeyboardInterrupt\n"
        "        yield item\n"
        "keeping = lambda: Checkpoint(Path(sys.argv[1]) / 'state', 0)\n"
        "try: t.trained(t.shared(gpus='all'), track=three, checkpoint=keeping())\n"
        "except KeyboardInterrupt: assert keeping().load().step == 3\n"
        "network, result = t.trained(t.shared(gpus='all'), track=three, checkpoint=keeping())\n"
        "assert network.strategy.num_replicas_in_sync == 2\n"
        "network.save(Path(sys.argv[1])); print(result.best.loss)"
    )
    told = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path)], env=surroundings(), capture_output=True, text=True
    )
    assert told.returncode == 0, told.stderr[-3000:]
    assert differences(Network.load(tmp_path), plain[0]) < 1e-4
    assert float(told.stdout.split()[-1]) == pytest.approx(plain[1].best.loss, abs=1e-5)


def surroundings(**more: str) -> dict[str, str]:
    """An environment in which a child finds these tests and the project."""
    path = [str(Path(__file__).parent), *(p for p in sys.path if p)]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(path), **more}


def test_one_gpu_is_no_strategy_and_shares_must_be_whole() -> None:
    assert start_network(SPEC, SLICES, shared(gpus="all")).strategy is None, "no GPU here, or one"
    with pytest.raises(InputError, match=r"calmnet.batch_size 8 cannot be shared by 1 GPUs in 3 parts"):
        trained(shared(accumulate=3))


def test_frozen_layers_by_share_and_by_name(tmp_path: Path) -> None:
    backbone = build_backbone("tinynet", 32, "none", "float32")
    names = [layer.name for layer in backbone.layers]

    def frozen(layers: float | str) -> list[str]:
        freeze(backbone, "tinynet", layers)
        return [layer.name for layer in backbone.layers if not layer.trainable]

    assert frozen(0.0) == [] and frozen(1.0) == names and frozen(0.5) == names[: round(len(names) / 2)]
    assert frozen("conv2d_1") == names[: names.index("conv2d_1") + 1]
    with pytest.raises(InputError, match=r"networks.tinynet.frozen_layers 'conv_1' is no layer of tinynet.*conv2d_1"):
        freeze(backbone, "tinynet", "conv_1")


def test_what_is_frozen_stays_as_it_was(tmp_path: Path) -> None:
    start = build_backbone("tinynet", 32, "none", "float32")
    start.save_weights(tmp_path / "w.weights.h5")
    spec = dataclasses.replace(SPEC, architecture="tinynet", weights=str(tmp_path / "w.weights.h5"))
    few = settings(weights=spec.weights, frozen_layers="conv2d_1", frozen_epochs=1.0)
    network, _ = trained(shared(optimizer="adamw", weight_decay=0.1), spec, few)
    moved = {}
    for layer, before in zip(network.model.get_layer("backbone").layers, start.layers, strict=True):
        if layer.weights:
            pairs = zip(layer.get_weights(), before.get_weights(), strict=True)
            moved[layer.name] = [not np.array_equal(a, b) for a, b in pairs]
    below = ["conv2d", "batch_normalization", "conv2d_1"]
    assert not any(any(moved[name]) for name in below), "neither weights nor statistics move below"
    assert all(all(moved[name]) for name in moved if name not in below)
    # In the first passes only the head moves.
    network, _ = trained(shared(), spec, few.model_copy(update={"epochs": 1.0}))
    for ours, theirs in zip(network.model.get_layer("backbone").get_weights(), start.get_weights(), strict=True):
        np.testing.assert_array_equal(ours, theirs)
    assert np.abs(network.model.get_layer("head").get_weights()[0]).max() > 0


def test_re_estimated_statistics_are_those_of_the_batches_together() -> None:
    network = Network.build(dataclasses.replace(SPEC, architecture="tinynet"))
    backbone = network.model.get_layer("backbone")
    hu = SLICES.hu[:].astype(np.float32)
    trainable = [w.numpy() if hasattr(w, "numpy") else np.asarray(w) for w in backbone.trainable_weights]
    re_estimate(network.model, backbone, [hu[:8], hu[8:16], hu[16:]])
    first = next(layer for layer in backbone.layers if isinstance(layer, keras.layers.BatchNormalization))
    before = keras.Model(backbone.inputs, first.input)
    channels = network.model.get_layer("preprocess")(network.model.get_layer("windows")(hu))
    activation = np.asarray(before(channels), np.float64)
    np.testing.assert_allclose(np.asarray(first.moving_mean), activation.mean((0, 1, 2)), rtol=1e-3, atol=1e-5)
    np.testing.assert_allclose(np.asarray(first.moving_variance), activation.var((0, 1, 2)), rtol=1e-3, atol=1e-5)
    assert first.momentum == 0.9
    for before_, after in zip(trainable, backbone.trainable_weights, strict=True):
        np.testing.assert_array_equal(before_, np.asarray(after))


def test_re_estimating_does_not_disturb_the_training() -> None:
    spec = dataclasses.replace(SPEC, architecture="tinynet", batch_norm_momentum=0.999)
    with_it, better = trained(shared(batch_norm_batches=3), spec)
    without, _ = trained(shared(), spec)
    for ours, theirs in zip(with_it.model.trainable_weights, without.model.trainable_weights, strict=True):
        np.testing.assert_array_equal(np.asarray(ours), np.asarray(theirs))
    layers = [x for x in with_it.model.get_layer("backbone").layers if isinstance(x, keras.layers.BatchNormalization)]
    # With so slow an average the statistics would still be where they began, at 0 and 1.
    assert min(float(np.abs(np.asarray(x.moving_mean)).max()) for x in layers) > 0.01
    assert np.isfinite(better.best.val_loss)


@pytest.mark.parametrize("function", ["LINEAR_EXACT", "LINEAR", "SIGMOID"])
def test_learnt_windows_begin_at_the_given_ones(function: str) -> None:
    windows = tuple(w._replace(function=function) for w in WINDOWS)
    fixed = Network.build(dataclasses.replace(SPEC, windows=windows))
    learning = Network.build(dataclasses.replace(SPEC, windows=windows, trainable_windows=True))
    hu = SLICES.hu[:4].astype(np.float32)
    ours, theirs = (np.asarray(n.model.get_layer("windows")(hu)) for n in (learning, fixed))
    np.testing.assert_allclose(ours, theirs, atol=1e-6)
    assert [w.name for w in learning.windows()] == ["brain", "subdural", "stroke"]
    for one, given in zip(learning.windows(), windows, strict=True):
        assert one[1:3] == pytest.approx(given[1:3]) and one.function == function


def test_learnt_windows_move_are_saved_and_served(tmp_path: Path) -> None:
    spec = dataclasses.replace(SPEC, trainable_windows=True, windows=(*WINDOWS[:2], Window("s", 40, 40, "SIGMOID")))
    network, result = trained(shared(), spec)
    assert all(a[1:3] != b[1:3] for a, b in zip(network.windows(), spec.windows, strict=True))
    network.save(tmp_path)
    loaded = Network.load(tmp_path)
    assert loaded.windows() == network.windows() and loaded.spec == network.spec
    np.testing.assert_array_equal(loaded.probabilities(SLICES.hu), result.validation_probabilities)
    # The layer computes what the learnt windows mean as plain windows.
    from ich_pipeline.windowing.windows import window_channels

    hu = SLICES.hu[:4]
    layer = np.asarray(loaded.model.get_layer("windows")(hu.astype(np.float32)))
    np.testing.assert_allclose(layer, window_channels(hu, loaded.windows()), atol=1e-5)


@pytest.mark.parametrize("count", [1, 2, 5])
def test_any_number_of_windows_makes_three_colours(count: int, tmp_path: Path) -> None:
    windows = tuple(Window(f"w{k}", 30 + 10 * k, 80) for k in range(count))
    spec = dataclasses.replace(SPEC, windows=windows)
    network = Network.build(spec)
    mix: Any = network.model.get_layer("preprocess")
    np.testing.assert_allclose(np.asarray(mix.mix).sum(axis=0), 1, rtol=1e-6)
    hu = np.full((1, 32, 32), 45, np.int16)
    channels = np.asarray(network.model.get_layer("windows")(hu.astype(np.float32)))
    expected = tiny.preprocess_input(channels @ np.asarray(mix.mix) * 255)
    np.testing.assert_allclose(np.asarray(mix(channels)), expected, rtol=1e-5)
    network.save(tmp_path)
    np.testing.assert_array_equal(Network.load(tmp_path).probabilities(hu), network.probabilities(hu))
    assert network.run_batched(network.pooled_features(), hu)[0].shape == (1, 24)
