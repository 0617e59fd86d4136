"""Slice interpolation: the mean answer over a slice and its images interpolated towards its neighbours."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from ich_pipeline.training.spec import BATCH, Readable
from ich_pipeline.windowing.windows import interpolate


class Probabilities(Protocol):
    """:func:`interpolated_probabilities`, or what stands for it, such as stored features."""

    def __call__(
        self,
        network: Readable,
        hu: Any,
        neighbours: NDArray[np.integer],
        degrees: Sequence[float],
        original: NDArray[np.float32] | None = None,
    ) -> NDArray[np.float32]: ...


CHUNK = 8 * BATCH  # slices in memory at once


def interpolated_probabilities(
    network: Readable,
    hu: Any,
    neighbours: NDArray[np.integer],
    degrees: Sequence[float],
    original: NDArray[np.float32] | None = None,
) -> NDArray[np.float32]:
    """Probabilities at several interpolation degrees.

    At a degree above 0 the answer is the mean over the slice itself and one interpolated image for each neighbour that
    it has; at the end of a series or beside a gap that is one image, or none. Degree 0 is the slice alone.

    Args:
        network: the network to ask.
        hu: slices (n, s, s) in HU; a memory map or :class:`~ich_pipeline.training.data.SliceRows` is read in chunks.
        neighbours: (n, 2) indices into ``hu`` of the slice before and after, -1 for none.
        degrees: interpolation degrees, 0 <= degree < 1.
        original: the slices' own probabilities (n, labels) where they are known already.

    Returns:
        float32 of shape (len(degrees), n, labels).
    """
    alone = network.probabilities(hu) if original is None else original
    result = np.empty((len(degrees), *alone.shape), np.float32)
    for position, degree in enumerate(degrees):
        if degree == 0:
            result[position] = alone
            continue
        total = alone.astype(np.float64)
        count = np.ones((len(alone), 1))
        for side in (0, 1):
            having = np.flatnonzero(neighbours[:, side] >= 0)
            for start in range(0, len(having), CHUNK):
                chunk = having[start : start + CHUNK]
                between = interpolate(hu[chunk], hu[neighbours[chunk, side]], degree)
                total[chunk] += network.probabilities(between)
                count[chunk] += 1
        result[position] = total / count
    return result
