"""How well attention maps find lesions, against the lesions' own masks and beside chance.

Two scores: the *hit* (pointing game, Zhang et al. 2018, doi 10.1007/s11263-017-1059-x), whether the map's maximum lies in
the lesion dilated by one cell of the map, and the *mass*, the share of the map that lies inside the lesion. Chance is what
a map without knowledge would score: the same regions' share of the head.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from ich_pipeline.evaluation.bootstrap import draw_counts, has_width, interval


@dataclass(frozen=True)
class Localisation:
    """One map against one mask; ``hit`` and ``mass`` beside what chance gives."""

    hit: bool
    hit_chance: float
    mass: float
    mass_chance: float


@dataclass(frozen=True)
class Draws:
    """How many bootstrap replicates, from which seed, for intervals of which confidence."""

    replicates: int
    seed: int
    confidence: float


@dataclass(frozen=True)
class LocalisationSummary:
    """Means over ``maps`` maps of one label; None where there was no map. ``constant`` maps located nothing.

    ``hit_interval`` and ``mass_interval`` are (low, high), or None with the ``reason``.
    """

    label: str
    maps: int
    constant: int
    hit_rate: float | None
    hit_interval: tuple[float, float] | None
    hit_chance: float | None
    mass: float | None
    mass_interval: tuple[float, float] | None
    mass_chance: float | None
    reason: str | None


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


def summarise(
    label: str, found: Sequence[Localisation | None], patients: Sequence[str], draws: Draws
) -> LocalisationSummary:
    """Means over the maps of one label, with bootstrap intervals by patient.

    Args:
        label: name of the label.
        found: one a map; None stands for a constant map.
        patients: the patient of each map.
        draws: the bootstrap.
    """
    scored = [(f, patient) for f, patient in zip(found, patients, strict=True) if f is not None]
    people, of = np.unique([patient for _, patient in scored], return_inverse=True)
    counts = draw_counts(len(people), draws.replicates, draws.seed)[:, of] if len(people) > 1 else None

    def mean(values: list[float]) -> tuple[float | None, tuple[float, float] | None]:
        if not values:
            return None, None
        if counts is None:
            return float(np.mean(values)), None
        bounds = interval(counts @ np.array(values) / counts.sum(axis=1), draws.confidence)
        return float(np.mean(values)), bounds if bounds and has_width(bounds) else None

    hit, hit_interval = mean([float(f.hit) for f, _ in scored])
    mass, mass_interval = mean([f.mass for f, _ in scored])
    reason = None
    if hit_interval is None or mass_interval is None:
        reason = (
            "no map" if not scored else "maps of one patient only" if counts is None else "the same in every patient"
        )
    return LocalisationSummary(
        label=label,
        maps=len(scored),
        constant=len(found) - len(scored),
        hit_rate=hit,
        hit_interval=hit_interval,
        hit_chance=mean([f.hit_chance for f, _ in scored])[0],
        mass=mass,
        mass_interval=mass_interval,
        mass_chance=mean([f.mass_chance for f, _ in scored])[0],
        reason=reason,
    )
