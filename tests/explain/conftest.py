"""A small real network with a head that is not zero, and settings."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from ich_pipeline.config import ExplainParams, load_params
from ich_pipeline.training.network import Network, NetworkSpec
from ich_pipeline.windowing.windows import Window

PHANTOM = Path(__file__).parents[2] / "ich_pipeline" / "profiles" / "phantom.yaml"


@pytest.fixture(scope="session")
def explain() -> ExplainParams:
    """The phantom profile's settings, for the small network."""
    return load_params(PHANTOM).explain.model_copy(update={"architecture": "vgg16"})


@pytest.fixture(scope="session")
def network() -> Network:
    """VGG16 at 64 pixels (last map 2 × 2), random weights."""
    params = load_params(PHANTOM)
    a, b, c = (Window(w.name, w.center, w.width) for w in params.windowing.windows)
    spec = NetworkSpec("vgg16", 64, (a, b, c), params.label_set.columns, "none", "float32", 0.9, 3)
    made = Network.build(spec)
    head = made.model.get_layer("head")
    kernel, bias = head.get_weights()
    random = np.random.default_rng(5)
    head.set_weights([random.normal(0, 0.03, kernel.shape), random.normal(0, 0.3, bias.shape)])
    return made


@pytest.fixture(scope="session")
def slices() -> np.ndarray:
    """Three random slices in HU."""
    return np.random.default_rng(1).integers(-20, 180, (3, 64, 64)).astype(np.int16)
