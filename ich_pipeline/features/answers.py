"""Answers of a network to slices: from stored features where its backbone is frozen, else by running it.

Both are the same function of a slice: stored features came from the same forward pass.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ich_pipeline.features.classifier import Head
from ich_pipeline.features.store import TOLD, at_degrees, read

if TYPE_CHECKING:
    from ich_pipeline.training.interpolated import Probabilities
    from ich_pipeline.training.network import Network


def answers_from(features: Path, kind: str, uids: Sequence[str]) -> Probabilities:
    """How these slices are answered.

    Args:
        features: folder of stage features; ``<architecture>/<kind>`` in it is used where it is there.
        kind: which features of an architecture.
        uids: SOPInstanceUID of each slice that will be asked for, in order.
    """

    def answer(
        network: Network,
        hu: Any,
        neighbours: NDArray[np.integer],
        degrees: Sequence[float],
        original: NDArray[np.float32] | None = None,
    ) -> NDArray[np.float32]:
        folder = features / network.spec.architecture / kind
        if not (folder / TOLD).is_file():
            from ich_pipeline.training.interpolated import interpolated_probabilities

            return interpolated_probabilities(network, hu, neighbours, degrees, original)
        kernel, bias = network.model.get_layer("head").get_weights()
        head = Head(np.asarray(kernel, np.float64), np.asarray(bias, np.float64))
        return at_degrees(read(folder, uids), degrees, head)

    return answer
