"""A coarse fingerprint of the head in a scan, by which the same acquisition is known again though no byte is the same.

An archive that was pseudonymised twice, another reconstruction, another rescale or a lossy copy leave skull and brain where
they lay in the scanner. So the fingerprint is a picture in DICOM's own coordinates (PS3.3 C.7.6.2.1.1): on planes 10 mm apart,
cells of 24 mm, each the mean of what is denser than fat. Matrix, slice spacing and number of slices do not count, nor does air.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from ich_pipeline.dicom.header import Header

CELL_MM, CELLS = 24.0, 12  # of a plane, in either direction
STEP_MM, LEVELS = 10.0, 24  # planes
UNSEEN = -1  # value of the cells of a plane that no slice reaches
_LOW_HU, _HIGH_HU = -200, 400  # air is nothing; dense bone and metal differ most between reconstructions
_PARTS = 256  # of a pixel


def fingerprint(
    hu: NDArray[np.int16],
    headers: Sequence[Header],
    positions_mm: NDArray[np.float64],
    spacing_mm: tuple[float, float],
) -> NDArray[np.int16]:
    """The fingerprint of a volume in the standard view.

    A place's cell is its coordinate modulo the grid's extent (288 and 240 mm), so that one table fits heads wherever they lie;
    of a scan that is longer the part nearest to the top counts.

    Args:
        hu: (slices, rows, columns), rows towards the back, columns towards the left.
        headers: of the slices, with position, orientation, spacing, rows and columns.
        positions_mm: of the slices along the normal, rising.
        spacing_mm: between rows and between columns of ``hu``.

    Returns:
        HU above −200, 0 to 600, as mean over the cell; −1 where no slice reaches. Shape (24 · 12 · 12,): plane, y, x.
    """
    planes = np.stack([_plane(one, header, spacing_mm) for one, header in zip(hu, headers, strict=True)])
    found = np.full((LEVELS, CELLS, CELLS), float(UNSEEN))
    first, last = np.ceil(positions_mm[0] / STEP_MM), np.floor(positions_mm[-1] / STEP_MM)
    for level in np.arange(max(first, last - LEVELS + 1), last + 1):
        above = min(max(int(np.searchsorted(positions_mm, level * STEP_MM)), 1), len(positions_mm) - 1)
        below, step = above - 1, positions_mm[above] - positions_mm[above - 1]
        share = (level * STEP_MM - positions_mm[below]) / step if step > 0 else 0.0
        found[int(level) % LEVELS] = (1 - share) * planes[below] + share * planes[above]
    return np.rint(found).astype(np.int16).ravel()


def _plane(hu: NDArray[np.int16], header: Header, spacing_mm: tuple[float, float]) -> NDArray[np.float64]:
    """One slice on the grid, (y, x): its dense tissue in each cell by the cell's area."""
    left, front = _corner_mm(header)
    dense = np.clip(hu, _LOW_HU, _HIGH_HU).astype(np.float64) - _LOW_HU
    rows, columns = _shares(front, spacing_mm[0], hu.shape[0]), _shares(left, spacing_mm[1], hu.shape[1])
    # Whole numbers below 2**53: their sums are exact in any order, and the bytes equal on every machine.
    return (rows @ dense @ columns.T) * (spacing_mm[0] * spacing_mm[1] / (_PARTS * CELL_MM) ** 2)


def _shares(first_mm: float, spacing_mm: float, count: int) -> NDArray[np.float64]:
    """How much of each pixel along an axis lies in each cell, in 256ths; (12, count)."""
    edges = first_mm + spacing_mm * (np.arange(count + 1) - 0.5)
    cell = np.floor(edges[:-1] / CELL_MM)
    beyond = np.clip((edges[1:] - (cell + 1) * CELL_MM) / spacing_mm, 0, 1)
    shares, pixels = np.zeros((CELLS, count)), np.arange(count)
    shares[cell.astype(int) % CELLS, pixels] = _PARTS - np.rint(beyond * _PARTS)
    shares[(cell.astype(int) + 1) % CELLS, pixels] += np.rint(beyond * _PARTS)
    return shares


def _corner_mm(header: Header) -> tuple[float, float]:
    """The least x (towards the right) and the least y (towards the front) of a slice's pixel centres."""
    assert header.position and header.orientation and header.spacing_mm and header.rows and header.columns
    down, right = header.spacing_mm
    along_row = np.array(header.orientation[:2]) * right * (header.columns - 1)
    along_column = np.array(header.orientation[3:5]) * down * (header.rows - 1)
    corner = np.array(header.position[:2]) + np.minimum(along_row, 0) + np.minimum(along_column, 0)
    return float(corner[0]), float(corner[1])
