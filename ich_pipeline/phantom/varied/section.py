"""A slice through a head whose outline, vault and scalp depart from the phantom's smooth ones."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from ich_pipeline.phantom.draw import Draw, FloatArray
from ich_pipeline.phantom.fields import RingNoise, SplineNoise, bump
from ich_pipeline.phantom.head import Section

DIRECTIONS = 1024  # directions for which the outline is worked out
FIELD_REACH_MM = 148.0  # the head's random fields end soon after
FRONT, BACK = 3.0, 1.0  # as diamond turns


@dataclass(frozen=True)
class Swelling:
    """A bump of the scalp: where (diamond turn, height in mm), how far it reaches, and how thick it is, mm."""

    turn: float
    height: float
    spread: float  # in turns
    tall: float
    thickness: float


class Outline:
    """How a head departs from its ellipsoid, by direction and height.

    Args:
        draw: its own stream.
        variation: strength, 0 … 1.
        swellings: bumps of the scalp.
        infant: the sutures are open.
    """

    def __init__(self, draw: Draw, variation: float, swellings: tuple[Swelling, ...], infant: bool) -> None:
        self._swellings = swellings
        self._gaps = _gaps(draw.child("gaps"), variation, infant)
        self._shape = RingNoise(draw.child("shape"), 7, 40)
        self._bone = RingNoise(draw.child("bone"), 12, 30)
        self._ripple = RingNoise(draw.child("ripple"), 40, 18)
        self._scalp = RingNoise(draw.child("scalp"), 12, 30)
        self._shaped = variation * draw.uniform(0.4, 2.0)
        self._rippled = variation * draw.uniform(0.05, 0.3)
        self._uneven = variation * draw.uniform(0.06, 0.22)
        self._padded = variation * draw.uniform(0.1, 0.45)
        self._forehead = variation * (draw.uniform(0.1, 0.9) if draw.chance(0.6) else 0.0)
        self._occiput = variation * draw.uniform(0.0, 0.9)

    def at(self, height: float) -> Ring:
        """The outline at a height, mm."""
        turns = np.arange(DIRECTIONS, dtype=np.float32) * np.float32(4 / DIRECTIONS)
        ripple = self._ripple.at(height, turns)
        shape = self._shaped * self._shape.at(height, turns) + self._rippled * ripple
        bone = 1 + self._uneven * self._bone.at(height, turns) + 0.35 * self._uneven * ripple
        bone = bone + self._forehead * bump((turns - FRONT) * np.float32(1 / 0.55))
        bone = bone + self._occiput * bump((turns - BACK) * np.float32(1 / 0.3))
        scalp = np.maximum(1 + self._padded * self._scalp.at(height, turns), 0.25)
        swollen = np.zeros_like(turns)
        for swelling in self._swellings:
            away = np.abs(turns - np.float32(swelling.turn))
            away = np.minimum(away, 4 - away) * np.float32(1 / swelling.spread)
            tall = (height - swelling.height) / swelling.tall
            swollen = swollen + swelling.thickness * bump(away) * max(1 - tall * tall, 0.0)
        gaps = np.zeros_like(turns)
        for gap in self._gaps:
            gaps = np.maximum(gaps, gap.share(turns, height))
        return Ring(shape.astype(np.float32), np.maximum(bone, 0.4), scalp, swollen, gaps)


@dataclass(frozen=True)
class Gap:
    """A suture or a fracture: a thin dark line through the vault that wanders with the height."""

    turn: float  # direction at height 0
    slope: float  # turns a mm
    width: float  # turns
    low: float  # where it begins and ends, mm
    high: float
    open: float  # share of the bone that is missing

    def share(self, turns: FloatArray, height: float) -> FloatArray:
        """How much bone is missing in each direction at a height."""
        if not self.low < height < self.high:
            return np.zeros_like(turns)
        away = np.abs(turns - np.float32((self.turn + self.slope * height) % 4))
        away = np.minimum(away, 4 - away)
        return np.float32(self.open) * np.clip(1.5 - away * np.float32(1 / self.width), 0, 1)


def _gaps(draw: Draw, v: float, infant: bool) -> tuple[Gap, ...]:
    gaps = []
    wide = draw.uniform(0.012, 0.04) if infant else draw.uniform(0.004, 0.01)
    missing = draw.uniform(0.6, 1.0) if infant else v * draw.uniform(0.1, 0.7)
    if draw.chance(0.7 * v):  # coronal and lambdoid sutures, near enough the same on both sides
        front, back = draw.uniform(0.3, 0.5), draw.uniform(0.4, 0.6)
        for place in (FRONT - front, FRONT + front, BACK - back, BACK + back):
            slope = draw.uniform(-0.004, 0.004)
            gaps.append(Gap(place, slope, wide * draw.uniform(0.6, 1.4), -60.0, 80.0, missing))
    for _ in range(draw.integer(1, 3) if draw.chance(0.14 * v) else 0):
        middle = draw.uniform(-30, 50)
        gaps.append(
            Gap(
                draw.uniform(0, 4), draw.uniform(-0.02, 0.02), draw.uniform(0.004, 0.014), middle - draw.uniform(12, 40),
                middle + draw.uniform(12, 40), draw.uniform(0.5, 1.0),
            )
        )  # fmt: skip
    return tuple(gaps)


@dataclass(frozen=True)
class Ring:
    """The outline at one height, by direction (DIRECTIONS,): added to the inner table (mm), factor on the vault's thickness and on
    the scalp's, swelling (mm), and the share of bone that is missing."""

    shape: FloatArray
    bone: FloatArray
    scalp: FloatArray
    swollen: FloatArray
    gaps: FloatArray


@dataclass(frozen=True)
class VariedSection(Section):
    """A section with such an outline."""

    ring: Ring = field(kw_only=True)
    _depths: dict[float, FloatArray] = field(default_factory=dict, compare=False, repr=False, kw_only=True)

    @cached_property
    def direction(self) -> NDArray[np.int32]:
        """Which of the ring's directions each pixel lies in."""
        return (self.turn * np.float32(DIRECTIONS / 4)).astype(np.int32) % DIRECTIONS

    def below(self, outward: float) -> FloatArray:
        """As in the plain section, with the outline's departures; worked out once."""
        if outward not in self._depths:
            self._depths[outward] = self._below(outward)
        return self._depths[outward]

    def _below(self, outward: float) -> FloatArray:
        bone = min(outward, self.head.bone)
        extra = self.ring.shape
        if bone > 0:
            extra = extra + np.float32(bone) * (self.ring.bone - 1)
        if outward > bone:
            extra = extra + np.float32(outward - bone) * (self.ring.scalp - 1) + self.ring.swollen
        return super().below(outward) + extra.astype(np.float32)[self.direction]

    def noise(self, source: SplineNoise) -> FloatArray:
        """As in the plain section; beyond its reach a field goes on as at its border."""
        if id(source) not in self._fields:
            rows, columns = (np.clip(p, -FIELD_REACH_MM, FIELD_REACH_MM) for p in (self.rows, self.columns))
            self._fields[id(source)] = source.plane(self.height, rows, columns)
        return self._fields[id(source)]

    def crop(self, window: tuple[slice, slice]) -> VariedSection:
        """The same slice restricted to a rectangle of pixels."""
        rows, columns = self.rows[window[0]], self.columns[window[1]]
        part = VariedSection(self.head, self.height, self.edge, rows, columns, ring=self.ring)
        # What the whole slice has worked out is cut out of it, not worked out again.
        for name in ("z", "radius", "turn", "direction", "inner"):
            part.__dict__[name] = np.ascontiguousarray(getattr(self, name)[window])
        part._depths.update((out, np.ascontiguousarray(depth[window])) for out, depth in self._depths.items())
        part.__dict__["_plane"] = tuple(np.ascontiguousarray(axis[window]) for axis in self._plane)
        part.__dict__["_unit_shape"] = tuple(np.ascontiguousarray(share[window]) for share in self._unit_shape)
        return part
