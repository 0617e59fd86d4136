"""One slice of a head, free of noise, with the truth of what bleeds where, and what is bright or dark and no bleed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ich_pipeline.phantom.brain import Anatomy, anatomy, paint_brain, paint_dura
from ich_pipeline.phantom.draw import FloatArray
from ich_pipeline.phantom.fields import bump, capsule, cover, ellipsoid, paint, soften
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


def paint_calcifications(hu: FloatArray, brain: Anatomy) -> None:
    """Pineal gland, choroid plexus, falx, pallidum: physiological calcium. In place."""
    section, head = brain.section, brain.section.head
    draw = head.draw.child("calcifications")
    x, y, z, edge = brain.x, brain.y, section.z, section.edge
    a = np.abs(x)
    lumps = 0.6 * section.noise(head.grain)
    size = [draw.uniform(0.7, 1.3) for _ in range(4)]
    hard = [draw.uniform(0.6, 1.4) for _ in range(4)]
    if "pineal" in head.calcified:
        shape = ellipsoid(x, y, z, (0.4, 22, 3), (2.6 * size[0], 3.2 * size[0], 7))
        paint(hu, cover(shape + lumps, edge), 180.0 * hard[0])
    if "choroid" in head.calcified:
        side = np.where(x > 0, np.float32(size[1]), np.float32(size[2]))
        shape = ellipsoid(a, y, z, (20, 28, 12), (2.6, 5.0, 7))
        paint(hu, cover(shape * side + lumps - (1 - side), edge) * np.float32(0.8), 210.0 * hard[1])
    if "falx" in head.calcified:
        middle = (draw.uniform(-60, -45), draw.uniform(26, 54))
        shape = ellipsoid(x, y, z, (0, middle[0], middle[1]), (1.5, 6 * size[3], 10))
        paint(hu, cover(shape + lumps, edge) * brain.cavity, 420.0 * hard[2])
    if "pallidum" in head.calcified:
        shape = ellipsoid(a, y, z, (20, -1, 4), (3.6, 6.5 * size[2], 6))
        paint(hu, cover(shape + 2 * lumps, edge) * np.float32(0.7), 52.0 + 35 * hard[3])


def paint_disease(hu: FloatArray, brain: Anatomy) -> None:
    """An old infarct, a chronic subdural, a meningioma: what else a reader has to tell from blood. In place."""
    section, head = brain.section, brain.section.head
    draw = head.draw.child("disease")
    x, y, z, edge = brain.x, brain.y, section.z, section.edge
    if "infarct" in head.confounders:
        place = (draw.sign() * draw.uniform(34, 50), draw.uniform(-30, 46), draw.uniform(-4, 46))
        shape = ellipsoid(x, y, z, place, (draw.uniform(12, 24), draw.uniform(12, 24), draw.uniform(12, 24)))
        shape = shape + 2.5 * section.noise(head.patches)
        paint(hu, cover(shape, 4.0) * brain.cavity * (1 - brain.infratentorial), draw.uniform(12, 20))
    if "chronic_subdural" in head.confounders:
        side, thick, density = draw.sign(), draw.uniform(4, 10), draw.uniform(12, 26)
        out = bump((y - draw.uniform(-20, 20)) * np.float32(1 / 75)) * bump((z - 24) * np.float32(1 / 45))
        depth = thick * out * np.clip(side * x * np.float32(1 / 20), 0, 1) - section.inner
        paint(hu, cover(depth, edge) * brain.cavity, density)
    if "meningioma" in head.confounders:
        t, height = draw.uniform(-0.8, 0.8), draw.uniform(0, 45)
        cosine, sine = (1 - t * t) / (1 + t * t), 2 * t / (1 + t * t)
        up = height / head.height
        reach = 1 - 0.55 * up * up
        place = (draw.sign() * cosine * 64 * reach, sine * 80 * reach, height)
        radius = draw.uniform(7, 15)
        shape = ellipsoid(x, y, z, place, (radius, radius, radius))
        paint(hu, cover(shape, edge) * brain.cavity, draw.uniform(42, 49))


def paint_devices(hu: FloatArray, brain: Anatomy) -> None:
    """A ventricular shunt: a thin bright tube from the parietal bone to the frontal horn. In place."""
    section = brain.section
    if "shunt" in section.head.confounders:
        tube = capsule(brain.x, brain.y, section.z, (36, 52, 44), (6, -16, 12), (1.3, 1.3))
        paint(hu, cover(tube, section.edge), 420.0)


def add_artefacts(hu: FloatArray, brain: Anatomy) -> None:
    """Beam hardening: brain looks denser beside bone, dark between the petrous bones; streaks at the base. In place."""
    section, head = brain.section, brain.section.head
    near = 1 / (1 + np.maximum(section.inner, 0) * np.float32(0.45))
    hu += 7.0 * near * near * brain.cavity
    if section.height < -18:
        x, y = section.x, section.y
        strength = np.float32(9.0) * np.clip((-18 - section.z) * np.float32(1 / 14), 0, 1)
        band = bump((y - 2 - 0.1 * x) * np.float32(1 / 9)) * bump(x * np.float32(1 / 42))
        hu -= strength * band * brain.cavity
        if "streaks" in head.confounders:
            draw = head.draw.child("streaks")
            for _ in range(5):
                slope, offset = draw.uniform(-0.5, 0.5), draw.uniform(-30, 30)
                line = bump((y - offset - slope * x) * np.float32(1 / draw.uniform(2.0, 4.5)))
                hu += np.float32(draw.uniform(-16, 16)) * line * brain.cavity
