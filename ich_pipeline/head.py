"""The head in a series: bed removal and crop, the same for training and serving; both are off by default."""

from __future__ import annotations

from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

AIR_HU = -1024
TISSUE_HU = -300  # between air (-1000) and fat (-100)
THIN = 64  # what is thinner than this part of the picture (8 pixels of 512, about 4 mm) joins nothing to the head
MARGIN = 0.05  # of the head's extent, kept around it


class FocusSettings(Protocol):
    """``params.windowing``, as far as it counts here."""

    @property
    def remove_bed(self) -> bool: ...
    @property
    def crop_head(self) -> bool: ...


class Focused(NamedTuple):
    """A series and where it lies in the original pictures: ``original[:, *box]`` has the shape of ``hu``."""

    hu: NDArray[np.int16]
    box: tuple[slice, slice]  # rows and columns


def focus(hu: NDArray[np.int16], settings: FocusSettings) -> Focused:
    """Apply what the settings ask for; without them the series comes back as it is.

    Args:
        hu: one series (n, Rows, Columns), HU. The crop is one for the series, so that neighbours stay aligned.
        settings: ``remove_bed`` makes air of what is not joined to the head; ``crop_head`` crops to the head.
    """
    box = (slice(0, hu.shape[1]), slice(0, hu.shape[2]))
    if not (settings.remove_bed or settings.crop_head):
        return Focused(hu, box)
    head = head_mask(hu)
    if not head.any():  # no tissue, or all of it thin: nothing that could be told from a bed
        return Focused(hu, box)
    if settings.remove_bed:
        hu = np.where(head, hu, np.int16(AIR_HU))
    if settings.crop_head:
        box = head_box(head)
        hu = hu[:, *box]
    return Focused(hu, box)


def head_mask(hu: NDArray[Any]) -> NDArray[np.bool_]:
    """The largest body of a series: tissue that is joined by more than a thin bridge, with the air that it encloses.

    Tissue is opened, which cuts a thin bed off the head that lies on it; the largest connected body of what is left
    grows back to its own edge; holes (sinuses, ears) are filled slice by slice.

    Args:
        hu: (n, Rows, Columns), HU.

    Returns:
        bool of the same shape; all False where nothing thick is there.
    """
    tissue = hu > TISSUE_HU
    radius = max(max(hu.shape[1:]) // THIN // 2, 1)
    disc = _disc(radius)
    thick = ndimage.binary_opening(tissue, disc)
    labelled: Any = ndimage.label(thick)
    bodies, count = labelled
    if count == 0:
        return np.zeros(hu.shape, bool)
    largest = int(np.argmax(np.bincount(bodies.ravel())[1:])) + 1
    grown: Any = ndimage.binary_dilation(bodies == largest, disc)
    filled: list[Any] = [ndimage.binary_fill_holes(one) for one in grown & tissue]
    return np.stack(filled)


def head_box(head: NDArray[np.bool_]) -> tuple[slice, slice]:
    """Rows and columns of the square around a head mask (n, Rows, Columns), with a margin; cut at the picture's edges."""
    spans = []
    for axis in (1, 2):
        filled = np.flatnonzero(head.any(axis=tuple(k for k in range(3) if k != axis)))
        spans.append((int(filled[0]), int(filled[-1]) + 1))
    half = max(high - low for low, high in spans) * (0.5 + MARGIN)
    cut = []
    for (low, high), length in zip(spans, head.shape[1:], strict=True):
        middle = (low + high) / 2
        cut.append(slice(max(round(middle - half), 0), min(round(middle + half), length)))
    return cut[0], cut[1]


def _disc(radius: int) -> NDArray[np.bool_]:
    """A disc within one slice, as a structuring element of three axes."""
    y, x = np.ogrid[-radius : radius + 1, -radius : radius + 1]
    return (x * x + y * y <= radius * radius + 0.5)[None]
