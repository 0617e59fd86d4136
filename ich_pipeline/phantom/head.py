"""One synthetic head: its drawn measures and the coordinates of a slice through it.

Head coordinates are mm with x towards the patient's left, y towards the back, z towards the vertex; the origin lies in the
middle of the head at the level of the foramina of Monro.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property

import numpy as np

from ich_pipeline.phantom.draw import Draw, FloatArray
from ich_pipeline.phantom.fields import RingNoise, SplineNoise, diamond_turn

LOWEST_MM, HIGHEST_MM = -44.0, 64.0  # heights of the first and the last slice in a head of average size


@dataclass(frozen=True)
class Head:
    """Measures of one head, mm unless said otherwise; all drawn by :meth:`drawn`."""

    draw: Draw
    age: int  # years
    sex: str  # F or M
    half_width: float  # of the cranial cavity
    half_length: float
    height: float  # of the vault above the origin
    depth: float  # of the ellipsoid's lower half; the skull base cuts it off
    taper: float  # how much narrower the front is (share)
    skew: float  # plagiocephaly (share)
    bone: float  # thickness of the vault
    scalp: float
    atrophy: float  # 0 young … 1 marked
    ventricles: float  # factor on their radii
    turn: float  # tan(half angle) of the rotation in plane
    roll: float  # slope of z over x
    nod: float  # slope of z over y
    shift: tuple[float, float]  # of the head in the field of view
    brightness: float  # HU added to all brain
    calcified: frozenset[str]  # which harmless calcifications it has
    confounders: frozenset[str]  # other bright or dark things that are no acute blood

    @classmethod
    def drawn(cls, draw: Draw) -> Head:
        """Draw a head: older heads have wider ventricles and sulci, and more calcifications."""
        age = int(draw.bell(14, 98))
        atrophy = min(1.0, max(0.0, (age - 42) / 48 + draw.uniform(-0.2, 0.25)))
        male = draw.chance(0.52)
        size = (1.02 if male else 0.975) * draw.bell(0.94, 1.06)
        width = 67.5 * size * draw.bell(0.94, 1.06)
        old = age > 35
        wanted = {
            "pineal": 0.7 if old else 0.25,
            "choroid": 0.75 if old else 0.2,
            "falx": 0.2 * old,
            "pallidum": 0.08 * old,
        }
        others = {
            "chronic_subdural": 0.03 + 0.04 * atrophy,
            "infarct": 0.03 + 0.05 * atrophy,
            "meningioma": 0.03,
            "shunt": 0.025,
            "dense_falx": 0.3,
            "dense_sinus": 0.3,
            "streaks": 0.2,
        }
        return cls(
            draw=draw.child("fields"),
            age=age,
            sex="M" if male else "F",
            half_width=width,
            half_length=84.0 * size * draw.bell(0.95, 1.05),
            height=76.0 * size * draw.bell(0.96, 1.05),
            depth=88.0 * size,
            taper=draw.bell(0.02, 0.12),
            skew=draw.uniform(-0.025, 0.025),
            bone=draw.bell(4.8, 8.2),
            scalp=draw.bell(3.8, 8.0),
            atrophy=atrophy,
            ventricles=(0.75 + 0.75 * atrophy) * draw.bell(0.8, 1.25),
            turn=draw.bell(-0.1, 0.1),
            roll=draw.bell(-0.12, 0.12),
            nod=draw.bell(-0.16, 0.16),
            shift=(draw.bell(-12, 12), draw.bell(-7, 7)),
            brightness=draw.uniform(-1.5, 1.5),
            calcified=frozenset(name for name, share in wanted.items() if draw.chance(share)),
            confounders=frozenset(name for name, share in others.items() if draw.chance(share)),
        )

    @cached_property
    def warp(self) -> tuple[SplineNoise, SplineNoise]:
        """Displacements of the inner anatomy along x and y."""
        return SplineNoise(self.draw.child("warp x"), 20, 26), SplineNoise(self.draw.child("warp y"), 20, 26)

    @cached_property
    def folds(self) -> SplineNoise:
        """Where sulci run, deep in the brain."""
        return SplineNoise(self.draw.child("folds"), 8.0, 13)

    @cached_property
    def radial_folds(self) -> RingNoise:
        """Where sulci reach the surface."""
        return RingNoise(self.draw.child("radial folds"), 72, 14)

    @cached_property
    def fold_depth(self) -> RingNoise:
        """How deep sulci go."""
        return RingNoise(self.draw.child("fold depth"), 36, 16)

    @cached_property
    def grain(self) -> SplineNoise:
        """Fine structure: diploe, air cells, folia."""
        return SplineNoise(self.draw.child("grain"), 2.6, 6)

    @cached_property
    def patches(self) -> SplineNoise:
        """Slow changes: density of tissue, shape of lesions."""
        return SplineNoise(self.draw.child("patches"), 11, 14)


@dataclass(frozen=True)
class Section:
    """A slice through a head, or a rectangle of it: coordinates of every pixel, mm, float32 (H, W)."""

    head: Head
    height: float  # nominal z of the slice
    edge: float  # width of a soft edge: the pixel spacing
    rows: FloatArray  # y of the pixel rows in the image, mm from the centre of the field of view, (H,)
    columns: FloatArray  # x of the pixel columns, (W,)
    _fields: dict[int, FloatArray] = field(default_factory=dict, compare=False, repr=False)  # planes of fields in use

    @cached_property
    def _plane(self) -> tuple[FloatArray, FloatArray]:
        t = self.head.turn
        cosine, sine = (1 - t * t) / (1 + t * t), 2 * t / (1 + t * t)
        x = (self.columns - np.float32(self.head.shift[0]))[None, :]
        y = (self.rows - np.float32(self.head.shift[1]))[:, None]
        return cosine * x + sine * y, cosine * y - sine * x

    @property
    def x(self) -> FloatArray:
        """Head coordinate towards the left."""
        return self._plane[0]

    @property
    def y(self) -> FloatArray:
        """Head coordinate towards the back."""
        return self._plane[1]

    @cached_property
    def z(self) -> FloatArray:
        """Head coordinate towards the vertex: the head lies tilted on the table."""
        return np.float32(self.height) + self.head.roll * self.x + self.head.nod * self.y

    @cached_property
    def radius(self) -> FloatArray:
        """Distance from the head's axis."""
        return np.sqrt(self.x * self.x + self.y * self.y) + np.float32(1e-3)

    @cached_property
    def turn(self) -> FloatArray:
        """Direction from the head's axis, see :func:`diamond_turn`."""
        return diamond_turn(self.x, self.y)

    @cached_property
    def _unit_shape(self) -> tuple[FloatArray, FloatArray, FloatArray]:
        across, along = self.x / self.radius, self.y / self.radius
        # Narrower forehead, widest behind the ears, a slightly flattened side: all functions of the direction alone.
        widen = 1 + self.head.taper * along + self.head.skew * across * along
        flatten = 1 - 0.34 * (across * across) * (along * along)
        return across / widen, along, flatten

    def below(self, outward: float) -> FloatArray:
        """Depth in plane (mm) below the surface that lies ``outward`` mm outside the inner table; negative outside it."""
        across, along, flatten = self._unit_shape
        head = self.head
        up = self.z * np.where(
            self.z > 0, np.float32(1 / (head.height + outward)), np.float32(1 / (head.depth + outward))
        )
        scale = np.sqrt(np.maximum(1 - up * up, np.float32(0.004)))
        a, b = (
            across * np.float32(1 / (head.half_width + outward)),
            along * np.float32(1 / (head.half_length + outward)),
        )
        reach = scale / np.sqrt(a * a + b * b) / np.sqrt(flatten)
        return reach - self.radius

    @cached_property
    def inner(self) -> FloatArray:
        """Depth below the inner table: positive in the cranial cavity."""
        return self.below(0.0)

    def noise(self, source: SplineNoise) -> FloatArray:
        """A field of the head on this section's pixels."""
        if id(source) not in self._fields:
            self._fields[id(source)] = source.plane(self.height, self.rows, self.columns)
        return self._fields[id(source)]

    def crop(self, window: tuple[slice, slice]) -> Section:
        """The same slice restricted to a rectangle of pixels."""
        return Section(self.head, self.height, self.edge, self.rows[window[0]], self.columns[window[1]])
