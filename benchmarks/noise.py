"""Slices of noise, a network that trains on them, and the device that it trains on, as the training benchmarks want them."""

from __future__ import annotations

import math
import os
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from ich_pipeline.config import NetworkParams, Params
from ich_pipeline.training.backend import exact, keras
from ich_pipeline.training.data import CohortSlices, SliceRows
from ich_pipeline.training.fit import start_network
from ich_pipeline.training.loss import class_weights
from ich_pipeline.training.network import Network, NetworkSpec
from ich_pipeline.training.trainer import Trainer
from ich_pipeline.windowing.windows import window_of


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
    """A network with random weights and its trainer, ready for the first step, at a learning rate that hardly moves it."""
    windows = tuple(window_of(window) for window in params.windowing.windows)
    labels = params.label_set.columns
    spec = NetworkSpec(architecture, settings.image_size, windows, labels, "none", params.training.dtype, 0.9, 1)
    network = start_network(spec, slices, params.training)
    trainer = Trainer(network, settings, params.training, class_weights(slices.truth, params.training.class_weight_cap))
    trainer.begin(1e-6, frozen=False)
    return network, trainer


class Clock(keras.callbacks.Callback):
    """When each step of a fit ended: its loss has then come back."""

    def __init__(self) -> None:
        super().__init__()
        self.ends: list[float] = []
        self.loss = math.nan  # mean over the steps

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        """Note it."""
        self.loss = float(logs["loss"])
        self.ends.append(time.perf_counter())

    def seconds(self, warm_up: int) -> float:
        """Mean time of a step, after those that compile."""
        return (self.ends[-1] - self.ends[warm_up - 1]) / (len(self.ends) - warm_up)


def timed(network: Network, trainer: Trainer, batches: keras.utils.PyDataset) -> Clock:
    """Fit these batches as training does."""
    clock = Clock()
    with exact(network.spec.dtype):
        trainer.model.fit(batches, shuffle=False, verbose=0, callbacks=[clock])  # type: ignore[arg-type]
    return clock


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
