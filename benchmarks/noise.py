"""Slices of noise, a network that trains on them, and the device that it trains on, as the training benchmarks want them."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pandas as pd

from ich_pipeline.config import NetworkParams, Params
from ich_pipeline.training.backend import keras
from ich_pipeline.training.data import CohortSlices, SliceRows
from ich_pipeline.training.fit import start_network
from ich_pipeline.training.loss import class_weights
from ich_pipeline.training.network import Network, NetworkSpec
from ich_pipeline.training.trainer import Trainer
from ich_pipeline.windowing import window_of


def noise_slices(path: Path, count: int, size: int, labels: Iterable[str]) -> CohortSlices:
    """``count`` slices (size, size) of -20 to 180 HU from a memory map at ``path``, with drawn labels."""
    np.save(path, np.random.default_rng(0).integers(-20, 181, (count, size, size), np.int16))
    hu = np.load(path, mmap_mode="r")
    truth = (np.random.default_rng(1).random((count, len(list(labels)))) < 0.3).astype(np.int8)
    rows = SliceRows(hu, np.arange(count))
    return CohortSlices(pd.DataFrame(index=range(count)), rows, np.full((count, 2), -1), truth)


def started(
    architecture: str, settings: NetworkParams, params: Params, slices: CohortSlices
) -> tuple[Network, Trainer]:
    """A network with random weights and its trainer, ready for the first step."""
    windows = tuple(window_of(window) for window in params.windowing.windows)
    labels = params.label_set.columns
    spec = NetworkSpec(architecture, settings.image_size, windows, labels, "none", params.training.dtype, 0.9, 1)
    network = start_network(spec, slices, params.training)
    trainer = Trainer(network, settings, params.training, class_weights(slices.truth, params.training.class_weight_cap))
    trainer.begin(frozen=False)
    return network, trainer


def device_name() -> str:
    """The graphics card that Keras computes on, or how many CPU cores."""
    if keras.backend.backend() == "jax":
        import jax

        device = jax.devices()[0]
        return f"{os.cpu_count()} CPU cores" if device.platform == "cpu" else device.device_kind
    found = keras.distribution.list_devices("gpu")
    if not found:
        return f"{os.cpu_count()} CPU cores"
    import tensorflow as tf

    card = tf.config.list_physical_devices("GPU")[0]
    return tf.config.experimental.get_device_details(card).get("device_name", found[0])
