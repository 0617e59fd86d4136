"""Pictures for self-contained pages: CT as grey PNG in data URIs, attention as outline.

A CT picture holds HU, not a window: the union of all windows as 8-bit grey. The page's own SVG filters make a window of
it, so one picture serves every window preset.
"""

from __future__ import annotations

import base64
import io
import zlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ich_pipeline.explain.placed import PlacedMap, head_of, peaks, slice_head
from ich_pipeline.windowing.windows import WindowLike, clip_range, prepare, window_channels

DRAWN = 128  # pixels that a map is drawn at


GREYS = 256  # of a union picture


@dataclass(frozen=True)
class WindowFilter:
    """An SVG filter that shows a window of the union picture: ``table`` is what each of its 256 greys becomes, 0..1."""

    name: str
    center: float
    width: float
    table: str


def window_filters(windows: Sequence[WindowLike]) -> list[WindowFilter]:
    """One filter a window, by the function that the networks see it through (:func:`~ich_pipeline.windowing.windows.window_channels`)."""
    low, high = clip_range(windows)
    hu = np.linspace(low, high, GREYS, dtype=np.float32)
    shown = window_channels(hu, windows)
    return [
        WindowFilter(w.name, w.center, w.width, " ".join(f"{value:.3g}" for value in shown[:, k].tolist()))
        for k, w in enumerate(windows)
    ]


def ct_uri(hu: NDArray[np.integer], size: int, windows: Sequence[WindowLike]) -> str:
    """Data URI of one slice (Rows, Columns) as the union of all windows, area-resized to at most ``size`` pixels."""
    side = max(hu.shape)
    return hu_uri(prepare(hu[None], min(side, size), windows)[0], windows)


def hu_uri(hu: NDArray[np.integer], windows: Sequence[WindowLike]) -> str:
    """As :func:`ct_uri`, of any picture (Rows, Columns), in its own pixels."""
    low, high = clip_range(windows)
    pixels = np.clip(hu.astype(np.float64), low, high)
    return png_uri(np.rint((pixels - low) * (255 / (high - low))).astype(np.uint8))


def at_head(hu: NDArray[np.integer]) -> NDArray[np.integer]:
    """The square about the head of one slice (Rows, Columns), a twentieth of its side free round it; all of it without a head."""
    head = slice_head(hu)
    if not head.any():
        return hu
    spans = [np.flatnonzero(head.any(axis=axis))[[0, -1]] for axis in (1, 0)]
    side = int(1.1 * max(last - first + 1 for first, last in spans))
    padded = np.pad(hu, side, constant_values=int(hu.min()))
    top, left = (int(first + last + 1 - side) // 2 + side for first, last in spans)
    return padded[top : top + side, left : left + side]


@dataclass(frozen=True)
class MapDrawing:
    """An attention map over a picture, in a viewBox of 0..100; nothing of it lies outside the head.

    Attributes:
        path: SVG path round where the map is at or above a share of its maximum in the head.
        peaks: (x, y) of every separate maximum (:func:`ich_pipeline.explain.placed.peaks`), the highest first.
    """

    path: str
    peaks: tuple[tuple[float, float], ...]


def draw_map(placed: PlacedMap | None, hu: NDArray[np.integer], fraction: float) -> MapDrawing | None:
    """A map over its slice (Rows, Columns); None where it locates nothing in the head."""
    return draw_values(map_in_head(placed, hu), fraction)


def draw_values(values: NDArray[np.float64] | None, fraction: float) -> MapDrawing | None:
    """As :func:`draw_map`, of what :func:`map_in_head` gave."""
    if values is None:
        return None
    marks = tuple(_mark(at) for at in peaks(values, fraction))
    return MapDrawing(outline_path(values, fraction), marks)


def _mark(at: tuple[int, int]) -> tuple[float, float]:
    """Place (x, y) of a pixel (row, column) in the viewBox."""
    row, column = at
    return round(100 * (column + 0.5) / DRAWN, 1), round(100 * (row + 0.5) / DRAWN, 1)


def map_in_head(placed: PlacedMap | None, hu: NDArray[np.integer]) -> NDArray[np.float64] | None:
    """A map at :data:`DRAWN` pixels of its square picture, zero outside the head; None where nothing is left."""
    if placed is None:
        return None
    values = placed.inside(head_of(hu, DRAWN))
    return values if values.any() else None


def png_uri(pixels: NDArray[np.uint8]) -> str:
    """Data URI of grey pixels (h, w)."""
    return f"data:image/png;base64,{base64.b64encode(png_bytes(pixels)).decode()}"


def png_bytes(pixels: NDArray[np.uint8]) -> bytes:
    """PNG file of grey pixels, by runs and code lengths alone: noise has nothing more to find, and it takes half the time."""
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG", compress_type=zlib.Z_RLE)
    return buffer.getvalue()


def outline_path(values: NDArray[np.floating], fraction: float) -> str:
    """SVG path, in a viewBox of 0..100, round where a map is at or above ``fraction`` of its maximum."""
    from contourpy import contour_generator

    padded = np.pad(values, 1)  # so that a region at the edge closes
    rows, columns = values.shape
    lines = contour_generator(z=padded).lines(max(fraction * float(values.max()), 1e-9))
    parts = []
    for line in lines:
        xy = (np.asarray(line, np.float64) - 0.5) * np.array([100 / columns, 100 / rows])
        parts.append("M" + "L".join(f"{x:.1f} {y:.1f}" for x, y in np.clip(xy, 0, 100)) + "Z")
    return "".join(parts)
