"""What stands beside an attention map where it is scored: a map without any knowledge, and a network without learning."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ich_pipeline.explain.features import head_weights
from ich_pipeline.training.network import Network

CENTRE = "centre prior"
RANDOM = "random weights"


def centre_prior(head: NDArray[np.bool_]) -> NDArray[np.float64]:
    """The same map whatever the slice shows: a Gaussian about the head's middle, half its radius wide; zero outside the head.

    Args:
        head: (Rows, Columns), with a pixel.
    """
    rows, columns = np.nonzero(head)
    radius = np.sqrt(len(rows) / np.pi)
    y, x = np.mgrid[: head.shape[0], : head.shape[1]]
    square = (y - rows.mean()) ** 2 + (x - columns.mean()) ** 2
    return np.where(head, np.exp(-2 * square / radius**2), 0)


def with_random_weights(network: Network, seed: int) -> Network:
    """The same network before it learned anything, its head random too (the sanity check of Adebayo et al. 2018, arXiv 1810.03292).

    A method whose maps hit as often with it shows edges, not what the network learned.
    """
    made = network.untrained(seed)
    kernel, bias = head_weights(network.model)
    random = np.random.default_rng(seed)
    made.set_head(random.normal(0, 1 / np.sqrt(len(kernel)), kernel.shape), bias)  # a fresh one is zero
    return made
