"""Pixel data to Hounsfield units, for training and serving alike."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from scipy import ndimage

from ich_pipeline.dicom import multiframe
from ich_pipeline.dicom.header import Header, Source
from ich_pipeline.dicom.opening import DEFAULT_LIMITS, TooLargeError, open_source, read_whole_dataset
from ich_pipeline.dicom.reasons import Reason
from ich_pipeline.dicom.repair import undo_wrap
from ich_pipeline.dicom.stored import PixelError, StoredFrame, stored_frame

AIR_HU = -1024
PADDING_BELOW_HU = -850  # of such a value nobody asks where it lies


@dataclass(frozen=True)
class Decoded:
    """One slice.

    Attributes:
        hu: int16 of shape (Rows, Columns), Hounsfield units.
        note: what was mended, for the account; empty for nothing.
    """

    hu: NDArray[np.int16]
    note: str = ""


class SliceReader:
    """Decodes slices file by file; keeps the file that it read last, since the frames of one follow each other."""

    def __init__(self, inflated_mib: int = DEFAULT_LIMITS.inflated_mib) -> None:
        self._inflated_mib = inflated_mib
        self._source: Source | None = None
        self._ds: Dataset | None = None
        self._note = ""

    def read(self, header: Header) -> Decoded:
        """Decode the slice of a header.

        Raises:
            PixelError: for everything that can be wrong with the file.
        """
        if self._ds is None or self._source is not header.source:
            self._ds, self._note = _open(header.source, self._inflated_mib)
            self._source = header.source
        if header.frame is None:
            return self._noted(decode(self._ds, self._ds, 0))
        try:
            of_frame = multiframe.frame_dataset(self._ds, header.frame)
        except Exception as error:  # as above
            raise PixelError(Reason.DECODE_FAILED, type(error).__name__) from None
        return self._noted(decode(of_frame, self._ds, header.frame - 1))

    def _noted(self, decoded: Decoded) -> Decoded:
        return Decoded(decoded.hu, "; ".join(filter(None, (self._note, decoded.note))))


def read_hu(source: Path | bytes) -> NDArray[np.int16]:
    """Read one single-frame file and decode it: int16 HU of shape (Rows, Columns).

    Raises:
        PixelError: for everything that can be wrong with the file.
    """
    return decode_hu(_open(source, DEFAULT_LIMITS.inflated_mib)[0])


def decode_hu(ds: Dataset) -> NDArray[np.int16]:
    """Hounsfield units of a single-frame CT image: int16 of shape (Rows, Columns); see :func:`decode`."""
    return decode(ds, ds, 0).hu


def decode(fields: Dataset, ds: Dataset, frame: int) -> Decoded:
    """Hounsfield units of one frame.

    Stored value × RescaleSlope + RescaleIntercept, rounded half to even where the slope is no whole number and clipped to
    int16; PixelPaddingValue, up to PixelPaddingRangeLimit, becomes air (−1024 HU) where it lies outside of the picture.

    Args:
        fields: what holds for the frame: RescaleSlope, RescaleIntercept.
        ds: the data set with pixel data.
        frame: from 0.

    Raises:
        PixelError: the pixels are missing, damaged, or in a syntax that no decoder here reads.
    """
    stored = stored_frame(ds, frame)
    try:
        slope, intercept = float(fields.RescaleSlope), float(fields.RescaleIntercept)
        if not (np.isfinite(slope) and np.isfinite(intercept)):
            raise ValueError
    except Exception:  # absent, empty or malformed
        raise PixelError(Reason.HEADER_INCOMPLETE, "missing or malformed: RescaleSlope, RescaleIntercept") from None
    padded = _padding(ds, stored)
    values, note = stored.values, stored.note
    if not note and values.min() >= 0 and not stored.layout.signed:
        values, note = undo_wrap(values, padded, stored.layout.bits, slope, intercept)
    hu = _rescaled(values, slope, intercept)
    if padded is not None:
        hu[_outside(padded, hu)] = AIR_HU
    return Decoded(hu, note)


def _outside(padded: NDArray[np.bool_], hu: NDArray[np.int16]) -> NDArray[np.bool_]:
    """Which declared padding is outside of the picture: at or below air, or joined to the border by more of it.

    A header may declare 0 where 0 HU is water: then the ventricles are no padding.
    """
    air = padded & (hu <= PADDING_BELOW_HU)
    rest = padded & ~air
    if not rest.any():
        return air
    regions = np.zeros(padded.shape, np.int32)
    ndimage.label(padded, output=regions)
    border = np.unique(np.concatenate([regions[0], regions[-1], regions[:, 0], regions[:, -1]]))
    return air | np.isin(regions, border[border > 0])


def _rescaled(values: NDArray[np.int32], slope: float, intercept: float) -> NDArray[np.int16]:
    limits = np.iinfo(np.int16)
    if (
        slope == 1
        and intercept.is_integer()
        and abs(intercept) < 1 << 15
        and values.min() > -(1 << 30)
        and values.max() < 1 << 30
    ):
        return np.clip(values + np.int32(intercept), limits.min, limits.max).astype(np.int16)  # the same, faster
    with np.errstate(over="ignore"):  # a hostile slope; the values are clipped
        return np.clip(np.rint(values * slope + intercept), limits.min, limits.max).astype(np.int16)


def _open(source: Source, inflated_mib: int) -> tuple[Dataset, str]:
    """What a file holds, and what was mended to read it."""
    try:
        with open_source(source) as file:
            data = file.read()
    except OSError as error:
        raise PixelError(Reason.UNREADABLE, error.strerror or type(error).__name__) from None
    try:
        ds, note = read_whole_dataset(data, inflated_mib)
    except TooLargeError as error:
        raise PixelError(Reason.TOO_LARGE, str(error)) from None
    except Exception as error:  # whatever a hostile file makes pydicom raise
        raise PixelError(Reason.DECODE_FAILED, type(error).__name__) from None
    if "PixelData" not in ds:  # the header's reading saw the element begin, so it does not end
        raise PixelError(Reason.DECODE_FAILED, "the pixel data is cut short")
    return ds, note


def _padding(ds: Dataset, stored: StoredFrame) -> NDArray[np.bool_] | None:
    bounds = []
    for keyword in ("PixelPaddingValue", "PixelPaddingRangeLimit"):
        try:
            bounds.append(stored.layout.value(int(ds[keyword].value)))
        except Exception:  # absent or malformed: no padding is declared
            break
    if not bounds:
        return None
    return (stored.values >= min(bounds) - stored.near) & (stored.values <= max(bounds) + stored.near)
