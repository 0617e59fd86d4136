"""One patient: draw the head and its lesions, render all slices, write the study."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ich_pipeline.phantom.dicom_writer import Image, Series, SeriesWriter, Study, uid_of
from ich_pipeline.phantom.draw import Draw, FloatArray
from ich_pipeline.phantom.fields import cover, ellipsoid
from ich_pipeline.phantom.grain import noise
from ich_pipeline.phantom.head import HIGHEST_MM, LOWEST_MM, Head
from ich_pipeline.phantom.lesions import Lesion, drawn
from ich_pipeline.phantom.render import FIELD_OF_VIEW_MM, Slice, render
from ich_pipeline.phantom.scanners import scanner_of

ATTEMPTS = 12  # to place lesions so that each is seen in a slice
THICKEST_MM = 5.0
LOCALIZER_SIZE = 128
BONE_NOISE = 4.0  # how much noisier the bone kernel is


@dataclass(frozen=True)
class PatientPlan:
    """What the cohort decides for a patient before anything is drawn."""

    number: int  # 1 …
    seed: int
    day: date  # StudyDate
    kinds: tuple[str, ...]  # haemorrhages; empty for none
    slices: int
    size: int
    faint_fraction: float
    bone_series: bool


@dataclass(frozen=True)
class SliceTruth:
    """Masks of a written slice by kind of lesion; empty for none."""

    sop_uid: str
    masks: dict[str, NDArray[np.bool_]]


@dataclass(frozen=True)
class Patient:
    """A rendered patient, free of noise, slices from the base to the vertex."""

    head: Head
    lesions: tuple[Lesion, ...]
    heights: tuple[float, ...]  # of the slices, mm above the origin of the head
    spacing: float  # mm
    slices: tuple[Slice, ...]


def slice_spacing(slices: int) -> float:
    """Distance of the slices, mm, so that they cover the head; a multiple of a quarter."""
    return max(1, round(4 * (HIGHEST_MM - LOWEST_MM) / (slices - 1))) / 4


def drawn_patient(plan: PatientPlan) -> Patient:
    """Draw the head and lesions of the plan; lesions are drawn anew until each kind is seen in a slice."""
    draw = Draw("patient", plan.seed, plan.number)
    head = Head.drawn(draw.child("head"))
    spacing = slice_spacing(plan.slices)
    start = LOWEST_MM * head.height / 76 + draw.uniform(-3, 3)
    heights = [start + spacing * i for i in range(plan.slices)]
    for attempt in range(ATTEMPTS):
        lesions = []
        for kind in plan.kinds:
            own = draw.child("lesion", attempt, kind)
            lesions.append(drawn(kind, own, head, heights, own.chance(plan.faint_fraction)))
        slices = [render(head, lesions, height, plan.size) for height in heights]
        if set(plan.kinds) == {kind for s in slices for kind in s.masks}:
            break
    return Patient(head, tuple(lesions), tuple(heights), spacing, tuple(slices))


def patient_id_of(plan: PatientPlan) -> str:
    """PatientID."""
    return f"PH{plan.number:04d}"


def study_uid_of(plan: PatientPlan) -> str:
    """StudyInstanceUID."""
    return uid_of(plan.seed, patient_id_of(plan), "study")


def write_patient(plan: PatientPlan, folder: Path) -> list[SliceTruth]:
    """Write the study of a planned patient under ``folder``; the truth of every slice of the brain series."""
    patient = drawn_patient(plan)
    draw = Draw("study", plan.seed, plan.number)
    scanner = scanner_of(plan.seed, plan.number)
    study_uid = study_uid_of(plan)
    study = Study(patient_id_of(plan), patient.head.age, patient.head.sex, plan.day, study_uid, scanner)
    target = folder / uid_of(study_uid, "folder")[5:15]
    target.mkdir()
    half = draw.bell(0.02, 0.16) if scanner.tilts and draw.chance(0.35) else 0.0
    geometry = _Geometry(half, plan.size)
    deviation = scanner.noise_hu * draw.bell(0.75, 1.25)
    brain = geometry.series(
        uid_of(study_uid, "brain"), 2, scanner.series_description, scanner.kernel, patient, (40, 80)
    )
    truth = _write_series(target, study, brain, geometry, patient, draw.child("noise"), deviation, sharp=False)
    if plan.bone_series:
        bone = geometry.series(
            uid_of(study_uid, "bone"), 3, scanner.bone_description, scanner.bone_kernel, patient, (400, 2000)
        )
        _write_series(
            target, study, bone, geometry, patient, draw.child("bone noise"), BONE_NOISE * deviation, sharp=True
        )
    if draw.chance(0.9):
        _write_localizer(target, study, patient, draw.child("localizer"))
    return truth


@dataclass(frozen=True)
class _Geometry:
    """Where the images lie: tan(half tilt) of the gantry, rows and columns."""

    half: float
    size: int

    @property
    def direction(self) -> tuple[float, float]:
        """Cosine and sine of the gantry's tilt."""
        t = self.half
        return (1 - t * t) / (1 + t * t), 2 * t / (1 + t * t)

    @property
    def tilt_deg(self) -> float:
        """The tilt in degrees, by the series of the arc tangent: accurate to 1e-5 for the small angles drawn."""
        t = self.half
        t2 = t * t
        return 2 * (t - t * t2 / 3 + t * t2 * t2 / 5 - t * t2 * t2 * t2 / 7) * 57.29577951308232

    def series(
        self, uid: str, number: int, description: str, kernel: str, patient: Patient, window: tuple[int, int]
    ) -> Series:
        cosine, sine = self.direction
        return Series(
            uid, number, description, kernel, ("ORIGINAL", "PRIMARY", "AXIAL"), (1, 0, 0, 0, cosine, -sine),
            FIELD_OF_VIEW_MM / self.size, min(THICKEST_MM, patient.spacing), window, self.tilt_deg,
        )  # fmt: skip

    def position(self, table: float) -> tuple[float, float, float]:
        """Of the first pixel, mm, when the middle of the image lies on the table's axis at that height."""
        cosine, sine = self.direction
        corner = FIELD_OF_VIEW_MM / self.size * (self.size - 1) / 2
        return -corner, -corner * cosine, table + corner * sine


def _write_series(
    folder: Path,
    study: Study,
    series: Series,
    geometry: _Geometry,
    patient: Patient,
    draw: Draw,
    deviation: float,
    sharp: bool,
) -> list[SliceTruth]:
    writer = SeriesWriter(folder, study, series)
    count = len(patient.slices)
    truth = []
    for index, drawn_slice in enumerate(patient.slices):
        number = count - index if study.scanner.from_vertex else index + 1
        sop_uid = uid_of(series.series_uid, index)
        grain = noise(draw.child(index), geometry.size, deviation, sharp)
        position = geometry.position(-600.0 + patient.spacing * index)
        writer.write(Image(sop_uid, number, position, drawn_slice.hu + grain))
        truth.append(SliceTruth(sop_uid, drawn_slice.masks))
    return truth


def _write_localizer(folder: Path, study: Study, patient: Patient, draw: Draw) -> None:
    """A coarse lateral projection: what the technician planned the slices on. It belongs to no axial series."""
    spacing = 300.0 / LOCALIZER_SIZE
    steps: FloatArray = ((np.arange(LOCALIZER_SIZE) - (LOCALIZER_SIZE - 1) / 2) * spacing).astype(np.float32)
    y, z = (
        np.broadcast_to(steps[None, :], (LOCALIZER_SIZE,) * 2),
        np.broadcast_to(-steps[:, None], (LOCALIZER_SIZE,) * 2),
    )
    head = patient.head
    radii = (1.0, head.half_length, head.height)
    depth = ellipsoid(0 * y, y, z, (0, 0, 0), radii) * np.float32(min(radii[1:]))
    neck = cover(36 - np.abs(y - 25), 6) * cover(-z - 20, 6)
    hu = -1000 + 900 * np.maximum(cover(depth + 7, 3), neck) + 300 * cover(7 - np.abs(depth), 4)
    hu = hu + noise(draw, LOCALIZER_SIZE, 12.0, False)
    series = Series(
        uid_of(study.study_uid, "localizer"), 1, "Scout", study.scanner.kernel, ("ORIGINAL", "PRIMARY", "LOCALIZER"),
        (0, 1, 0, 0, 0, -1), spacing, 1.0, (0, 1000), 0.0,
    )  # fmt: skip
    image = Image(
        uid_of(series.series_uid, 0), 1, (0.0, float(steps[0]), -545.0 - float(steps[0])), hu.astype(np.float32)
    )
    SeriesWriter(folder, study, series).write(image)
