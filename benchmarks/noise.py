"""Slices of noise, and a network that trains on them, as the training benchmarks want them."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pandas as pd

from ich_pipeline.config import NetworkParams, Params
from ich_pipeline.training.data import CohortSlices, SliceRows
from ich_pipeline.training.fit import start_network
from ich_pipeline.training.loss import class_weights
from ich_pipeline.training.network import Network, NetworkSpec
from ich_pipeline.training.trainer import Trainer
from ich_pipeline.windowing import window_of


def noise_slices(path: Path, count: int, size: int, labels: Iterable[str]) -> CohortSlices:
    """``count`` slices (size, size) of -20 to 180 HU from a memory map at ``path``, with drawn labels."""
    np.save(path, np.random.default_rng(0).integers(-20, 181, (count, size, size)).astype(np.int16))
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
