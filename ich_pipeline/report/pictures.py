"""Pictures for self-contained pages: CT as grey PNG in data URIs, attention as overlay and outline.

A CT picture holds HU, not a window: the union of all windows as 8-bit grey. The page's own SVG filters make a window of
it, so one picture serves every window preset.
"""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ich_pipeline.windowing import WindowLike, clip_range, prepare

HEAT = (255, 138, 0)  # overlay colour: no tissue is orange
HEAT_ALPHA = 150  # of 255, at the map's maximum


@dataclass(frozen=True)
class WindowFilter:
    """An SVG filter ``slope * grey + intercept`` that shows a window of the union picture."""

    name: str
    center: float
    width: float
    slope: float
    intercept: float


def window_filters(windows: Sequence[WindowLike]) -> list[WindowFilter]:
    """One filter a window; grey 0..1 of the union maps to the window's ramp."""
    low, high = clip_range(windows)
    return [
        WindowFilter(
            w.name,
            w.center,
            w.width,
            round((high - low) / w.width, 5),
            round((low - w.center + w.width / 2) / w.width, 5),
        )
        for w in windows
    ]


def ct_uri(hu: NDArray[np.integer], size: int, windows: Sequence[WindowLike]) -> str:
    """Data URI of one slice (Rows, Columns) as the union of all windows, area-resized to at most ``size`` pixels."""
    low, high = clip_range(windows)
    side = max(hu.shape)
    pixels = prepare(hu[None], min(side, size), windows)[0].astype(np.float64)
    return png_uri(np.rint((pixels - low) * (255 / (high - low))).astype(np.uint8))


def heat_uri(attention: NDArray[np.floating]) -> str:
    """Data URI of a map (h, w) in 0..1 as a transparent overlay, one pixel a cell: the browser smooths it."""
    alpha = np.rint(np.clip(attention, 0, 1) * HEAT_ALPHA).astype(np.uint8)
    colour = np.broadcast_to(np.array(HEAT, np.uint8), (*alpha.shape, 3))
    return png_uri(np.concatenate([colour, alpha[..., None]], axis=-1))


def png_uri(pixels: NDArray[np.uint8]) -> str:
    """Data URI of grey (h, w), RGB or RGBA (h, w, 3 or 4) pixels."""
    return f"data:image/png;base64,{base64.b64encode(png_bytes(pixels)).decode()}"


def png_bytes(pixels: NDArray[np.uint8]) -> bytes:
    """PNG file of grey, RGB or RGBA pixels."""
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG", optimize=True)
    return buffer.getvalue()


def outline_path(attention: NDArray[np.floating], fraction: float) -> str:
    """SVG path, in a viewBox of 0..100, round where the smoothed map is at or above ``fraction`` of its maximum."""
    return _path(smooth(attention), fraction)


def mask_path(mask: NDArray[np.bool_]) -> str:
    """SVG path, in a viewBox of 0..100, round a mask."""
    return _path(mask.astype(np.float64), 0.5)


def smooth(attention: NDArray[np.floating], size: int = 64) -> NDArray[np.float64]:
    """A map (h, w) drawn at ``size`` pixels: bilinear between the centres of its cells, flat beyond the outer ones."""
    rows, columns = attention.shape
    values = np.asarray(attention, np.float64)
    for axis, cells in ((0, rows), (1, columns)):
        at = np.clip((np.arange(size) + 0.5) * cells / size - 0.5, 0, cells - 1)
        below = np.floor(at).astype(int)
        above = np.minimum(below + 1, cells - 1)
        weight = (at - below).reshape((-1, 1) if axis == 0 else (1, -1))
        values = np.take(values, below, axis) * (1 - weight) + np.take(values, above, axis) * weight
    return values


def _path(values: NDArray[np.float64], fraction: float) -> str:
    from contourpy import contour_generator

    padded = np.pad(values, 1)  # so that a region at the edge closes
    rows, columns = values.shape
    lines = contour_generator(z=padded).lines(max(fraction * float(values.max()), 1e-9))
    parts = []
    for line in lines:
        xy = (np.asarray(line, np.float64) - 0.5) * np.array([100 / columns, 100 / rows])
        parts.append("M" + "L".join(f"{x:.1f} {y:.1f}" for x, y in np.clip(xy, 0, 100)) + "Z")
    return "".join(parts)
