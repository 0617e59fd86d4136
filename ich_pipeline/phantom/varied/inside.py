"""Inside the vault: smeared grey and white matter, vessels, calcium, old damage, tubes and air. None of it is haemorrhage."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from ich_pipeline.phantom.brain import Anatomy
from ich_pipeline.phantom.draw import Draw, FloatArray
from ich_pipeline.phantom.fields import capsule, cover, ellipsoid, paint
from ich_pipeline.phantom.head import Head

Point = tuple[float, float, float]

MIDDLE_HU = 33.0  # between grey and white matter
# Where vessels are met that look dense in cross-section: basilar, middle cerebral and carotid arteries, vein of Galen, straight
# sinus, torcular; (|x|, y, z) and radius in mm.
VESSELS = (
    ((0.0, -8.0, -24.0), 2.0),
    ((14.0, -22.0, -18.0), 1.6),
    ((26.0, -22.0, -15.0), 1.4),
    ((9.0, -20.0, -28.0), 2.2),
    ((0.0, 30.0, 2.0), 2.4),
    ((0.0, 44.0, 4.0), 2.2),
    ((0.0, 74.0, -8.0), 4.5),
)


@dataclass(frozen=True)
class Spot:
    """A small ellipsoid: what it is made of (HU), where, how large (mm), how soft its edge is (mm), and its share of the pixel."""

    hu: float
    place: Point
    radii: Point
    edge: float
    share: float


@dataclass(frozen=True)
class Inside:
    """What a patient has inside the vault beside the phantom's own; drawn once."""

    smear: float  # blur over grey, white and fluid, as thick slices give, mm
    ribbon: float  # HU by which a broad rim of cortex is denser than what lies deep
    rim: float  # width of that rim, mm
    flat: float  # share by which grey and white matter draw near to each other
    mottle: float  # HU of slow changes
    hazy: float  # HU by which white matter around the ventricles is darker
    before: tuple[Spot, ...]  # painted under the blood
    after: tuple[Spot, ...]  # painted over it
    tubes: tuple[tuple[Point, Point, float, float], ...]  # start, end, radius (mm), HU

    @classmethod
    def drawn(cls, draw: Draw, head: Head, v: float) -> Inside:
        """Draw what a head may hold with variation ``v``."""
        old = head.age > 55
        return cls(
            smear=v * draw.uniform(0.4, 1.5),
            ribbon=v * draw.uniform(0, 4.5),
            rim=draw.uniform(5, 11),
            flat=v * draw.uniform(0, 0.6),
            mottle=v * draw.uniform(0, 1.6),
            hazy=v * draw.uniform(0, 8) if draw.chance(0.6 if old else 0.1) else 0.0,
            before=(*_vessels(draw.child("vessels"), v), *_damage(draw.child("damage"), v, old)),
            after=(*_calcium(draw.child("calcium"), v, old), *_air(draw.child("air"), head, v)),
            tubes=_tubes(draw.child("tubes"), v),
        )

    def under_blood(self, hu: FloatArray, brain: Anatomy) -> None:
        """Over the phantom's brain, before its blood. In place."""
        section = brain.section
        tissue = (brain.cavity > 0.5) & (hu < 90)
        fluid = np.minimum(brain.ventricles + brain.sulci, 1)
        near = np.maximum(1 - np.abs(hu - np.float32(MIDDLE_HU)) * np.float32(1 / 16), 0)
        change = near * np.float32(self.flat) * (np.float32(MIDDLE_HU) - hu)
        slow = self.mottle * section.noise(section.head.patches)
        change = change + (1 - fluid) * (self.ribbon * (cover(self.rim - brain.cortex, 9.0) - 0.4) + slow)
        if self.hazy:
            around = ndimage.gaussian_filter(brain.ventricles, 7.0 / section.edge, truncate=2)
            change = change - self.hazy * np.clip(3 * around, 0, 1) * (1 - fluid)
        hu += change * tissue
        for spot in self.before:
            _paint_spot(hu, spot, brain)
        if self.smear > 0.1:
            _smear(hu, brain, self.smear / section.edge)

    def over_blood(self, hu: FloatArray, brain: Anatomy) -> None:
        """Over everything. In place."""
        for spot in self.after:
            _paint_spot(hu, spot, brain)
        for start, end, radius, density in self.tubes:
            tilt = 20.0
            low, high = min(start[2], end[2]) - radius - tilt, max(start[2], end[2]) + radius + tilt
            if low < brain.section.height < high:
                tube = capsule(brain.x, brain.y, brain.section.z, start, end, (radius, radius))
                paint(hu, cover(tube, brain.section.edge), density)


def _paint_spot(hu: FloatArray, spot: Spot, brain: Anatomy) -> None:
    section = brain.section
    if abs(section.height - spot.place[2]) > spot.radii[2] + spot.edge + 20:
        return
    depth = ellipsoid(brain.x, brain.y, section.z, spot.place, spot.radii)
    if min(spot.radii) > 4:
        depth = depth + np.float32(0.2 * min(spot.radii)) * section.noise(section.head.patches)
    paint(hu, np.float32(spot.share) * cover(depth, max(spot.edge, section.edge)) * brain.cavity, spot.hu)


def _smear(hu: FloatArray, brain: Anatomy, width: float) -> None:
    """Blur the soft tissue of the cavity by itself, so that bone does not run into it."""
    weight = brain.cavity * (hu < 90)
    total = ndimage.gaussian_filter(hu * weight, width, truncate=2.5)
    share = ndimage.gaussian_filter(weight, width, truncate=2.5)
    paint(hu, weight, total / np.maximum(share, np.float32(0.05)))


def _side(draw: Draw, place: Point, spread: float) -> Point:
    x, y, z = place
    return (
        draw.sign() * x + draw.uniform(-spread, spread),
        y + draw.uniform(-spread, spread),
        z + draw.uniform(-spread, spread),
    )


def _vessels(draw: Draw, v: float) -> list[Spot]:
    dense = draw.uniform(42, 62)
    spots = []
    for place, radius in VESSELS:
        if draw.chance(0.35 * v):
            r = radius * draw.uniform(0.7, 1.3)
            spots.append(Spot(dense, _side(draw, place, 2.0), (r, r * draw.uniform(1, 1.8), 5.0), 1.2, 0.9))
    return spots


def _damage(draw: Draw, v: float, old: bool) -> list[Spot]:
    """Lacunes, old and recent infarcts, patches of oedema: all darker than brain."""
    spots = []
    for _ in range(draw.integer(1, 4) if draw.chance((0.4 if old else 0.05) * v) else 0):
        r = draw.uniform(1.5, 4)
        spots.append(Spot(draw.uniform(8, 20), _side(draw, (22, 0, 12), 16), (r, r, r), 1.5, 0.9))
    if draw.chance(0.14 * v):
        radii = (draw.uniform(8, 26), draw.uniform(8, 30), draw.uniform(8, 26))
        place = _side(draw, (38, 5, 16), 26)
        spots.append(Spot(draw.uniform(10, 24), place, radii, draw.uniform(2, 9), draw.uniform(0.4, 0.95)))
    return spots


def _calcium(draw: Draw, v: float, old: bool) -> list[Spot]:
    spots = []
    if draw.chance((0.35 if old else 0.12) * v):  # basal ganglia, both sides more or less alike
        place, hard = (20 + draw.uniform(-4, 4), draw.uniform(-8, 8), draw.uniform(0, 10)), draw.uniform(55, 160)
        for side in (-1, 1):
            r = draw.uniform(1.0, 4.0)
            radii = (r, r * draw.uniform(1, 1.8), r * 1.5)
            spots.append(Spot(hard, (side * place[0], place[1], place[2]), radii, 1.5, draw.uniform(0.4, 0.9)))
    for _ in range(draw.integer(1, 3) if draw.chance((0.45 if old else 0.15) * v) else 0):  # falx, choroid, dura
        place = draw.choice(
            ((0.0, -48.0, 30.0), (0.0, 40.0, 40.0), (22.0, 30.0, 10.0), (0.0, 22.0, 3.0), (30.0, 40.0, -4.0))
        )
        r = draw.uniform(0.8, 2.6)
        spots.append(
            Spot(draw.uniform(80, 400), _side(draw, place, 3.0), (r, r * draw.uniform(1, 2.2), 2 * r), 0.9, 0.9)
        )
    return spots


def _air(draw: Draw, head: Head, v: float) -> list[Spot]:
    """Bubbles under the vault, mostly in front, where air rises to."""
    spots = []
    if draw.chance(0.06 * v):
        for _ in range(draw.integer(1, 5)):
            t, height = draw.uniform(-0.9, 0.9), draw.uniform(-10, 40)
            cosine, sine = (1 - t * t) / (1 + t * t), 2 * t / (1 + t * t)
            shrink = 1 - 0.5 * (height / head.height) * (height / head.height)
            place = (80 * sine * 0.8 * shrink, -80 * cosine * shrink, height)
            r = draw.uniform(1.5, 6)
            spots.append(Spot(draw.uniform(-950, -200), place, (r, 0.7 * r, r), 1.0, 0.95))
    return spots


def _tubes(draw: Draw, v: float) -> tuple[tuple[Point, Point, float, float], ...]:
    """A ventricular drain, a pressure probe, rarely a deep electrode of metal."""
    tubes = []
    if draw.chance(0.07 * v):
        side = draw.sign()
        front = draw.chance(0.7)
        start = (side * draw.uniform(24, 36), -36.0, 66.0) if front else (side * 36.0, 58.0, 44.0)
        end = (side * draw.uniform(2, 9), draw.uniform(-22, 0), draw.uniform(2, 14))
        tubes.append((start, end, draw.uniform(0.9, 1.6), draw.uniform(80, 420)))
    if draw.chance(0.03 * v):
        side = draw.sign()
        start = (side * draw.uniform(30, 50), draw.uniform(-50, 20), 62.0)
        end = (start[0] * 0.8, start[1] * 0.9, draw.uniform(10, 45))
        tubes.append((start, end, draw.uniform(0.5, 1.0), draw.uniform(400, 2800)))
    return tuple(tubes)
