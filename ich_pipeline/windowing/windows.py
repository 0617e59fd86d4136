"""Windows, resize and slice interpolation: the one implementation for pictures, training and serving.

All intensities are Hounsfield units (HU). A window is a VOI LUT Function of DICOM PS3.3 C.11.2.1, scaled to an output
range of 0..1: LINEAR (C.11.2.1.2), LINEAR_EXACT (C.11.2.1.3.2) or SIGMOID (C.11.2.1.3.1). The default is LINEAR_EXACT, the plain
ramp ``(hu - (center - width/2)) / width`` clipped to 0..1. LINEAR shifts centre by 0.5 and narrows width by 1, for
integer display values; at the widths used for a head CT that is half a grey level, and a real-valued network input
has no use for it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

CHUNK = 16  # slices resized at once: 16 slices of 512 x 512 in int32 are 17 MB
ALL_HU = 1 << 16  # values of an int16
GREYS = 256  # of a display: a SIGMOID, which has no end, counts as flat within half a grey of 0 and 1


class WindowLike(Protocol):
    """Anything with a name, a WindowCenter and a WindowWidth in HU (:class:`Window`, ``config.WindowSpec``)."""

    @property
    def name(self) -> str: ...
    @property
    def center(self) -> float: ...
    @property
    def width(self) -> float: ...
    @property
    def function(self) -> str: ...


class Window(NamedTuple):
    """One CT window: WindowCenter and WindowWidth in HU, VOI LUT Function LINEAR, LINEAR_EXACT or SIGMOID."""

    name: str
    center: float
    width: float
    function: str = "LINEAR_EXACT"


def window_of(like: WindowLike) -> Window:
    """The same window as a :class:`Window`."""
    return Window(like.name, like.center, like.width, like.function)


def clip_range(windows: Sequence[WindowLike]) -> tuple[int, int]:
    """Lowest and highest HU that any of the windows tells apart, rounded outwards to whole HU."""
    ends = [_ends(window) for window in windows]
    return int(np.floor(min(low for low, _ in ends))), int(np.ceil(max(high for _, high in ends)))


def _ends(window: WindowLike) -> tuple[float, float]:
    if window.function == "SIGMOID":
        reach = (
            window.width / 4 * float(np.log(2 * GREYS - 1))
        )  # where 1 / (1 + exp(-4 x / width)) is half a grey from 1
        return window.center - reach, window.center + reach
    center, width = ramp(window.function, window.center, window.width)
    return center - width / 2, center + width / 2


def ramp(function: str, center: Any, width: Any) -> tuple[Any, Any]:
    """Centre and width in HU of the straight ramp that a linear function draws: LINEAR's lies within its window."""
    return (center - 0.5, width - 1) if function == "LINEAR" else (center, width)


def window_channels(hu: Any, windows: Sequence[WindowLike], ops: Any = np) -> Any:
    """HU to window channels.

    Args:
        hu: array or tensor of any shape, in HU.
        windows: C windows, one channel each.
        ops: ``numpy`` or ``keras.ops``; the arithmetic is the same float32 operations in either. (The exponential of a
            SIGMOID may differ in its last bit.) Large arrays of int16 are read from a table of these values.

    Returns:
        float32 of shape ``(*hu.shape, C)`` in 0..1.
    """
    if ops is np and hu.dtype == np.int16 and hu.size > ALL_HU:
        return np.take(window_table(windows), np.ascontiguousarray(hu).view(np.uint16), axis=0)
    return ops.stack([_channel(hu, window, ops) for window in windows], axis=-1)


def _channel(hu: Any, window: WindowLike, ops: Any) -> Any:
    if window.function == "SIGMOID":
        return sigmoid(hu, np.float32(window.center), np.float32(window.width), ops)
    center, width = ramp(window.function, window.center, window.width)
    low = np.float32(center - width / 2)
    if width == 0:  # LINEAR of width 1 is a step
        return ops.where(ops.greater(hu, low), np.float32(1), np.float32(0))
    steepness = ops.divide(ops.subtract(hu, low), np.float32(width))
    return ops.clip(steepness, np.float32(0), np.float32(1))


def sigmoid(hu: Any, center: Any, width: Any, ops: Any = np) -> Any:
    """VOI LUT Function SIGMOID: ``1 / (1 + exp(-4 (hu - center) / width))``, float32 of the shape of ``hu``."""
    exponent = ops.divide(ops.multiply(np.float32(-4), ops.subtract(hu, center)), width)
    # Beyond these the answer is 0 or 1 in float32 as well, and exp() keeps within its range.
    bounded = ops.clip(exponent, np.float32(-80), np.float32(80))
    return ops.divide(np.float32(1), ops.add(np.float32(1), ops.exp(bounded)))


def window_table(windows: Sequence[WindowLike]) -> NDArray[np.float32]:
    """:func:`window_channels` of every int16, as a table of shape (65536, C): row ``hu`` of 0 and above, then the negative ones.

    Read with ``table[hu.view(np.uint16)]`` it gives the channels of whole HU, equal to the last bit.
    """
    return window_channels(np.arange(ALL_HU, dtype=np.uint16).view(np.int16), windows)


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


def prepare(hu: NDArray[Any], size: int, windows: Sequence[WindowLike], stretch: bool = False) -> NDArray[np.int16]:
    """Clip to the union of the windows, then resize by area to ``size`` x ``size``.

    Clipping comes first, or the skull (1,000 HU and more) bleeds into a thin subdural beside it. An output pixel is the
    mean of the input area that it covers, partly covered pixels by their share. That is computed in whole numbers, so
    the result has equal bytes on every machine. A picture that is not square is first
    centred on a square of the lowest HU, unless it is to be stretched.

    Args:
        hu: slices of shape (n, Rows, Columns), HU.
        size: rows and columns of the result.
        windows: all configured windows, whichever of them a network uses.
        stretch: resize rows and columns each by itself to ``size``: the picture is a square of pixels that are none.

    Returns:
        int16 of shape (n, size, size), rounded half to even.
    """
    low, high = clip_range(windows)
    n, rows, columns = hu.shape
    height, width = (rows, columns) if stretch else (max(rows, columns),) * 2
    top, left = (height - rows) // 2, (width - columns) // 2
    down, across = _area_taps(height, size), _area_taps(width, size)
    result = np.empty((n, size, size), np.int16)
    for start in range(0, n, CHUNK):
        part = np.clip(hu[start : start + CHUNK], low, high)
        square = np.full((len(part), height, width), low, np.int32)
        square[:, top : top + rows, left : left + columns] = part
        summed = np.ascontiguousarray(_weighted_sum(square, *down).swapaxes(1, 2)).astype(np.int64)
        total = _weighted_sum(summed, *across).swapaxes(1, 2)
        result[start : start + CHUNK] = np.rint(total / (height * width))
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
