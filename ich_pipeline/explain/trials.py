"""What :mod:`ich_pipeline.explain.choice` tries: the layers, and maps of the same slices by many settings, what is common made once."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ich_pipeline.config import ExplainParams
from ich_pipeline.core.progress import Track, quiet
from ich_pipeline.explain.attention import Attention, Explainer, layer_to_show
from ich_pipeline.explain.methods import BY_GRADIENT
from ich_pipeline.training.network import Network


class Trials:
    """One network and its slices: a layer is traced once, and one backward pass serves every method that takes gradients.

    Args:
        network: whose maps are meant.
        hu: (n, size, size) HU, prepared for this network.
        wanted: bool (n, L), which maps to make.
        track: shows progress over batches.
    """

    def __init__(self, network: Network, hu: NDArray[Any], wanted: NDArray[np.bool_], track: Track = quiet) -> None:
        self._network, self._hu, self._wanted, self._track = network, hu, wanted, track
        self._explainers: dict[str | None, Explainer] = {}  # by layer, of the methods that take gradients
        self._made: dict[tuple[str | None, str], Attention] = {}

    def explainer(self, explain: ExplainParams) -> Explainer:
        """The network, cut for these settings."""
        if explain.method not in BY_GRADIENT:
            return Explainer(self._network, explain)
        if explain.layer not in self._explainers:
            self._explainers[explain.layer] = Explainer(self._network, explain)
        return self._explainers[explain.layer].by(explain.method)

    def maps(self, explain: ExplainParams) -> Attention:
        """Maps of the slices by these settings."""
        explainer = self.explainer(explain)
        if not explainer.by_gradient:
            return explainer.explain(self._hu, self._wanted, self._track)
        if (explain.layer, explain.method) not in self._made:
            every = explainer.by_every_gradient(self._hu, self._wanted, self._track)
            self._made |= {(explain.layer, how): attention for how, attention in every.items()}
        return self._made[explain.layer, explain.method]


def layers_to_try(network: Network, minimum_map: int, most: int = 3) -> tuple[str, ...]:
    """Layers whose maps may be shown: at each size of map from ``minimum_map`` on, the deepest that everything passes through.

    Earlier layers show finer. The deepest is first; ``most`` at most, and none finer than every fourth pixel: there a pass
    back through nearly the whole network would be due for each map.
    """
    finest = network.spec.image_size // 4
    backbone = network.model.get_layer("backbone")
    found: list[str] = []
    wide = minimum_map
    while len(found) < most:
        try:
            name, _ = layer_to_show(backbone, wide)
        except ValueError:
            break
        wide = min(backbone.get_layer(name).output.shape[1:3]) + 1
        if found and wide > finest + 1:
            break
        found.append(name)
    return tuple(found)
