"""Bright and dark things that are no acute haemorrhage: calcifications, old disease, devices and artefacts."""

from __future__ import annotations

import numpy as np

from ich_pipeline.phantom.brain import Anatomy
from ich_pipeline.phantom.draw import FloatArray
from ich_pipeline.phantom.fields import bump, capsule, cover, ellipsoid, paint


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
