"""Quantum noise with the grain of a reconstruction kernel, from integers alone."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ich_pipeline.phantom.draw import Draw, FloatArray

# Standard deviations before scaling: eight dice of 0 … 255 summed, then the kernel's weights.
_ONE_PIXEL = 209.0


def noise(draw: Draw, size: int, deviation: float, sharp: bool) -> FloatArray:
    """Correlated noise in HU, (size, size).

    Args:
        draw: its own stream.
        size: rows and columns.
        deviation: standard deviation, HU.
        sharp: bone kernel (fine, edgy grain) instead of a soft-tissue kernel (blobs about two pixels wide).
    """
    dice = draw.octets(8 * (size + 2) * (size + 2)).reshape(8, size + 2, size + 2)
    white = np.zeros((size + 2, size + 2), np.int32)
    for layer in dice:
        white += layer
    white -= 1020
    if sharp:
        grain = 5 * white[1:-1, 1:-1] - white[:-2, 1:-1] - white[2:, 1:-1] - white[1:-1, :-2] - white[1:-1, 2:]
        norm = 5.385  # square root of 25 + 4
    else:
        grain = _binomial(white)
        norm = 6.0  # (1, 2, 1) along both axes: the square root of 6 squared
    return grain.astype(np.float32) * np.float32(deviation / (_ONE_PIXEL * norm))


def _binomial(image: NDArray[np.int32]) -> NDArray[np.int32]:
    rows = image[:-2] + 2 * image[1:-1] + image[2:]
    return rows[:, :-2] + 2 * rows[:, 1:-1] + rows[:, 2:]
