"""Air, table, scalp, vault and skull base: everything of a slice but the brain, in HU."""

from __future__ import annotations

import numpy as np

from ich_pipeline.phantom.draw import FloatArray
from ich_pipeline.phantom.fields import capsule, cover, ellipsoid, line_cover, paint
from ich_pipeline.phantom.head import Section

AIR, FAT, MUSCLE, SKIN, CORTICAL, DIPLOE = -1000.0, -95.0, 55.0, 35.0, 1450.0, 620.0


def surroundings(section: Section) -> FloatArray:
    """Air and the headrest, then scalp and vault; the cavity is left as bone for the brain to fill. (H, W) HU."""
    head, edge = section.head, section.edge
    hu = np.full(section.radius.shape, AIR, np.float32)
    _headrest(section, hu)
    outer, skin = section.below(head.bone), section.below(head.bone + head.scalp)
    # Grease between skin and fat is what makes scalp visible as two lines.
    paint(hu, cover(skin, edge), SKIN)
    paint(hu, cover(skin - 1.8, edge) * cover(0.5 - outer, edge), FAT)
    side = np.clip((np.abs(section.x) - 42) * np.float32(1 / 14), 0, 1) * np.clip(
        (-2 - section.z) * np.float32(1 / 12), 0, 1
    )
    paint(hu, side * cover(skin - 2.4, edge), MUSCLE)
    grain = section.noise(head.grain)
    cortical = CORTICAL + 90 * grain
    paint(hu, cover(outer, edge), cortical)
    inside_out = -section.inner
    core = np.minimum(outer - 1.7, inside_out - 1.5)
    paint(hu, cover(core, edge), DIPLOE + 170 * grain)
    return hu


def base(section: Section, hu: FloatArray) -> None:
    """Skull base over the brain of the lower slices: petrous bones, sphenoid wings, clivus, orbits, sinuses. In place."""
    if section.height > -4:
        return
    x, y, z = np.abs(section.x), section.y, section.z
    edge, head = section.edge, section.head
    grain = section.noise(head.grain)
    if section.height < -14:
        _face(section, hu, x, grain)
    bone = 1150 + 260 * grain
    # Both bones are ridges, taller than wide: heights are squeezed before the distance is taken.
    ridge_z = np.float32(0.45) * z
    wing = np.maximum(
        capsule(x, y, ridge_z, (62, -34, -12), (42, -38, -12), (5.0, 2.8)),
        capsule(x, y, ridge_z, (42, -38, -12), (12, -26, -12.5), (2.8, 3.2)),
    )
    paint(hu, cover(wing + 0.5 * grain, edge), bone)
    petrous = capsule(x, y, np.float32(0.7) * z, (66, 20, -29), (14, -10, -27), (13.0, 5.5))
    paint(hu, cover(petrous + grain, edge), bone)
    cells = capsule(x, y, z, (68, 24, -43), (50, 14, -41), (9, 5))
    paint(hu, cover(cells + 2 * grain, edge) * cover(grain, 0.6) * 0.85, -820.0)
    clivus = np.maximum(ellipsoid(x, y, z, (0, -13, -31), (9, 3.5, 6)), ellipsoid(x, y, z, (0, -18, -44), (13, 8, 14)))
    paint(hu, cover(clivus, edge), bone - 250)
    clinoid = ellipsoid(x, y, z, (11, -26, -25), (3, 4, 4))
    paint(hu, cover(clinoid, edge), 900.0)


def _face(section: Section, hu: FloatArray, x: FloatArray, grain: FloatArray) -> None:
    """Orbits with globe, fat and muscles; ethmoid and frontal sinuses; what lies in front of the sphenoid wings."""
    y, z, edge = section.y, section.z, section.edge
    head_front = section.head.bone + section.head.scalp
    front = cover(section.inner + 1, edge) * cover(-y - 30 - 0.18 * x, edge)
    orbit = ellipsoid(x, y, z, (29, -58, -47), (18, 27, 18))
    roof = cover(orbit + 2.0 + 0.9 * grain, edge) * front
    paint(hu, roof, 780.0)
    paint(hu, cover(orbit, edge) * cover(section.below(head_front) - 3, edge), -85.0)
    globe = ellipsoid(x, y, z, (31, -64, -47), (12, 12, 12))
    paint(hu, cover(globe, edge), 45.0)
    paint(hu, cover(globe - 1.3, edge), 12.0)
    muscle = capsule(x, y, z, (16, -58, -47), (13, -36, -46), (2.2, 1.6))
    nerve = capsule(x, y, z, (30, -54, -47), (15, -34, -45), (2.0, 1.8))
    paint(hu, cover(np.maximum(muscle, nerve), edge), 40.0)
    middle = ellipsoid(x, y, z, (0, -54, -54), (12, 30, 19))
    paint(hu, cover(middle + 2, edge) * front, 650.0)
    paint(hu, cover(middle, edge) * front * cover(0.9 + grain, 1.0), -900.0)
    sphenoid = ellipsoid(x, y, z, (0, -24, -50), (11, 9, 10))
    paint(hu, cover(sphenoid, edge), -940.0)
    frontal = ellipsoid(x, y, z, (8, -section.head.half_length - 1, -30), (14, 5.5, 13))
    paint(hu, cover(frontal + 1.5, edge), 1100.0)
    paint(hu, cover(frontal, edge), -930.0)


def _headrest(section: Section, hu: FloatArray) -> None:
    """The curved headrest behind the head: a thin bright shell lined with foam, fixed to the table."""
    head, edge = section.head, section.edge
    rows, columns = section.rows[:, None] - np.float32(head.shift[1]), section.columns[None, :]
    radius = head.half_length + head.bone + head.scalp
    reach = np.sqrt(columns * columns + rows * rows) - np.float32(radius + 3)
    behind = cover(rows - np.float32(30), 6.0)
    paint(hu, line_cover(np.abs(reach - 4), 4.0, edge) * behind, -930.0)
    paint(hu, line_cover(np.abs(reach - 9), 0.8, edge) * behind, 140.0)
