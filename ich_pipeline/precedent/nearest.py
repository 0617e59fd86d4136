"""How far slices are from the nearest training slices: in the networks' features, and in how bright what lies where.

Both are compared after whitening along the main axes of the training slices; what lies off these axes counts as well.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from scipy.spatial.distance import cdist

CELLS = 12  # of the layout, across and down
SMALLEST_BOX = 2 * CELLS  # pixels
KEPT = 0.98  # of the variance
AXES = 60  # at most
SHRINK = 0.1  # of the mean variance is added to each axis: a small one is known badly
FAR = 8.0  # spreads; beyond, farther is no more unlike
NEGLIGIBLE = 1e-3  # of the variance; less lies off the axes by rounding alone
TINY = 1e-6
ARRAYS = ("mean", "spread", "centre", "axes", "variances", "off_axes", "places")


def layouts(hu: Any, lowest: float) -> NDArray[np.float32]:
    """Mean HU of 12 × 12 fields of the head's bounding box, (n, 144): what lies where.

    Args:
        hu: (n, s, s), HU, clipped.
        lowest: lower end of the clip range, HU.
    """
    return np.stack([_layout(np.asarray(picture, np.float32), lowest) for picture in hu])


def _layout(picture: NDArray[np.float32], lowest: float) -> NDArray[np.float32]:
    head: Any = ndimage.binary_opening(picture > lowest + 1)
    rows, columns = np.flatnonzero(head.any(axis=1)), np.flatnonzero(head.any(axis=0))
    if len(rows) < SMALLEST_BOX or len(columns) < SMALLEST_BOX:
        return np.full(CELLS * CELLS, lowest, np.float32)
    box = picture[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    down, across = (np.linspace(0, length, CELLS + 1).astype(int) for length in box.shape)
    sums = np.add.reduceat(np.add.reduceat(box, down[:-1], axis=0), across[:-1], axis=1)
    return (sums / np.outer(np.diff(down), np.diff(across))).ravel().astype(np.float32)


@dataclass(frozen=True)
class Neighbourhood:
    """Training slices in one space.

    Attributes:
        mean, spread: of each number, (F,).
        centre, axes, variances: main axes of the standardised numbers: (F,), (k, F), (k,).
        off_axes: variance off these axes, ().
        places: training slices along the axes, whitened, (m, k).
    """

    mean: NDArray[np.float32]
    spread: NDArray[np.float32]
    centre: NDArray[np.float32]
    axes: NDArray[np.float32]
    variances: NDArray[np.float32]
    off_axes: np.float32 | NDArray[np.float32]
    places: NDArray[np.float32]

    @classmethod
    def of(cls, numbers: NDArray[np.floating]) -> Neighbourhood:
        """From training slices, (m, F)."""
        mean, spread = numbers.mean(axis=0), numbers.std(axis=0) + TINY
        z = np.clip((numbers - mean) / spread, -FAR, FAR).astype(np.float64)
        centre = z.mean(axis=0)
        variances, axes = np.linalg.eigh((z - centre).T @ (z - centre) / len(z))
        variances, axes = np.maximum(variances[::-1], 0), axes[:, ::-1].T
        kept = min(AXES, int(np.searchsorted(np.cumsum(variances), KEPT * variances.sum())) + 1, len(z) - 1)
        off = max(variances[kept:].sum(), NEGLIGIBLE * variances.sum(), TINY)
        variances = variances[:kept] + SHRINK * variances[:kept].mean()
        nowhere = cls(
            mean=mean.astype(np.float32),
            spread=spread.astype(np.float32),
            centre=centre.astype(np.float32),
            axes=axes[:kept].astype(np.float32),
            variances=variances.astype(np.float32),
            off_axes=np.float32(off),
            places=np.zeros((0, kept), np.float32),
        )
        return replace(nowhere, places=nowhere._place(numbers)[0])

    def distances(self, numbers: NDArray[np.floating], neighbours: int) -> NDArray[np.float64]:
        """Log of each slice's distance: mean over its nearest training slices, with what lies off the axes; (n,).

        Args:
            numbers: (n, F).
            neighbours: how many of the nearest.
        """
        places, off = self._place(numbers)
        apart = cdist(places, self.places, "sqeuclidean")
        count = min(neighbours, apart.shape[1])
        nearest = np.partition(apart, count - 1, axis=1)[:, :count].mean(axis=1)
        return np.log(np.sqrt(nearest / self.places.shape[1] + off / float(self.off_axes)) + TINY)

    def _place(self, numbers: NDArray[np.floating]) -> tuple[NDArray[np.float32], NDArray[np.float64]]:
        z = np.clip((numbers - self.mean) / self.spread, -FAR, FAR) - self.centre
        along = z @ self.axes.T
        off = np.maximum((z * z).sum(axis=1) - (along * along).sum(axis=1), 0)
        return (along / np.sqrt(self.variances)).astype(np.float32), off.astype(np.float64)

    def to_arrays(self, prefix: str) -> dict[str, NDArray[Any]]:
        """By name, for a file."""
        return {f"{prefix}_{name}": np.asarray(getattr(self, name)) for name in ARRAYS}

    @classmethod
    def from_arrays(cls, prefix: str, arrays: Mapping[str, NDArray[Any]]) -> Neighbourhood:
        """Inverse of :meth:`to_arrays`."""
        return cls(*(arrays[f"{prefix}_{name}"] for name in ARRAYS))
