"""The brain in a slice: fluid spaces, cortex, white matter, deep nuclei, falx and tentorium.

First the shares of fluid are worked out (so that blood can take its place), then everything is painted in HU.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ich_pipeline.phantom.draw import FloatArray
from ich_pipeline.phantom.fields import bump, capsule, cover, ellipsoid, line_cover, paint
from ich_pipeline.phantom.head import Section

WHITE, GREY, DEEP_GREY, STEM, CEREBELLUM, CSF = 27.0, 38.0, 37.5, 32.0, 34.5, 7.0


@dataclass(frozen=True)
class Anatomy:
    """What a slice holds before anything is painted; arrays (H, W) float32, shares in 0 … 1, depths in mm."""

    section: Section
    x: FloatArray  # head coordinates after the warp that makes every brain its own
    y: FloatArray
    surface: FloatArray  # depth below the brain's surface (the inner table, or what lies between)
    cortex: FloatArray  # depth below any pial surface: convexity, fissure, sulcus
    cavity: FloatArray  # share inside the inner table
    ventricles: FloatArray  # share of ventricular fluid
    sulci: FloatArray  # share of subarachnoid fluid
    infratentorial: FloatArray  # share below the tentorium


def anatomy(section: Section, collection: FloatArray | None, push: float, wide: FloatArray | None) -> Anatomy:
    """Work out the fluid spaces and surfaces.

    Args:
        section: the slice.
        collection: depth inside extra-axial collections, which displace the brain's surface; None without any.
        push: midline shift towards +x, mm.
        wide: share of blood in the subarachnoid spaces, which it distends; None without any.
    """
    head = section.head
    warp_x, warp_y = (section.noise(field) for field in head.warp)
    y = section.y + 2.0 * warp_y
    middle = bump(y * np.float32(1 / (head.half_length * 1.1)))
    x = section.x + 1.8 * warp_x * np.clip(np.abs(section.x) * np.float32(0.08), 0.15, 1) - np.float32(push) * middle
    scale = np.float32(67.5 / head.half_width)
    x, y = x * scale, y * np.float32(84.0 / head.half_length)
    surface = section.inner if collection is None else np.minimum(section.inner, -collection)
    below = _infratentorial(section, x, y)
    ventricles = _ventricles(section, x, y)
    fissure, sulcus, cisterns = _fissure(section, x, y), _sulci(section, x, y, surface), _cisterns(section, x, y)
    extra = np.float32(0.0) if wide is None else 0.9 * wide
    rim = 0.3 + 1.9 * head.atrophy * head.atrophy + np.clip(-y * np.float32(1 / 90), 0, 1) * 1.6 * head.atrophy
    edge = section.edge
    shares = [
        line_cover(np.maximum(surface, 0), rim + 0.5 * extra, edge),
        line_cover(fissure[0], fissure[1] + extra, edge),
        line_cover(sulcus[0], sulcus[1] + extra, edge) * (1 - below),
        cover(cisterns + extra, edge),
    ]
    fluid = shares[0]
    for share in shares[1:]:
        fluid = np.maximum(fluid, share)
    cavity = cover(section.inner, edge)
    cortex = np.minimum(np.minimum(surface, fissure[0]), np.minimum(sulcus[0], -cisterns))
    inside = cavity if collection is None else cavity * cover(-collection, edge)
    return Anatomy(
        section, x, y, surface, cortex, cavity, ventricles * inside, fluid * (1 - ventricles) * inside, below
    )


def _infratentorial(section: Section, x: FloatArray, y: FloatArray) -> FloatArray:
    """The tentorium rises towards the midline like a tent."""
    return cover(_tent(x, y) - section.z, 2.5) * cover(y - 4 - 0.35 * np.abs(x), 3.0)


def _tent(x: FloatArray, y: FloatArray) -> FloatArray:
    """Height of the tentorium: highest in the midline at its free edge, low where it meets the bone."""
    return 1 - 0.5 * np.abs(x) - 0.22 * np.abs(y - 34)


def _ventricles(section: Section, x: FloatArray, y: FloatArray) -> FloatArray:
    head, z, edge = section.head, section.z, section.edge
    f = head.ventricles
    a = np.abs(x + np.float32(0.8 * (head.skew * 40)))
    low, high = section.height - 14, section.height + 14
    grow = 1 + 0.25 * (f - 1)
    rods = (
        # start, end, radii: the lateral ventricle from the frontal horn over the body to the three posterior parts
        ((13.5 * grow, -33, 6), (5.5, -13, 10), (3.4, 4.2)),
        ((6.5, -14, 17), (10.5, 10, 23), (4.4, 5.2)),
        ((10.5, 10, 23), (20 * grow, 27, 13), (5.2, 6.4)),
        ((20 * grow, 27, 12), (24, 50, 6), (5.2, 1.2)),
        ((23 * grow, 26, 8), (31, 4, -14), (4.6, 1.0)),
        ((31, 6, -13), (27, -14, -20), (1.7, 1.2)),
    )
    depth = np.full(z.shape, -9.0, np.float32)
    low_z = np.float32(0.55) * z
    for start, end, radii in rods:
        if min(start[2], end[2]) < high and max(start[2], end[2]) > low:
            # Taller than wide: heights are squeezed before the distance is taken.
            rod = (start[0], start[1], 0.55 * start[2]), (end[0], end[1], 0.55 * end[2])
            depth = np.maximum(depth, capsule(a, y, low_z, *rod, (radii[0] * f, radii[1] * f)))
    if -16 < section.height < 22:
        depth = np.maximum(depth, ellipsoid(x, y, z, (0, 1, 0), (1.3 + 1.5 * f, 15, 11)))
    if section.height < -14:
        depth = np.maximum(depth, ellipsoid(x, y, z, (0, 31, -32), (6.5 * (0.7 + 0.3 * f), 4.5, 10)))
    septum = 1 - line_cover(a, 0.7, edge) * cover(z - 4, 4.0)
    return cover(depth, edge) * septum


def _fissure(section: Section, x: FloatArray, y: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Distance to the interhemispheric fissure and its half-width: closed where the corpus callosum and the stem lie."""
    z = section.z
    flat = (z - 6) * np.float32(1 / 22)
    joined = np.sqrt(np.maximum(1 - flat * flat, 0)) * 37
    front = np.maximum(-joined, np.float32(-37) + 0 * z) if section.height > 6 else np.minimum(-joined, -30.0)
    beyond = np.maximum(front - y, y - np.maximum(joined, 16))
    beyond = np.where(z > 28, np.float32(9), beyond)
    gap = np.maximum(-beyond, 0) + np.where((z < -12) & (y > 0), np.float32(20), np.float32(0))
    width = 0.55 + 1.1 * section.head.atrophy + np.clip(-y - 40, 0, 30) * np.float32(0.012)
    return np.sqrt(x * x + gap * gap), width


def _sulci(section: Section, x: FloatArray, y: FloatArray, surface: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Distance to the nearest sulcus (mm, large where none) and its half-width.

    Sulci are where a random field changes sign: near the surface one that depends on the direction only, so that they run
    inwards, deeper one that meanders. The distance is the field over its slope.
    """
    head = section.head
    folds = section.noise(head.folds)
    depth = np.clip(surface, 0, 40)
    bend = folds * depth * np.float32(0.0022)
    # Directions crowd together at the axis, so the meandering field takes over there.
    outer = np.clip(section.radius * np.float32(1 / 24) - np.float32(0.25), 0, 1)
    field = outer * head.radial_folds.at(section.height, section.turn + bend)
    field = field + folds * (1.1 - outer + depth * np.float32(0.03) * outer)
    slope_y, slope_x = np.zeros_like(field), np.zeros_like(field)
    slope_y[1:-1] = field[2:] - field[:-2]
    slope_x[:, 1:-1] = field[:, 2:] - field[:, :-2]
    slope = np.sqrt(slope_x * slope_x + slope_y * slope_y) * np.float32(0.5 / section.edge)
    distance = np.abs(field) / np.maximum(slope, 0.05)
    deep = (16 + 5 * head.fold_depth.at(section.height, section.turn)) * (0.85 + 0.3 * head.atrophy)
    # On the medial surface sulci leave the fissure; near it they go a little way in.
    medial = np.abs(x) * np.float32(1.6) + np.where(section.z > 22, np.float32(0), np.float32(14))
    reach = np.minimum(depth, medial)
    left = deep - reach
    width = (0.22 + 1.15 * head.atrophy) * np.clip(0.5 + left * np.float32(0.05), 0, 1.3)
    return distance + np.maximum(-left, 0) * 2, np.where(left > -1, width, 0)


def _cisterns(section: Section, x: FloatArray, y: FloatArray) -> FloatArray:
    """Depth (mm) inside the basal cisterns and the Sylvian fissures; negative outside."""
    head, z, height = section.head, section.z, section.height
    a = np.abs(x)
    wide = 0.4 + 1.3 * head.atrophy
    depth = np.full(z.shape, -30.0, np.float32)
    if -26 < height < 24:
        fade = np.clip(1.35 - np.abs(z - 1) * np.float32(1 / 20), 0, 1)
        wobble = section.noise(head.folds)
        across, along = a + 0.9 * wobble, y - 0.25 * z + 1.5 * wobble
        stem = capsule(across, along, 0 * z, (64, -17, 0), (41, -9, 0), (1.6 + wide, 0.9 + wide))
        insula = np.maximum(
            capsule(across, along, 0 * z, (41, -24, 0), (38.5, -8, 0), (0.3 + wide, 0.5 + wide)),
            capsule(across, along, 0 * z, (38.5, -8, 0), (41, 10, 0), (0.5 + wide, 0.2 + wide)),
        )
        depth = np.maximum(depth, np.maximum(stem, insula) - (1 - fade) * 9)
    if -38 < height < -6:
        # The suprasellar star: arms to the Sylvian fissures, forwards into the fissure and back between the peduncles.
        star_z = np.float32(0.4) * (z + 18)
        star = np.maximum(
            ellipsoid(x, y, star_z, (0, -16, 0), (9, 6.5, 5)),
            capsule(a, y, star_z, (4, -17, 0), (24, -27, 0), (2.4 + 0.8 * wide, 0.6 + 0.8 * wide)),
        )
        star = np.maximum(star, capsule(x, y, star_z, (0, -20, 0), (0, -38, 0), (1.8 + 0.5 * wide, 0.8)))
        star = np.maximum(star, capsule(a, y, star_z, (3, -12, 0), (15, -2, 0), (2.2, 0.8 + 0.4 * wide)))
        star = np.maximum(star, capsule(x, y, star_z, (0, -12, 0), (0, -4, 0), (3.0, 1.2)))
        around = ellipsoid(x, y, 0 * z, (0, 3, 0), (18, 16.5, 60))
        ring = (
            1.2
            + 0.8 * wide
            + 0.5 * section.noise(head.patches)
            - np.abs(around)
            - np.abs(z + 18) * np.float32(0.1)
            - np.clip(-y, 0, 9)
        )
        depth = np.maximum(depth, np.maximum(star, ring))
        back = ellipsoid(x, y, z, (0, 22, -12), (10 + 2 * wide, 4.0 + wide, 11))
        depth = np.maximum(depth, back)
    if -12 < height < 14:
        depth = np.maximum(depth, ellipsoid(x, y, z, (0, 29, 1), (7 + 2 * wide, 5.5 + wide, 9)))
    if height < -26:
        depth = np.maximum(depth, ellipsoid(x, y, z, (0, -7, -34), (11, 2.8 + wide, 9)))
        depth = np.maximum(depth, ellipsoid(a, y, z, (18, 5, -36), (8, 3.2, 6)))
        depth = np.maximum(depth, ellipsoid(x, y, z, (0, 68, -44), (11, 5 + wide, 9)))
    return depth


def paint_brain(hu: FloatArray, brain: Anatomy) -> None:
    """Paint parenchyma and fluid over the cavity, in place."""
    section, head = brain.section, brain.section.head
    x, y, z, a = brain.x, brain.y, section.z, np.abs(brain.x)
    patches = section.noise(head.patches)
    tissue = WHITE + 1.3 * patches
    paint(tissue, cover(3.4 - brain.cortex + 0.4 * patches, 1.8), GREY)
    if -14 < section.height < 34:
        nuclei = np.maximum(
            np.maximum(ellipsoid(a, y, z, (11.5, 8, 7), (8, 14, 11)), ellipsoid(a, y, z, (25, -3, 6), (8, 17, 12))),
            ellipsoid(a, y, z, (13 + 3 * head.ventricles, -22, 11), (5, 9, 11)),
        )
        paint(tissue, cover(nuclei, 2.0), DEEP_GREY)
    if section.height < -4:
        stem = np.maximum(ellipsoid(x, y, z, (0, 5, -14), (16, 15, 14)), ellipsoid(x, y, z, (0, 10, -36), (18, 16, 16)))
        paint(tissue, cover(stem, 2.0), STEM)
    folia = (
        CEREBELLUM + 2.2 * section.noise(head.grain) - 4.0 * cover(ellipsoid(a, y, z, (22, 36, -36), (13, 11, 9)), 4.0)
    )
    paint(tissue, brain.infratentorial * cover(y - 14 - 0.2 * a, 3.0), folia)
    tissue = tissue + head.brightness
    fluid = np.minimum(brain.ventricles + brain.sulci, 1)
    paint(tissue, fluid, CSF)
    paint(hu, brain.cavity, tissue)


def paint_dura(hu: FloatArray, brain: Anatomy) -> None:
    """Falx, tentorium and the venous sinuses: thin and bright, and no haemorrhage. In place."""
    section, head, edge = brain.section, brain.section.head, brain.section.edge
    x, y, z = brain.x, brain.y, section.z
    bright = 62.0 if "dense_falx" in head.confounders else 50.0
    free = np.clip((z - 2) * np.float32(1 / 24), 0, 1) * 34 + 6
    span = np.maximum(cover(-y - 52 + free, 4.0), cover(y - 46 + free, 4.0)) * cover(z + 16 + 0.3 * y, 6.0)
    paint(hu, line_cover(np.abs(x), 0.65, edge) * span * brain.cavity, bright)
    leaf = line_cover(np.abs(z - _tent(x, y)), 1.2, 2.0) * cover(y - 14, 4.0) * cover(np.abs(x) - 4, 3.0) * brain.cavity
    paint(hu, 0.5 * leaf, 50.0)
    dense = 66.0 if "dense_sinus" in head.confounders else 54.0
    back = np.float32(84.0)
    sagittal = 4.2 - np.sqrt(x * x + (section.inner - 2.5) * (section.inner - 2.5))
    paint(
        hu,
        cover(sagittal, edge) * cover(y - 20 + np.clip(z - 30, 0, 40), 6.0) * cover(z + 12, 6.0) * brain.cavity,
        dense,
    )
    if section.height < -4:
        ring = 3.4 - np.sqrt((section.inner - 3) * (section.inner - 3) + 0.5 * (z + 21) * (z + 21))
        paint(hu, cover(ring, edge) * cover(y - 22, 6.0) * cover(back - y, 4.0) * brain.cavity, dense)
