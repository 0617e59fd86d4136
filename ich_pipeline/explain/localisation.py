"""How well attention maps find lesions, against the lesions' own masks and beside chance.

Four scores. The *hit* (pointing game, Zhang et al. 2018, doi 10.1007/s11263-017-1059-x): whether the map's maximum inside
the head lies within a tolerance in mm of the lesion. The *mass*: the share of the map inside the head that lies inside the
lesion. The *Dice* of the region at or above a share of the maximum, with the lesion. The *control*, in slices that show
another finding too: whether the maximum lies as near to that one's lesion. A map that hits both as often says where blood
is, not which. Chance is what a map without knowledge would score on the same support: the regions' share of the head; for
Dice, a region of the same size anywhere in the head. :mod:`ich_pipeline.explain.beside` has maps to stand beside it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from ich_pipeline.evaluation.bootstrap import draw_counts, has_width, interval
from ich_pipeline.explain.placed import peak


@dataclass(frozen=True)
class Localisation:
    """One map against one mask; ``hit``, ``mass`` and ``dice`` beside what chance gives.

    ``hit_other`` and its chance: against the lesions of the other findings in the slice; None where there are none.
    """

    hit: bool
    hit_chance: float
    mass: float
    mass_chance: float
    dice: float
    dice_chance: float
    hit_other: bool | None = None
    other_chance: float | None = None


@dataclass(frozen=True)
class Draws:
    """How many bootstrap replicates, from which seed, for intervals of which confidence."""

    replicates: int
    seed: int
    confidence: float


Interval = tuple[float, float] | None


@dataclass(frozen=True)
class LocalisationSummary:
    """Means over ``maps`` maps of one label; None where there was no map. ``constant`` maps located nothing.

    ``hit_interval``, ``mass_interval`` and ``dice_interval`` are (low, high), or None with the ``reason``. ``shared`` maps are of slices with
    another finding; ``own_rate`` is their hit rate on the own lesion, ``other_rate`` on the others' lesions.
    """

    label: str
    maps: int
    constant: int
    hit_rate: float | None
    hit_interval: Interval
    hit_chance: float | None
    mass: float | None
    mass_interval: Interval
    mass_chance: float | None
    dice: float | None
    dice_interval: Interval
    dice_chance: float | None
    reason: str | None
    shared: int
    own_rate: float | None
    own_interval: Interval
    other_rate: float | None
    other_interval: Interval
    other_chance: float | None


def score_values(
    values: NDArray[np.floating],
    lesion: NDArray[np.bool_],
    head: NDArray[np.bool_],
    spacing_mm: tuple[float, float],
    tolerance_mm: float,
    others: NDArray[np.bool_] | None = None,
    fraction: float = 0.5,
) -> Localisation | None:
    """Score one map; None where it is zero all over the head, so that it locates nothing.

    Args:
        values: the map (Rows, Columns) over the picture, zero outside head and lesion, not constant.
        lesion: (Rows, Columns), at least one pixel.
        head: (Rows, Columns).
        spacing_mm: (between rows, between columns).
        tolerance_mm: how far from a lesion a maximum still counts as its own.
        others: lesions of the other findings in the slice, if any.
        fraction: of the maximum, from which a pixel belongs to the region.
    """
    if not lesion.any():
        raise ValueError("a lesion mask without a pixel cannot be located")
    support = head | lesion
    total = values.sum()
    if total <= 0:
        return None
    at = peak(values)
    region = values >= fraction * values.max()
    close = near(lesion, spacing_mm, tolerance_mm)
    besides = None if others is None or not others.any() else near(others, spacing_mm, tolerance_mm)
    return Localisation(
        bool(close[at]),
        float((close & support).sum() / support.sum()),
        float(values[lesion].sum() / total),
        float(lesion.sum() / support.sum()),
        dice(region, lesion),
        float(2 * region.sum() * lesion.sum() / support.sum() / (region.sum() + lesion.sum())),
        None if besides is None else bool(besides[at]),
        None if besides is None else float((besides & support).sum() / support.sum()),
    )


def dice(region: NDArray[np.bool_], lesion: NDArray[np.bool_]) -> float:
    """Twice the common pixels over the pixels of both; one of them has some."""
    return float(2 * (region & lesion).sum() / (region.sum() + lesion.sum()))


def dice_by_fraction(
    values: NDArray[np.floating], lesion: NDArray[np.bool_], fractions: NDArray[np.floating]
) -> NDArray[np.float64]:
    """Dice of the regions at every share of the maximum, rising; a lesion with a pixel, a map that is not zero."""
    ends = fractions * values.max()
    high = values >= ends[0]
    # How many ends each pixel reaches; summed from the back, how many pixels reach each end.
    reached = np.searchsorted(ends, values[high], side="right")
    region, common = (
        np.bincount(of, minlength=len(ends) + 1)[::-1].cumsum()[::-1][1:] for of in (reached, reached[lesion[high]])
    )
    return 2 * common / (region + lesion.sum())


def near(lesion: NDArray[np.bool_], spacing_mm: tuple[float, float], tolerance_mm: float) -> NDArray[np.bool_]:
    """The pixels within the tolerance of a mask (Rows, Columns); ``spacing_mm`` is between rows, between columns."""
    found = np.zeros(lesion.shape, bool)
    rows, columns = np.flatnonzero(lesion.any(axis=1)), np.flatnonzero(lesion.any(axis=0))
    if len(rows):  # distances are taken in the box that can be near: a tenth of the picture
        box = tuple(
            slice(max(at[0] - math.ceil(tolerance_mm / mm), 0), at[-1] + math.ceil(tolerance_mm / mm) + 1)
            for at, mm in zip((rows, columns), spacing_mm, strict=True)
        )
        found[box] = np.asarray(ndimage.distance_transform_edt(~lesion[box], sampling=spacing_mm)) <= tolerance_mm
    return found


def summarise(
    label: str, found: Sequence[Localisation | None], patients: Sequence[str], draws: Draws
) -> LocalisationSummary:
    """Means over the maps of one label, with bootstrap intervals by patient.

    Args:
        label: name of the label.
        found: one a map; None stands for a map that locates nothing.
        patients: the patient of each map.
        draws: the bootstrap.
    """
    scored = [(f, patient) for f, patient in zip(found, patients, strict=True) if f is not None]
    shared = [(f, patient) for f, patient in scored if f.hit_other is not None]
    all_maps = Means([patient for _, patient in scored], draws)
    two_lesions = Means([patient for _, patient in shared], draws)
    hit, hit_interval = all_maps.of([float(f.hit) for f, _ in scored])
    mass, mass_interval = all_maps.of([f.mass for f, _ in scored])
    overlap, dice_interval = all_maps.of([f.dice for f, _ in scored])
    own, own_interval = two_lesions.of([float(f.hit) for f, _ in shared])
    other, other_interval = two_lesions.of([float(bool(f.hit_other)) for f, _ in shared])
    reason = None
    if hit_interval is None or mass_interval is None:
        one = all_maps.counts is None
        reason = "no map" if not scored else "maps of one patient only" if one else "the same in every patient"
    return LocalisationSummary(
        label=label,
        maps=len(scored),
        constant=len(found) - len(scored),
        hit_rate=hit,
        hit_interval=hit_interval,
        hit_chance=all_maps.of([f.hit_chance for f, _ in scored])[0],
        mass=mass,
        mass_interval=mass_interval,
        mass_chance=all_maps.of([f.mass_chance for f, _ in scored])[0],
        dice=overlap,
        dice_interval=dice_interval,
        dice_chance=all_maps.of([f.dice_chance for f, _ in scored])[0],
        reason=reason,
        shared=len(shared),
        own_rate=own,
        own_interval=own_interval,
        other_rate=other,
        other_interval=other_interval,
        other_chance=two_lesions.of([f.other_chance or 0.0 for f, _ in shared])[0],
    )


class Means:
    """Means over maps, with intervals where two patients at least have a map and differ."""

    def __init__(self, patients: Sequence[str], draws: Draws) -> None:
        """Of maps of these patients, one a map."""
        people, of = np.unique(np.array(patients, dtype=str), return_inverse=True)
        many = len(people) > 1
        self.counts = draw_counts(len(people), draws.replicates, draws.seed)[:, of] if many else None
        self._confidence = draws.confidence

    def of(self, values: Sequence[float]) -> tuple[float | None, Interval]:
        """The mean of a value a map, None without one; and its interval."""
        if not values:
            return None, None
        if self.counts is None:
            return float(np.mean(values)), None
        bounds = interval(self.counts @ np.array(values) / self.counts.sum(axis=1), self._confidence)
        return float(np.mean(values)), bounds if bounds and has_width(bounds) else None
