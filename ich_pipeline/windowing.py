"""Windows, resize and slice interpolation: the one implementation for pictures, training and serving.

All intensities are Hounsfield units (HU). A window is the plain ramp ``(hu - (center - width/2)) / width`` clipped to
0..1: ``VOI LUT Function`` LINEAR_EXACT of DICOM PS3.3 C.11.2.1.3.2, scaled to an output range of 0..1. The default LINEAR
function (C.11.2.1.2) shifts centre by 0.5 and narrows width by 1, for integer display values; at the widths used for
a head CT that is half a grey level, and a real-valued network input has no use for it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

CHUNK = 16  # slices resized at once: 16 slices of 512 x 512 in int32 are 17 MB


class WindowLike(Protocol):
    """Anything with a name, a WindowCenter and a WindowWidth in HU (:class:`Window`, ``config.WindowSpec``)."""

    @property
    def name(self) -> str: ...
    @property
    def center(self) -> float: ...
    @property
    def width(self) -> float: ...


class Window(NamedTuple):
    """One CT window: WindowCenter and WindowWidth in HU."""

    name: str
    center: float
    width: float


def clip_range(windows: Sequence[WindowLike]) -> tuple[int, int]:
    """Lowest and highest HU that any of the windows tells apart, rounded outwards to whole HU."""
    low = min(w.center - w.width / 2 for w in windows)
    high = max(w.center + w.width / 2 for w in windows)
    return int(np.floor(low)), int(np.ceil(high))


def window_channels(hu: Any, windows: Sequence[WindowLike], ops: Any = np) -> Any:
    """HU to window channels.

    Args:
        hu: array or tensor of any shape, in HU.
        windows: C windows, one channel each.
        ops: ``numpy`` or ``keras.ops``; the arithmetic is the same float32 operations in either.

    Returns:
        float32 of shape ``(*hu.shape, C)`` in 0..1.
    """
    channels = []
    for window in windows:
        low = np.float32(window.center - window.width / 2)
        ramp = ops.divide(ops.subtract(hu, low), np.float32(window.width))
        channels.append(ops.clip(ramp, np.float32(0), np.float32(1)))
    return ops.stack(channels, axis=-1)


def interpolate(hu: NDArray[Any], neighbour: NDArray[Any], degree: float) -> NDArray[np.float32]:
    """The image between a slice and its neighbour: ``(1 - degree) * hu + degree * neighbour``, in HU, before windowing.

    Args:
        hu: slices, any shape.
        neighbour: the slices next to them, same shape.
        degree: 0 (the slice itself) up to, not including, 1 (the neighbour).
    """
    if not 0 <= degree < 1:
        raise ValueError(f"interpolation degree {degree} is outside 0 <= degree < 1")
    near = np.asarray(hu, dtype=np.float32)
    far = np.asarray(neighbour, dtype=np.float32)
    return np.asarray(np.float32(1 - degree) * near + np.float32(degree) * far, dtype=np.float32)


def prepare(hu: NDArray[Any], size: int, windows: Sequence[WindowLike]) -> NDArray[np.int16]:
    """Clip to the union of the windows, then resize by area to ``size`` x ``size``.

    Clipping comes first, or the skull (1,000 HU and more) bleeds into a thin subdural beside it. An output pixel is the
    mean of the input area that it covers, partly covered pixels by their share. That is computed in whole numbers, so
    the result has equal bytes on every machine. A picture that is not square is first
    centred on a square of the lowest HU.

    Args:
        hu: slices of shape (n, Rows, Columns), HU.
        size: rows and columns of the result.
        windows: all configured windows, whichever of them a network uses.

    Returns:
        int16 of shape (n, size, size), rounded half to even.
    """
    low, high = clip_range(windows)
    n, rows, columns = hu.shape
    side = max(rows, columns)
    top, left = (side - rows) // 2, (side - columns) // 2
    pixels, weights = _area_taps(side, size)
    result = np.empty((n, size, size), np.int16)
    for start in range(0, n, CHUNK):
        part = np.clip(hu[start : start + CHUNK], low, high)
        square = np.full((len(part), side, side), low, np.int32)
        square[:, top : top + rows, left : left + columns] = part
        down = _weighted_sum(square, pixels, weights).swapaxes(1, 2)
        total = _weighted_sum(np.ascontiguousarray(down).astype(np.int64), pixels, weights).swapaxes(1, 2)
        result[start : start + CHUNK] = np.rint(total / (side * side))
    return result


def _area_taps(side: int, size: int) -> tuple[NDArray[np.int64], NDArray[np.int32]]:
    """Which input pixels every output pixel covers, and how much of each, in units of ``1/size`` input pixels.

    Both of shape (taps, size); the weights of an output pixel sum to ``side``. A tap beyond the last one has weight 0.
    """
    starts = np.arange(size) * side
    first = starts // size
    taps = int(((starts + side - 1) // size - first).max()) + 1
    pixels = first + np.arange(taps)[:, None]
    overlap = np.minimum(starts + side, (pixels + 1) * size) - np.maximum(starts, pixels * size)
    return np.minimum(pixels, side - 1), np.maximum(overlap, 0).astype(np.int32)


def _weighted_sum(images: NDArray[Any], pixels: NDArray[np.int64], weights: NDArray[np.int32]) -> NDArray[Any]:
    """Weighted sum over taps along the rows' axis: (n, side, columns) to (n, size, columns), in whole numbers."""
    total = images[:, pixels[0]] * weights[0][:, None]
    for taken, weight in zip(pixels[1:], weights[1:], strict=True):
        total += images[:, taken] * weight[:, None]
    return total
