"""What the scanner makes of a head: contrast, sharpness, motion, streaks and grain. Arrays are HU, (size, size) float32."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from ich_pipeline.phantom.draw import Draw, FloatArray
from ich_pipeline.phantom.fields import bump, diamond_turn
from ich_pipeline.phantom.grain import noise
from ich_pipeline.phantom.head import Section

MIDDLE_HU = 30.0  # soft tissue is stretched about this
SOFT = (-30.0, 110.0)  # HU range that is stretched
BONE_HU = 150.0  # what lies above is bone, metal or calcium


@dataclass(frozen=True)
class Scan:
    """The scanner's part in a patient's pictures, the same in every slice."""

    offset: float  # HU added
    gain: float  # of soft tissue contrast
    bone: float  # of what is denser than soft tissue
    blur: float  # standard deviation of the point spread beyond the phantom's own, pixels
    sharpen: float  # share of the difference to a blurred picture that is added
    deviation: float  # of the noise, HU
    edgy: bool  # noise of a sharp kernel
    grain: float  # standard deviation of the blur over the noise, pixels
    cloud: float  # slow wobble of HU over the picture
    cupping: float  # HU by which the middle is off the rim
    motion: float  # pixels and degrees by which the head moved; 0 for none
    streaks: float  # HU of dark and bright bands through the skull base
    metal: float  # HU of the streaks from metal; 0 for none

    @classmethod
    def drawn(cls, draw: Draw, variation: float, deviation: float) -> Scan:
        """Draw a scan whose plain noise would be ``deviation`` HU."""
        v = variation
        quiet = draw.unit()
        dose = 1.5 + 6.5 * quiet * math.sqrt(quiet)
        sharp, edgy = draw.chance(0.3), draw.chance(0.25 * v)
        return cls(
            offset=v * draw.uniform(-4, 12),
            gain=1 + v * draw.uniform(-0.2, 0.2),
            bone=1 + v * draw.uniform(-0.35, 0.2),
            blur=v * draw.uniform(0, 0.8),
            sharpen=v * draw.uniform(0.2, 0.9) if sharp else 0.0,
            deviation=(1 - v) * deviation + v * dose * (0.75 if edgy else 1),
            edgy=edgy,
            grain=v * draw.uniform(0, 0.7),
            cloud=v * draw.uniform(0.2, 1.6),
            cupping=v * draw.uniform(-3, 3),
            motion=v * draw.uniform(0.6, 2.5) if draw.chance(0.06 * v) else 0.0,
            streaks=v * draw.uniform(2, 14),
            metal=v * draw.uniform(6, 35) if draw.chance(0.03 * v) else 0.0,
        )


def harden(hu: FloatArray, section: Section, scan: Scan, draw: Draw) -> None:
    """Bands through the skull base, where beams pass much bone. In place, over a section's pixels."""
    if section.height > -10 or not scan.streaks:
        return
    depth = np.clip((-10 - section.z) * np.float32(1 / 16), 0, 1) * bump(section.x * np.float32(1 / 56))
    depth = depth * (hu > -200)
    for _ in range(draw.integer(2, 5)):
        slope, offset, width = draw.uniform(-0.25, 0.25), draw.uniform(-32, 26), draw.uniform(1.5, 6)
        band = bump((section.y - offset - slope * section.x) * np.float32(1 / width))
        hu += np.float32(scan.streaks * draw.uniform(-1, 0.8)) * band * depth


def scanned(hu: FloatArray, scan: Scan, draw: Draw) -> FloatArray:
    """The slice as this scan shows it."""
    soft = np.clip(hu, *SOFT)
    hu = hu + (scan.gain - 1) * (soft - np.float32(MIDDLE_HU)) * (hu > -200)
    hu = np.where(hu > BONE_HU, BONE_HU + (hu - BONE_HU) * np.float32(scan.bone), hu)
    hu = hu + np.float32(scan.offset) + _cloud(draw.child("cloud"), hu.shape[0], scan)
    if scan.metal:
        hu = hu + _metal(draw.child("metal"), hu.shape[0], scan.metal) * (hu > -300)
    if scan.motion:
        hu = _moved(hu, draw.child("motion"), scan.motion)
    if scan.blur > 0.15:
        hu = ndimage.gaussian_filter(hu, scan.blur, truncate=3)
    if scan.sharpen:
        # Of soft tissue alone: bone's own overshoot would blacken the brain beside it.
        soft = np.clip(hu, *SOFT)
        hu = hu + np.float32(scan.sharpen) * (soft - ndimage.gaussian_filter(soft, 1.2, truncate=2.5))
    return hu + _grain(draw.child("grain"), hu.shape[0], scan)


def wobble(draw: Draw, size: int, nodes: int) -> FloatArray:
    """A random field in -1 … 1 with so many nodes a side."""
    return _stretched(draw.lattice(nodes, nodes), size)


def _cloud(draw: Draw, size: int, scan: Scan) -> FloatArray:
    steps = np.arange(14, dtype=np.float32) / 6.5 - 1
    bowl = steps[:, None] ** 2 + steps[None, :] ** 2
    return _stretched(np.float32(scan.cloud * 1.8) * draw.lattice(14, 14) + np.float32(scan.cupping) * bowl, size)


def _stretched(nodes: FloatArray, size: int) -> FloatArray:
    """Linear interpolation of a square grid to ``size`` × ``size``: a tenth of the time of a general zoom."""
    place = np.linspace(0, len(nodes) - 1, size, dtype=np.float32)
    low = np.minimum(place.astype(np.int64), len(nodes) - 2)
    share = place - low.astype(np.float32)
    rows = nodes[low] * (1 - share)[:, None] + nodes[low + 1] * share[:, None]
    return rows[:, low] * (1 - share) + rows[:, low + 1] * share


def _metal(draw: Draw, size: int, strength: float) -> FloatArray:
    """Rays from a point: bright and dark by direction, fading with the distance."""
    steps = np.arange(size, dtype=np.float32)
    x, y = steps[None, :] - np.float32(size * draw.unit()), steps[:, None] - np.float32(size * draw.unit())
    rays = draw.lattice(128)
    fade = 1 / (1 + (np.abs(x) + np.abs(y)) * np.float32(8 / size))
    return np.float32(strength) * fade * rays[(diamond_turn(x, y) * 32).astype(np.int64) % 128]


def _moved(hu: FloatArray, draw: Draw, strength: float) -> FloatArray:
    """Two positions of the head in one picture."""
    angle = math.radians(strength * draw.uniform(-1, 1))
    cosine, sine, half = math.cos(angle), math.sin(angle), hu.shape[0] / 2
    down, right = strength * draw.uniform(-1, 1), strength * draw.uniform(-1, 1)
    move = np.array(
        [
            [cosine, -sine, half * (1 - cosine + sine) + down],
            [sine, cosine, half * (1 - cosine - sine) + right],
            [0, 0, 1],
        ]
    )
    other = ndimage.affine_transform(hu, move, order=1, mode="nearest")
    share = np.float32(draw.uniform(0.3, 0.5))
    return (1 - share) * hu + share * other


def _grain(draw: Draw, size: int, scan: Scan) -> FloatArray:
    grain = noise(draw, size, 1.0, scan.edgy)
    if scan.grain > 0.15:
        grain = ndimage.gaussian_filter(grain, scan.grain, mode="wrap", truncate=2.5)
    return grain * np.float32(scan.deviation / float(grain.std()))
