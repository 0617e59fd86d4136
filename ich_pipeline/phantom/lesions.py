"""The five kinds of acute haemorrhage: where each lives, how large and dense it is, and its shape in a slice."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from ich_pipeline.phantom.draw import Draw, FloatArray
from ich_pipeline.phantom.fields import bump, ellipsoid
from ich_pipeline.phantom.head import Head, Section

# Deep and lobar places (|x|, y, z) in mm where parenchymal bleeds are found.
DEEP = ((26.0, -3.0, 6.0), (13.0, 8.0, 8.0), (25.0, 2.0, 12.0))
LOBAR = (
    (30.0, -46.0, 14.0),
    (40.0, 22.0, 24.0),
    (34.0, 46.0, 14.0),
    (46.0, 0.0, -16.0),
    (30.0, -20.0, 38.0),
    (28.0, 30.0, 42.0),
    (24.0, 52.0, -30.0),
    (26.0, -52.0, -6.0),
)


@dataclass(frozen=True)
class Lesion:
    """One haemorrhage.

    ``place`` and ``size`` mean, by kind: intraparenchymal – centre and radii; epidural – point on the inner table and
    (half-extent along the bone, thickness, half-height); subdural – the same, wider; subarachnoid – centre and reach of the
    region whose fluid spaces hold blood; intraventricular – (unused, level y of the blood's surface, unused) and (share of
    the fluid that blood replaces above the level, unused, unused).
    """

    kind: str
    density: float  # HU of undiluted blood
    place: tuple[float, float, float]
    size: tuple[float, float, float]
    faint: bool


def drawn(kind: str, draw: Draw, head: Head, heights: list[float], faint: bool) -> Lesion:
    """Draw a lesion of a kind in a head.

    Args:
        kind: epidural, intraparenchymal, intraventricular, subarachnoid or subdural.
        draw: its own stream.
        head: where it is placed.
        heights: z of the slices; the middle of a lesion lies near one of them, so that a small one is seen.
        faint: small, thin or diluted, and less dense.
    """
    density = draw.bell(51, 60) if faint else draw.bell(56, 79)
    return _KINDS[kind](draw, head, heights, faint, density)


def _near_slice(draw: Draw, heights: list[float], wanted: float) -> float:
    nearest = min(heights, key=lambda z: abs(z - wanted))
    return nearest + draw.uniform(-1.0, 1.0)


def _intraparenchymal(draw: Draw, head: Head, heights: list[float], faint: bool, density: float) -> Lesion:
    x, y, z = draw.choice(DEEP) if draw.chance(0.5) else draw.choice(LOBAR)
    scale = head.half_width / 67.5
    place = (
        draw.sign() * (x + draw.uniform(-6, 6)) * scale,
        (y + draw.uniform(-8, 8)) * scale,
        _near_slice(draw, heights, z + draw.uniform(-6, 6)),
    )
    radius = draw.uniform(4.2, 6.5) if faint else draw.bell(7, 25)
    size = (radius * draw.uniform(0.75, 1.0), radius * draw.uniform(0.95, 1.35), radius * draw.uniform(0.9, 1.2))
    return Lesion("intraparenchymal", density, place, size, faint)


def _on_table(draw: Draw, head: Head, height: float) -> tuple[float, float, float]:
    """A point on the inner table at that height, mostly on the side of the head."""
    t = draw.uniform(-0.55, 0.45)  # tan(half angle) from the ear: forwards negative
    cosine, sine = (1 - t * t) / (1 + t * t), 2 * t / (1 + t * t)
    up = height / (head.height if height > 0 else head.depth)
    scale = math.sqrt(max(1 - up * up, 0.05))
    across, along = cosine / (1 + head.taper * sine) / head.half_width, sine / head.half_length
    flatten = 1 - 0.34 * (cosine * cosine) * (sine * sine)
    reach = scale / math.sqrt(across * across + along * along) / math.sqrt(flatten)
    return draw.sign() * cosine * reach, sine * reach, height


def _epidural(draw: Draw, head: Head, heights: list[float], faint: bool, density: float) -> Lesion:
    height = _near_slice(draw, heights, draw.uniform(-12, 34))
    thickness = draw.uniform(4.5, 6.5) if faint else draw.bell(7, 24)
    along = thickness * draw.uniform(1.4, 1.9) + 7
    return Lesion(
        "epidural", density, _on_table(draw, head, height), (along, thickness, along * draw.uniform(0.8, 1.1)), faint
    )


def _subdural(draw: Draw, head: Head, heights: list[float], faint: bool, density: float) -> Lesion:
    height = _near_slice(draw, heights, draw.uniform(8, 42))
    thickness = draw.uniform(2.6, 4.2) if faint else draw.bell(4.0, 13)
    along = draw.uniform(42, 60) if faint else draw.uniform(60, 115)
    return Lesion("subdural", density, _on_table(draw, head, height), (along, thickness, draw.uniform(26, 50)), faint)


def _subarachnoid(draw: Draw, head: Head, heights: list[float], faint: bool, density: float) -> Lesion:
    if draw.chance(0.45):  # aneurysmal: basal cisterns and Sylvian fissures, to one side more or less
        place = (draw.uniform(-22, 22), -14.0, _near_slice(draw, heights, -18))
        reach = draw.uniform(30, 44) if faint else draw.uniform(60, 95)
        size = (reach, reach, draw.uniform(16, 22) if faint else draw.uniform(28, 46))
    else:  # over the convexity, as after a fall
        x, y, z = _on_table(draw, head, _near_slice(draw, heights, draw.uniform(0, 46)))
        place = (x * 0.86, y * 0.86, z)
        reach = draw.uniform(17, 24) if faint else draw.uniform(26, 48)
        size = (reach, reach, draw.uniform(11, 15) if faint else draw.uniform(16, 30))
    return Lesion("subarachnoid", density, place, size, faint)


def _intraventricular(draw: Draw, head: Head, heights: list[float], faint: bool, density: float) -> Lesion:
    level = draw.uniform(26, 36) if faint else draw.uniform(-12, 26)
    cast = 0.0 if faint else (draw.uniform(0.5, 0.9) if draw.chance(0.3) else 0.0)
    return Lesion("intraventricular", density, (draw.choice((-1.0, 0.0, 1.0)), level, 0.0), (cast, 0.0, 0.0), faint)


_KINDS = {
    "epidural": _epidural,
    "intraparenchymal": _intraparenchymal,
    "intraventricular": _intraventricular,
    "subarachnoid": _subarachnoid,
    "subdural": _subdural,
}
KINDS = tuple(_KINDS)


def collection_depth(lesion: Lesion, section: Section) -> FloatArray:
    """Depth (mm) inside an epidural lens or a subdural crescent, from its face towards the brain; the bone bounds it."""
    x, y, z = (c - np.float32(m) for c, m in zip((section.x, section.y, section.z), lesion.place, strict=True))
    along, thickness, tall = (np.float32(v) for v in lesion.size)
    if lesion.kind == "epidural":
        # A lens: depth below the bone against distance along it, so both faces bulge.
        away2 = (x * x + y * y - section.inner * section.inner).clip(0) / (along * along) + z * z / (tall * tall)
        return np.maximum(1 - away2, -1) * thickness - section.inner
    away2 = (x * x + y * y) / (along * along) + z * z / (tall * tall)
    wavy = 1 + 0.12 * section.noise(section.head.patches)
    side = np.clip(section.x * np.float32(1 if lesion.place[0] > 0 else -1) * np.float32(1 / 9) - np.float32(0.3), 0, 1)
    # The crescent keeps its thickness over most of its length and thins out at the ends.
    return np.sqrt(np.maximum(1 - away2 * away2, 0)) * thickness * wavy * side - section.inner - np.float32(0.01)


def blob_depth(lesion: Lesion, section: Section) -> FloatArray:
    """Depth (mm) inside a parenchymal bleed with a lobulated surface."""
    depth = ellipsoid(section.x, section.y, section.z, lesion.place, lesion.size)
    return depth + np.float32(0.17 * min(lesion.size)) * section.noise(section.head.patches)


def region(lesion: Lesion, section: Section) -> FloatArray:
    """How much of the fluid is blood (0 … 1) around a subarachnoid bleed."""
    x, y, z = (c - np.float32(m) for c, m in zip((section.x, section.y, section.z), lesion.place, strict=True))
    rx, ry, rz = (np.float32(v) for v in lesion.size)
    q = np.sqrt(x * x / (rx * rx) + y * y / (ry * ry) + z * z / (rz * rz))
    strong = 0.8 if lesion.faint else 1.0
    return np.clip(bump(q) * np.float32(2.4), 0, strong)
