"""Outside the brain: sutures and fractures, swollen scalp, ears and nose, bandages, headrest and table, cables and fingers."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ich_pipeline.phantom.draw import Draw, FloatArray
from ich_pipeline.phantom.fields import capsule, cover, ellipsoid, line_cover, paint
from ich_pipeline.phantom.head import Head, Section
from ich_pipeline.phantom.skull import AIR, MUSCLE
from ich_pipeline.phantom.varied.section import VariedSection

Mask = NDArray[np.bool_]

SUPPORTS = ("snug", "arc", "arc", "arc", "trough", "none")  # what the head may lie on


@dataclass(frozen=True)
class Rod:
    """A straight thing in the picture's plane that passes through many slices: ends (x, y) in mm at the origin's height, how it drifts
    (mm of x and y a mm of height), radius, HU of rim and core."""

    start: tuple[float, float]
    end: tuple[float, float]
    drift: tuple[float, float]
    radius: float
    rim: float
    core: float


@dataclass(frozen=True)
class Outside:
    """What lies around a patient's brain; drawn once."""

    support: str
    gap: float  # between head and support, mm
    curve: float  # radius of the support, mm
    hard: float  # HU of its shell
    bruise: float  # HU of swollen scalp
    bandage: float  # thickness, mm; 0 for none
    gauze: float  # HU of it
    ears: float  # thickness, mm; 0 for none
    nose: bool
    rods: tuple[Rod, ...]

    @classmethod
    def drawn(cls, draw: Draw, head: Head, v: float) -> Outside:
        """Draw the surroundings of a head with variation ``v``."""
        return cls(
            support=draw.choice(SUPPORTS) if draw.chance(v) else "snug",
            gap=draw.uniform(2, 30),
            curve=draw.uniform(105, 190),
            hard=draw.uniform(60, 500),
            bruise=draw.uniform(15, 75),
            bandage=draw.uniform(2, 9) if draw.chance(0.12 * v) else 0.0,
            gauze=draw.uniform(-500, 20),
            ears=draw.uniform(1.2, 3.0) if draw.chance(0.8 * v) else 0.0,
            nose=draw.chance(v),
            rods=_rods(draw.child("rods"), head, v),
        )

    def paint(self, hu: FloatArray, section: VariedSection) -> None:
        """Over air, scalp and vault. In place."""
        head, edge, ring = section.head, section.edge, section.ring
        skin = section.below(head.bone + head.scalp)
        outer = section.below(head.bone)
        direction = section.direction
        if ring.swollen.any():
            swollen = np.clip(ring.swollen * np.float32(0.3), 0, 1)[direction]
            mottled = self.bruise + 14 * section.noise(head.patches)
            paint(hu, swollen * cover(skin - 1.2, edge) * cover(0.5 - outer, edge), mottled)
        if ring.gaps.any():
            gaps = ring.gaps[direction]
            paint(hu, gaps * cover(outer + 0.3, edge), 30.0)
        bare = skin < -0.5 * edge
        if self.support != "snug":
            hu[bare] = AIR
            self._support(hu, section, bare)
        if self.bandage:
            layers = line_cover(np.abs(skin + self.bandage * 0.5), self.bandage * 0.5, edge) * bare
            paint(hu, layers * np.float32(0.85), self.gauze + 90 * section.noise(head.grain))
        if self.ears and section.height < 2:
            self._ears(hu, section, bare)
        if self.nose and section.height < -26:
            depth = ellipsoid(section.x, section.y, section.z, (0, -head.half_length - 8, -60), (9, 20, 26))
            paint(hu, cover(depth, edge) * bare, 20.0)
        for rod in self.rods:
            _paint_rod(hu, rod, section, bare)

    def trim(self, hu: FloatArray, section: Section) -> None:
        """Take away what the skull base, which has one size, lets stick out of a small or thin skull. In place."""
        if section.height > -4:
            return
        head, edge = section.head, section.edge
        hu[(section.below(head.bone) < -0.7 * edge) & (hu > 150)] = MUSCLE
        hu[section.below(head.bone + head.scalp) < -0.5 * edge] = AIR

    def _support(self, hu: FloatArray, section: VariedSection, bare: Mask) -> None:
        """A shallow arc or a trough under the head; it keeps its place while the head is turned."""
        head, edge = section.head, section.edge
        rows, columns = section.rows[:, None], section.columns[None, :]
        behind = head.shift[1] + head.half_length + head.bone + head.scalp + self.gap
        if self.support == "arc":
            away = np.sqrt(columns * columns + (rows - np.float32(behind - self.curve)) ** 2) - np.float32(self.curve)
            lower = cover(rows - np.float32(behind - 0.45 * self.curve), 4.0)
            paint(hu, line_cover(np.abs(away), 0.8, edge) * lower * bare, self.hard)
            return
        half = np.float32(head.half_width + 22 + self.gap)
        across = np.maximum(np.abs(columns) - (half - 45), 0)
        down = np.maximum(rows - np.float32(behind - 45), 0)
        away = np.sqrt(across * across + down * down) - 45
        below = cover(rows + np.float32(10), 4.0)
        paint(hu, line_cover(np.abs(away), 0.9, edge) * below * bare, self.hard)

    def _ears(self, hu: FloatArray, section: VariedSection, bare: Mask) -> None:
        head = section.head
        reach = head.half_width + head.bone + head.scalp
        x, y, z = np.abs(section.x), section.y, np.float32(0.5) * (section.z + 32)
        edge = section.edge
        flap = capsule(x, y, z, (reach - 8, 2, 0), (reach + 12, 18, 0), (self.ears + 1, self.ears))
        curl = capsule(x, y, z, (reach + 12, 18, 0), (reach + 5, 26, 0), (self.ears, 0.7 * self.ears))
        paint(hu, cover(np.maximum(flap, curl), edge) * bare, 15.0)


def _paint_rod(hu: FloatArray, rod: Rod, section: VariedSection, bare: Mask) -> None:
    dx, dy = rod.drift[0] * section.height, rod.drift[1] * section.height
    start = np.array([rod.start[1] + dy, rod.start[0] + dx])
    end = np.array([rod.end[1] + dy, rod.end[0] + dx])
    low, high = np.minimum(start, end) - rod.radius - 2, np.maximum(start, end) + rod.radius + 2
    first_row, last_row = np.searchsorted(section.rows, [low[0], high[0]])
    first_column, last_column = np.searchsorted(section.columns, [low[1], high[1]])
    if first_row == last_row or first_column == last_column:
        return
    window = slice(first_row, last_row), slice(first_column, last_column)
    y, x = section.rows[window[0]][:, None], section.columns[window[1]][None, :]
    depth = capsule(x, y, 0 * x, (start[1], start[0], 0), (end[1], end[0], 0), (rod.radius, rod.radius))
    free = bare[window]
    part = hu[window]
    paint(part, cover(depth, section.edge) * free, rod.rim)
    if rod.core != rod.rim:
        paint(part, cover(depth - 0.45 * rod.radius, section.edge) * free, rod.core)


def _rods(draw: Draw, head: Head, v: float) -> tuple[Rod, ...]:
    """Cables and tubes beside the head, seldom the fingers of a hand that holds it."""
    rods = []
    reach = head.half_width + head.bone + head.scalp
    for _ in range(draw.integer(1, 4) if draw.chance(0.35 * v) else 0):
        side = draw.sign()
        x, y = head.shift[0] + side * (reach + draw.uniform(2, 30)), head.shift[1] + draw.uniform(-90, 90)
        long = draw.uniform(4, 30) if draw.chance(0.4) else 0.5
        end = (x + draw.uniform(-1, 1) * long, y + draw.sign() * long)
        radius = draw.uniform(0.6, 4.0)
        metal = draw.chance(0.4)
        rim = draw.uniform(700, 2900) if metal else draw.uniform(40, 300)
        core = -900.0 if draw.chance(0.4) else rim
        drift = (draw.uniform(-0.4, 0.4), draw.uniform(-0.4, 0.4))
        rods.append(Rod((x, y), end, drift, radius, rim, core))
    if draw.chance(0.03 * v):
        for number in range(draw.integer(2, 6)):
            side = -1 if number % 2 else 1
            x = head.shift[0] + side * (reach + draw.uniform(8, 16))
            y = head.shift[1] - 60 + 20 * (number // 2) + draw.uniform(-4, 4)
            end = (x + draw.uniform(-3, 3), y + draw.uniform(1, 3))
            rods.append(Rod((x, y), end, (0.0, 0.0), draw.uniform(7, 9), 30.0, draw.uniform(400, 900)))
    return tuple(rods)
