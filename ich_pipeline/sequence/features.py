"""A network's pooled features, the logits that its own head makes of them, and its probabilities: one forward pass."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ich_pipeline.training.spec import Readable


class SliceOutputs(NamedTuple):
    """float32: pooled features (n, F), logits (n, labels), probabilities (n, labels)."""

    features: NDArray[np.float32]
    logits: NDArray[np.float32]
    probabilities: NDArray[np.float32]


class FeatureReader:
    """Reads slices with a network and says what its head made them of."""

    def __init__(self, network: Readable) -> None:
        self.network = network
        self._kernel, self._bias = network.head()

    @property
    def count(self) -> int:
        """Features of a slice."""
        return len(self._kernel)

    def __call__(self, hu: Any) -> SliceOutputs:
        """Read slices (n, s, s) in HU, prepared for this network, without slice interpolation."""
        features, probabilities = self.network.features_and_probabilities(hu)
        return SliceOutputs(features, features @ self._kernel + self._bias, probabilities)
