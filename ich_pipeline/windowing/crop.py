"""The head in a series: bed removal, crop and true scale, the same for training and serving; all are off by default."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from ich_pipeline.windowing.frame import Box, Frame, Millimetres
from ich_pipeline.windowing.windows import WindowLike, prepare

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
    @property
    def field_of_view_mm(self) -> float | None: ...


class Focused(NamedTuple):
    """What of a series is read, in HU, and the square of the original pictures that it is or lies in the middle of."""

    hu: NDArray[np.int16]
    frame: Frame

    def prepare(self, size: int, windows: Sequence[WindowLike]) -> NDArray[np.int16]:
        """What a network reads: :func:`ich_pipeline.windowing.windows.prepare`, each axis by itself where pixels are not square."""
        return prepare(self.hu, size, windows, stretch=self.frame.stretched)

    @property
    def shown(self) -> NDArray[np.int16]:
        """What pages and figures draw: ``hu`` with square pixels."""
        return self.frame.even(self.hu)


def focus(hu: NDArray[np.int16], settings: FocusSettings, spacing_mm: Millimetres | None = None) -> Focused:
    """Apply what the settings ask for; without them the series comes back as it is.

    Args:
        hu: one series (n, Rows, Columns), HU. The crop is one for the series, so that neighbours stay aligned.
        settings: ``remove_bed`` makes air of what is not joined to the head; ``crop_head`` crops to the head;
            ``field_of_view_mm`` crops to, or completes with air, the square of that side about the middle of the head, or of
            the picture where it shows no head.
        spacing_mm: between rows, between columns, checked (:func:`ich_pipeline.windowing.frame.check_spacing`); ``field_of_view_mm``
            alone needs it. It is PixelSpacing (DICOM PS3.3 10.7.1.3).
    """
    side_mm, shape = settings.field_of_view_mm, hu.shape[1:]
    head = head_mask(hu) if settings.remove_bed or settings.crop_head or side_mm is not None else None
    if head is not None and not head.any():
        head = None  # no tissue, or all of it thin: nothing that could be told from a bed
    if head is not None and settings.remove_bed:
        hu = np.where(head, hu, np.int16(AIR_HU))
    if side_mm is not None:
        if spacing_mm is None:
            raise ValueError("field_of_view_mm is set, so the series' PixelSpacing is needed")
        twice = shape if head is None else [low + high for low, high in _spans(head)]
        frame = Frame.of_millimetres(side_mm, spacing_mm, twice, shape)
        return Focused(frame.cut(hu, AIR_HU), frame)
    if head is not None and settings.crop_head:
        box = head_box(head)
        return Focused(hu[:, *box], Frame.around(box))
    return Focused(hu, Frame.around((slice(0, shape[0]), slice(0, shape[1]))))


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


def head_box(head: NDArray[np.bool_]) -> Box:
    """Rows and columns of the square around a head mask (n, Rows, Columns), with a margin; cut at the picture's edges."""
    spans = _spans(head)
    half = max(high - low for low, high in spans) * (0.5 + MARGIN)
    cut = []
    for (low, high), length in zip(spans, head.shape[1:], strict=True):
        middle = (low + high) / 2
        cut.append(slice(max(round(middle - half), 0), min(round(middle + half), length)))
    return cut[0], cut[1]


def _spans(head: NDArray[np.bool_]) -> list[tuple[int, int]]:
    """First, and one beyond the last, row and column of a head mask (n, Rows, Columns) that is not empty."""
    spans = []
    for axis in (1, 2):
        filled = np.flatnonzero(head.any(axis=tuple(k for k in range(3) if k != axis)))
        spans.append((int(filled[0]), int(filled[-1]) + 1))
    return spans


def _disc(radius: int) -> NDArray[np.bool_]:
    """A disc within one slice, as a structuring element of three axes."""
    y, x = np.ogrid[-radius : radius + 1, -radius : radius + 1]
    return (x * x + y * y <= radius * radius + 0.5)[None]
