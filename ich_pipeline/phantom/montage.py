"""Pictures in the brain window: the phantom, one patient a row from the skull base to the vertex, and the varied heads."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np

from ich_pipeline.config import Params
from ich_pipeline.core.errors import InputError
from ich_pipeline.core.files import atomic_file
from ich_pipeline.phantom.cohort import plan_cohort
from ich_pipeline.phantom.draw import Draw
from ich_pipeline.phantom.grain import noise
from ich_pipeline.phantom.render import FIELD_OF_VIEW_MM
from ich_pipeline.phantom.study import Patient, PatientPlan, drawn_patient
from ich_pipeline.phantom.varied.slices import varied_slices

RENDERED, SHRINK = 384, 2  # pixels a slice is drawn with, and the factor by which it is shown smaller
TILE = (176, 148)  # height and width of a tile, pixels
MARGIN = 118  # for the names of the rows
GAP = 5  # black border that keeps the headrests apart, pixels
LEVELS = 64  # grey levels kept, so that the noise does not bloat the file
CANDIDATES = 5  # patients of a kind, of which the one with the most blood is shown
NOISE_HU = 3.8
VARIED_SIZE, VARIED_SLICES, VARIED_LEVELS = (
    176,
    7,
    32,
)  # of the picture of varied heads: pixels, slices a patient, grey levels
ROW_NAMES = {
    "epidural": "epidural",
    "intraparenchymal": "intra-\nparenchymal",
    "intraventricular": "intra-\nventricular",
    "subarachnoid": "subarachnoid",
    "subdural": "subdural",
}


def montage(params: Params, target: Path, columns: int = 8, window: tuple[float, float] = (40.0, 80.0)) -> None:
    """Draw a patient without haemorrhage and one of every subtype, as in the cohort of ``params``, to a PNG.

    Args:
        params: the parameters of the cohort.
        target: the PNG, written atomically.
        columns: slices a patient.
        window: WindowCenter and WindowWidth, HU.

    Raises:
        InputError: the cohort holds no patient with a certain subtype alone.
    """
    from PIL import Image, ImageDraw, ImageFont

    plans = [replace(plan, slices=columns) for plan in plan_cohort(params)]
    rows = [("no\nhaemorrhage", _shown(plans, ()))]
    rows += [(ROW_NAMES.get(kind, kind), _shown(plans, (kind,))) for kind in params.labels.subtypes]
    canvas = Image.new("L", (MARGIN + columns * TILE[1], len(rows) * TILE[0]))
    pen, font = ImageDraw.Draw(canvas), ImageFont.load_default(size=16)
    for row, (name, patient) in enumerate(rows):
        middle = row * TILE[0] + TILE[0] // 2
        pen.multiline_text((10, middle), name, fill=205, font=font, anchor="lm")
        for column, grey in enumerate(_tiles(patient, window)):
            canvas.paste(Image.fromarray(grey), (MARGIN + column * TILE[1], row * TILE[0]))
    with atomic_file(target) as partial:
        canvas.save(partial, optimize=True)


def varied_montage(params: Params, target: Path, columns: int = 8, workers: int | None = None) -> None:
    """Draw slices of varied heads to a PNG: two rows without haemorrhage, two with, every slice of another patient.

    Args:
        params: their labels, seed and share of faint bleeds are taken.
        target: the PNG, written atomically.
        columns: slices a row.
        workers: processes; None for one a core.
    """
    from PIL import Image

    phantom, shown = params.phantom, []
    for bleeding in (0, 1):
        drawn = varied_slices(
            params.label_set,
            patients=2 * columns,
            slices=VARIED_SLICES,
            size=VARIED_SIZE,
            positive_fraction=float(bleeding),
            faint_fraction=phantom.faint_fraction,
            seed=phantom.seed + bleeding,
            variation=1.0,
            workers=workers,
        )
        for patient in range(2 * columns):
            suitable = np.flatnonzero((drawn.patients == patient) & (drawn.truth[:, 0] == bleeding))
            shown.append(_grey(drawn.hu[suitable[patient % len(suitable)]].astype(np.float32), (40.0, 80.0)))
    canvas = np.vstack([np.hstack(shown[row * columns : (row + 1) * columns]) for row in range(4)])
    with atomic_file(target) as partial:
        Image.fromarray(canvas).save(partial, optimize=True)


def _grey(hu: np.ndarray, window: tuple[float, float]) -> np.ndarray:
    center, width = window
    level = np.clip((hu - (center - width / 2)) / width, 0, 1)
    return (np.rint(level * (VARIED_LEVELS - 1)) * (255 / (VARIED_LEVELS - 1))).astype(np.uint8)


def _shown(plans: list[PatientPlan], kinds: tuple[str, ...]) -> Patient:
    suitable = [plan for plan in plans if plan.kinds == kinds][: CANDIDATES if kinds else 1]
    if not suitable:
        raise InputError(
            f"the phantom of params.yaml has no patient with only {kinds or 'no haemorrhage'}: raise phantom.patients."
        )
    coarse = [drawn_patient(replace(plan, size=96)) for plan in suitable]
    amounts = [sum(int(np.count_nonzero(m)) for s in patient.slices for m in s.masks.values()) for patient in coarse]
    return drawn_patient(replace(suitable[amounts.index(max(amounts))], size=RENDERED))


def _tiles(patient: Patient, window: tuple[float, float]) -> list[np.ndarray]:
    center, width = window
    tiles = []
    for number, drawn_slice in enumerate(patient.slices):
        hu = drawn_slice.hu + noise(Draw("montage", number), RENDERED, NOISE_HU, False)
        level = np.clip((hu - (center - width / 2)) / width, 0, 1)
        level = level.reshape(RENDERED // SHRINK, SHRINK, RENDERED // SHRINK, SHRINK).mean(axis=(1, 3))
        grey = (np.rint(level * (LEVELS - 1)) * (255 / (LEVELS - 1))).astype(np.uint8)
        top = (grey.shape[0] - TILE[0]) // 2 + round(patient.head.shift[1] * grey.shape[0] / FIELD_OF_VIEW_MM)
        left = (grey.shape[1] - TILE[1]) // 2 + round(patient.head.shift[0] * grey.shape[1] / FIELD_OF_VIEW_MM)
        padded = np.pad(grey, 40)
        tile = padded[top + 40 : top + 40 + TILE[0], left + 40 : left + 40 + TILE[1]].copy()
        tile[:, :GAP] = tile[:, -GAP:] = tile[-GAP:] = 0
        tiles.append(tile)
    return tiles
