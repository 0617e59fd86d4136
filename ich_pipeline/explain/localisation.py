"""How well attention maps find lesions, against the lesions' own masks and beside chance.

Two scores: the *hit* (pointing game, Zhang et al. 2018, doi 10.1007/s11263-017-1059-x), whether the map's maximum lies in
the lesion dilated by one cell of the map, and the *mass*, the share of the map that lies inside the lesion. Chance is what
a map without knowledge would score: the same regions' share of the head.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage


@dataclass(frozen=True)
class Localisation:
    """One map against one mask; ``hit`` and ``mass`` beside what chance gives."""

    hit: bool
    hit_chance: float
    mass: float
    mass_chance: float


@dataclass(frozen=True)
class LocalisationSummary:
    """Means over ``maps`` maps of one label; None where there was no map. ``constant`` maps located nothing."""

    label: str
    maps: int
    constant: int
    hit_rate: float | None
    hit_chance: float | None
    mass: float | None
    mass_chance: float | None


def head_mask(hu: NDArray[np.integer], air: float) -> NDArray[np.bool_]:
    """The head in one slice: the largest connected part brighter than ``air`` HU, its holes filled."""
    parts: NDArray[np.int32] = ndimage.label(hu > air)[0]  # pyright: ignore[reportIndexIssue, reportAssignmentType]
    if not parts.any():
        return np.zeros(hu.shape, bool)
    sizes = np.bincount(parts.ravel())
    sizes[0] = 0
    return ndimage.binary_fill_holes(parts == sizes.argmax())  # type: ignore[return-value]


def square(picture: NDArray[Any], fill: float) -> NDArray[Any]:
    """A picture (Rows, Columns) centred on a square of ``fill``, as :func:`ich_pipeline.windowing.prepare` centres it."""
    rows, columns = picture.shape
    side = max(rows, columns)
    top, left = (side - rows) // 2, (side - columns) // 2
    padded = np.full((side, side), fill, picture.dtype)
    padded[top : top + rows, left : left + columns] = picture
    return padded


def cell_coverage(mask: NDArray[np.bool_], shape: tuple[int, int]) -> NDArray[np.float64]:
    """Share of each map cell that a full-resolution mask covers; (h, w) in 0..1."""
    rows, columns = mask.shape
    down, across = _area_shares(rows, shape[0]), _area_shares(columns, shape[1])
    return down @ mask.astype(np.float64) @ across.T


def _area_shares(pixels: int, cells: int) -> NDArray[np.float64]:
    """Share of each cell that each pixel makes up: (cells, pixels), rows sum to 1."""
    cell = np.arange(cells)[:, None] * pixels
    pixel = np.arange(pixels)[None, :] * cells
    overlap = np.minimum(cell + pixels, pixel + cells) - np.maximum(cell, pixel)
    return np.maximum(overlap, 0) / pixels


def localise(attention: NDArray[np.floating], lesion: NDArray[np.bool_], head: NDArray[np.bool_]) -> Localisation:
    """Score one map.

    Args:
        attention: (h, w), not negative, not constant.
        lesion: (Rows, Columns), at least one pixel.
        head: (Rows, Columns).
    """
    if not lesion.any():
        raise ValueError("a lesion mask without a pixel cannot be located")
    weights = np.asarray(attention, np.float64)
    inside = cell_coverage(lesion, weights.shape)  # type: ignore[arg-type]
    head_cells = np.maximum(cell_coverage(head, weights.shape), inside)  # type: ignore[arg-type]
    near = ndimage.binary_dilation(inside > 0, structure=np.ones((3, 3)))
    hit = bool(near.ravel()[int(weights.argmax())])
    return Localisation(
        hit,
        float((head_cells * near).sum() / head_cells.sum()),
        float((weights * inside).sum() / weights.sum()),
        float(inside.sum() / head_cells.sum()),
    )


def summarise(label: str, found: Iterable[Localisation | None]) -> LocalisationSummary:
    """Means over the maps of one label; None stands for a constant map."""
    every = list(found)
    scored = [f for f in every if f is not None]

    def mean(values: list[float]) -> float | None:
        return float(np.mean(values)) if values else None

    return LocalisationSummary(
        label,
        len(scored),
        len(every) - len(scored),
        mean([float(f.hit) for f in scored]),
        mean([f.hit_chance for f in scored]),
        mean([f.mass for f in scored]),
        mean([f.mass_chance for f in scored]),
    )
