"""A volume of a tilted gantry is sheared: its slices are parallel, but not stacked along their normal. Push them back."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from ich_pipeline.dicom.decode import AIR_HU
from ich_pipeline.dicom.geometry import along, axial_normal

MINIMUM_TILT_DEG = 0.5  # below it the slices of a head are out of line by less than 2 mm from end to end
BODY_ABOVE_HU = -500  # voxels above it are the patient


def shifts_px(
    points: NDArray[np.float64], orientation: Sequence[float], spacing_mm: Sequence[float]
) -> NDArray[np.float64]:
    """How far each slice is to be moved so that all lie straight above the middle one.

    Args:
        points: ImagePositionPatient, shape (n, 3), ordered towards the head.
        orientation: ImageOrientationPatient.
        spacing_mm: PixelSpacing: between rows, between columns.

    Returns:
        float64 of shape (n, 2): pixels along the row index and along the column index.
    """
    along_row, along_column = np.reshape(np.asarray(orientation, dtype=np.float64), (2, 3))
    away = points - points[len(points) // 2]
    return np.stack([along(away, along_column) / spacing_mm[0], along(away, along_row) / spacing_mm[1]], axis=1)


def straighten(hu: NDArray[np.int16], shifts: NDArray[np.float64]) -> tuple[NDArray[np.int16], int]:
    """Move every slice by its shift, in whole and broken pixels (linear between two); what comes in is air.

    Args:
        hu: shape (slices, Rows, Columns).
        shifts: of :func:`shifts_px`.

    Returns:
        The volume, same shape; and how many of the patient's voxels (above −500 HU) left the picture.
    """
    moved = np.empty_like(hu)
    lost = 0
    for picture, shift, target in zip(hu, shifts, moved, strict=True):
        target[:] = np.rint(move(picture.astype(np.float32), shift, AIR_HU))
        lost += _lost(picture > BODY_ABOVE_HU, shift)
    return moved, lost


def move(picture: NDArray[Any], shift: Sequence[float] | NDArray[np.float64], outside: float) -> NDArray[Any]:
    """One picture moved by (rows, columns) pixels; a bool picture (a mask) by the nearest pixel."""
    if picture.dtype == np.bool_:
        return ndimage.shift(picture, np.rint(shift), order=0, mode="grid-constant", cval=outside)
    return ndimage.shift(picture, shift, order=1, mode="grid-constant", cval=outside, prefilter=False)


def is_tilted(tilt_deg: float, orientation: Sequence[float]) -> bool:
    """Is there a shear worth correcting?"""
    return axial_normal(orientation) is not None and abs(tilt_deg) >= MINIMUM_TILT_DEG


def _lost(body: NDArray[np.bool_], shift: NDArray[np.float64]) -> int:
    """Pixels of the body whose new place is outside of the picture."""
    kept = body
    for axis, by in enumerate(np.rint(shift).astype(int).tolist()):
        length = body.shape[axis]
        keep = slice(max(0, -by), min(length, length - by)) if abs(by) < length else slice(0, 0)
        kept = kept[keep] if axis == 0 else kept[:, keep]
    return int(np.count_nonzero(body)) - int(np.count_nonzero(kept))
