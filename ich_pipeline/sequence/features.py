"""A network's pooled features, the logits that its own head makes of them, and its probabilities: one forward pass."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ich_pipeline.training.backend import keras
from ich_pipeline.training.network import Network


class SliceOutputs(NamedTuple):
    """float32: pooled features (n, F), logits (n, labels), probabilities (n, labels)."""

    features: NDArray[np.float32]
    logits: NDArray[np.float32]
    probabilities: NDArray[np.float32]


class FeatureReader:
    """A network cut after its global average pooling; built once, used for many slices."""

    def __init__(self, network: Network) -> None:
        self.network = network
        model = network.model
        self._model = keras.Model(model.input, [model.get_layer("gap").output, model.output])
        kernel, bias = model.get_layer("head").get_weights()
        self._kernel, self._bias = np.asarray(kernel, np.float32), np.asarray(bias, np.float32)

    @property
    def count(self) -> int:
        """Features of a slice."""
        return len(self._kernel)

    def __call__(self, hu: Any) -> SliceOutputs:
        """Read slices (n, s, s) in HU, prepared for this network, without slice interpolation."""
        features, probabilities = self.network.run_batched(self._model, hu)
        return SliceOutputs(features, features @ self._kernel + self._bias, probabilities)
