"""Plain Keras 3: what TensorFlow saved, JAX reads to the same answers; and JAX trains by the same code."""

from __future__ import annotations

import dataclasses
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from test_options import SLICES, SPEC, WINDOWS, differences, shared, surroundings, trained

from ich_pipeline.training.backbones import build_backbone
from ich_pipeline.training.fit import FitResult
from ich_pipeline.training.network import Network
from ich_pipeline.windowing.windows import prepare

pytest.importorskip("jax", reason="jax is not installed: `pip install jax` to compare the backends")

PREDICT = (
    "import sys, numpy as np; from pathlib import Path; from ich_pipeline.training.network import Network\n"
    "from ich_pipeline.training.backend import keras; assert keras.backend.backend() == 'jax'\n"
    "f = Path(sys.argv[1]); network = Network.load(f)\n"
    "np.save(f / 'p.npy', network.probabilities(np.load(f / 'hu.npy')))\n"
)
TRAIN = (
    "import sys; from pathlib import Path; from ich_pipeline.training.backend import keras\n"
    "assert keras.backend.backend() == 'jax'\n"
    "import numpy as np, test_jax as t\n"
    "network, result = t.few_steps(Path(sys.argv[1]), sys.argv[2])\n"
    "network.save(Path(sys.argv[1])); print(result.best.loss)\n"
)


def few_steps(folder: Path, architecture: str) -> tuple[Network, FitResult]:
    """Six steps from the weights in a folder, windows and all."""
    path = str(folder / "start.weights.h5")
    spec = dataclasses.replace(SPEC, architecture=architecture, weights=path, trainable_windows=True)
    return trained(shared(batch_norm_batches=2), spec)


def under_jax(code: str, folder: Path, *more: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", code, str(folder), *more],
        env=surroundings(KERAS_BACKEND="jax", JAX_PLATFORMS="cpu"),
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


# The Inceptions take no picture of less than 75 pixels; 80 as in the phantom profile.
@pytest.mark.parametrize(
    ("architecture", "size"),
    [
        pytest.param("vgg16", 32, marks=pytest.mark.long),
        pytest.param("resnet50", 32, marks=pytest.mark.long),
        pytest.param("inception_v3", 80, marks=pytest.mark.long),
        pytest.param("inception_resnet_v2", 80, marks=pytest.mark.long),
    ],
)
def test_jax_gives_the_same_answers(architecture: str, size: int, tmp_path: Path) -> None:
    network = Network.build(dataclasses.replace(SPEC, architecture=architecture, image_size=size))
    kernel, _ = network.model.get_layer("head").get_weights()
    hu = prepare(SLICES.hu[:8], size, WINDOWS)
    # A head that spreads the answers over 0 to 1, so that a difference shows.
    backbone = network.model.get_layer("backbone")
    channels = network.model.get_layer("preprocess")(network.model.get_layer("windows")(hu.astype(np.float32)))
    pooled = np.asarray(backbone(channels, training=False)).mean(axis=(1, 2))
    draw = np.random.default_rng(1).normal(0, 1, kernel.shape)
    spread = pooled @ draw
    scale = 2 / np.maximum(spread.std(axis=0), 1e-9)
    network.model.get_layer("head").set_weights([draw * scale, -(spread * scale).mean(axis=0)])
    expected = network.probabilities(hu)
    assert np.ptp(expected) > 0.5
    network.save(tmp_path)
    np.save(tmp_path / "hu.npy", hu)
    under_jax(PREDICT, tmp_path)
    found = np.load(tmp_path / "p.npy")
    print(f"{architecture}: largest difference {np.abs(found - expected).max():.1e}")
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-4)


# TinyNet has dropout, of which JAX draws another.
@pytest.mark.parametrize(
    ("architecture", "near", "far"), [("calmnet", 1e-4, 1e-3), pytest.param("tinynet", 0.2, 2, marks=pytest.mark.long)]
)
def test_jax_trains_by_the_same_code(architecture: str, near: float, far: float, tmp_path: Path) -> None:
    build_backbone(architecture, 32, "none", "float32").save_weights(tmp_path / "start.weights.h5")
    loss = float(under_jax(TRAIN, tmp_path, architecture).split()[-1])
    network, result = few_steps(tmp_path, architecture)
    assert loss == pytest.approx(result.best.loss, abs=near)
    assert differences(Network.load(tmp_path), network) < far
