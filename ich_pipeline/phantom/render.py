"""One slice of a head, free of noise, with the truth of what bleeds where."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ich_pipeline.phantom.brain import Anatomy, anatomy, paint_brain, paint_dura
from ich_pipeline.phantom.draw import FloatArray
from ich_pipeline.phantom.extras import add_artefacts, paint_calcifications, paint_devices, paint_disease
from ich_pipeline.phantom.fields import bump, cover, paint, soften
from ich_pipeline.phantom.head import Head, Section
from ich_pipeline.phantom.lesions import Lesion, blob_depth, collection_depth, region
from ich_pipeline.phantom.skull import base, surroundings

MINIMUM_AREA_MM2 = 20.0  # a lesion that covers less of a slice is neither drawn nor counted there
MASK_SHARE = 0.5  # a pixel belongs to a lesion when at least this share of it is blood
FIELD_OF_VIEW_MM = 230.0
OEDEMA = 17.0  # HU


@dataclass(frozen=True)
class Slice:
    """HU without noise (H, W) float32, and per kind of lesion the mask of its blood (H, W) bool."""

    hu: FloatArray
    masks: dict[str, NDArray[np.bool_]]


def pixel_positions(size: int) -> FloatArray:
    """Pixel centres in mm from the centre of the field of view, (size,)."""
    spacing = FIELD_OF_VIEW_MM / size
    return ((np.arange(size, dtype=np.float64) - (size - 1) / 2) * spacing).astype(np.float32)


class Additions:
    """What else is painted into a slice, all in place; of itself nothing. The varied heads fill it in."""

    def around(self, hu: FloatArray, whole: Section) -> None:
        """Over air, scalp and vault, before the brain."""

    def within(self, hu: FloatArray, brain: Anatomy) -> None:
        """Over the healthy and the formerly ill brain, before the blood."""

    def upon(self, hu: FloatArray, brain: Anatomy) -> None:
        """Over everything inside the vault, blood too."""


def render(head: Head, lesions: Sequence[Lesion], height: float, size: int) -> Slice:
    """Draw the slice at ``height`` (mm, head coordinates) with ``size`` × ``size`` pixels."""
    positions = pixel_positions(size)
    return render_section(Section(head, height, FIELD_OF_VIEW_MM / size, positions, positions), lesions, Additions())


def render_section(whole: Section, lesions: Sequence[Lesion], additions: Additions) -> Slice:
    """Draw a slice of any field of view with what is added to it."""
    hu = surroundings(whole)
    additions.around(hu, whole)
    window = _bounds(whole.inner > -3)
    section = whole.crop(window)
    part = hu[window].copy()
    blood = _Blood(section, lesions)
    brain = anatomy(section, blood.collection, blood.push, blood.distended)
    paint_brain(part, brain)
    paint_disease(part, brain)
    paint_dura(part, brain)
    paint_calcifications(part, brain)
    additions.within(part, brain)
    masks = blood.paint(part, brain)
    paint_devices(part, brain)
    base(section, part)
    add_artefacts(part, brain)
    additions.upon(part, brain)
    hu[window] = part
    full = {}
    for kind, mask in masks.items():
        full[kind] = np.zeros(hu.shape, bool)
        full[kind][window] = mask
    return Slice(soften(hu, 6), full)


def _bounds(inside: NDArray[np.bool_]) -> tuple[slice, slice]:
    rows, columns = np.flatnonzero(inside.any(axis=1)), np.flatnonzero(inside.any(axis=0))
    return slice(int(rows[0]), int(rows[-1]) + 1), slice(int(columns[0]), int(columns[-1]) + 1)


class _Blood:
    """The lesions of one slice: what displaces the brain before it is drawn, and what is painted into it after."""

    def __init__(self, section: Section, lesions: Sequence[Lesion]) -> None:
        self._section, self._lesions = section, lesions
        self._least = MINIMUM_AREA_MM2 / (section.edge * section.edge)
        self._cavity = cover(section.inner, section.edge)
        self._depths: dict[int, FloatArray] = {}
        self._shares: dict[int, FloatArray] = {}
        self.push = 0.0
        for number, lesion in enumerate(lesions):
            if lesion.kind in ("epidural", "subdural"):
                depth = collection_depth(lesion, section)
                share = cover(depth, section.edge) * self._cavity
                if self._is_seen(share):
                    self._depths[number], self._shares[number] = depth, share
                    self.push -= 0.33 * max(lesion.size[1] - 5, 0) * (1 if lesion.place[0] > 0 else -1)

    def _is_seen(self, share: FloatArray) -> bool:
        return int(np.count_nonzero(share >= MASK_SHARE)) >= self._least

    @property
    def collection(self) -> FloatArray | None:
        """Depth inside any extra-axial collection, or None."""
        if not self._depths:
            return None
        depths = list(self._depths.values())
        deepest = depths[0]
        for depth in depths[1:]:
            deepest = np.maximum(deepest, depth)
        return deepest

    @property
    def distended(self) -> FloatArray | None:
        """Share of blood in the subarachnoid spaces, or None."""
        shares = [region(lesion, self._section) for lesion in self._lesions if lesion.kind == "subarachnoid"]
        return np.maximum.reduce(shares) if shares else None

    def paint(self, hu: FloatArray, brain: Anatomy) -> dict[str, NDArray[np.bool_]]:
        """Paint all lesions that are large enough in this slice; their masks by kind."""
        masks: dict[str, NDArray[np.bool_]] = {}
        for number, lesion in enumerate(self._lesions):
            share = self._share(number, lesion, brain)
            if share is None or not self._is_seen(share):
                continue
            if lesion.kind == "intraparenchymal":
                self._paint_oedema(hu, lesion, brain)
            mottle = 3.0 * self._section.noise(self._section.head.patches)
            paint(hu, share, lesion.density + mottle)
            mask = share >= MASK_SHARE
            masks[lesion.kind] = masks[lesion.kind] | mask if lesion.kind in masks else mask
        return masks

    def _share(self, number: int, lesion: Lesion, brain: Anatomy) -> FloatArray | None:
        if lesion.kind in ("epidural", "subdural"):
            return self._shares.get(number)
        if lesion.kind == "intraparenchymal":
            tissue = brain.cavity * (1 - brain.ventricles) * cover(brain.surface - 1.0, self._section.edge)
            return cover(blob_depth(lesion, self._section), 1.5 * self._section.edge) * tissue
        if lesion.kind == "subarachnoid":
            return brain.sulci * region(lesion, self._section)
        return brain.ventricles * self._layer(lesion, brain)

    def _layer(self, lesion: Lesion, brain: Anatomy) -> FloatArray:
        """Blood sinks to the back of the ventricles with a level; a cast fills more of them."""
        rows = self._section.rows[:, None] - np.float32(self._section.head.shift[1])
        sunk = cover(rows - np.float32(lesion.place[1]) + 0 * brain.x, 2.0)
        strong = np.clip(0.75 + 0.25 * brain.x * np.float32(lesion.place[0] / 6), 0.5, 1.0)
        return np.maximum(sunk, np.float32(lesion.size[0])) * np.where(
            strong < 0.75, np.float32(lesion.size[0]), np.float32(1)
        )

    def _paint_oedema(self, hu: FloatArray, lesion: Lesion, brain: Anatomy) -> None:
        around = blob_depth(lesion, self._section)
        width = 2.5 + 0.5 * min(lesion.size)
        rim = bump(np.clip(-around * np.float32(1 / width), 0, 1)) * (1 - brain.sulci - brain.ventricles) * brain.cavity
        paint(hu, 0.9 * rim, OEDEMA)
