"""All slices of one patient, plain or varied, with the truth of each."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ich_pipeline.cohorts.phantom.draw import Draw, FloatArray
from ich_pipeline.cohorts.phantom.grain import noise
from ich_pipeline.cohorts.phantom.lesions import Lesion
from ich_pipeline.cohorts.phantom.render import Additions, Slice, render_section
from ich_pipeline.cohorts.phantom.scanners import scanner_of
from ich_pipeline.cohorts.phantom.study import ATTEMPTS, PatientPlan, drawn_patient
from ich_pipeline.cohorts.phantom.varied.person import Person, varied_lesion
from ich_pipeline.cohorts.phantom.varied.scan import scanned

LOWEST_HU, HIGHEST_HU = -1024, 3071  # of a CT with 12 bits


@dataclass(frozen=True)
class PatientSlices:
    """HU (slices, size, size) and what bleeds (slices, subtypes), 0 or 1."""

    hu: NDArray[np.int16]
    truth: NDArray[np.int8]


def patient_slices(plan: PatientPlan, subtypes: tuple[str, ...], variation: float) -> PatientSlices:
    """Draw the patient of a plan; the truth's columns follow ``subtypes``."""
    slices, hu = _plain(plan) if variation == 0 else _varied(plan, variation)
    truth = np.array([[kind in s.masks for kind in subtypes] for s in slices], np.int8).reshape(len(slices), -1)
    stored = [np.clip(np.rint(layer), LOWEST_HU, HIGHEST_HU).astype(np.int16) for layer in hu]
    return PatientSlices(np.stack(stored), truth)


def _plain(plan: PatientPlan) -> tuple[list[Slice], list[FloatArray]]:
    slices = list(drawn_patient(plan).slices)
    draw, deviation = Draw("varied noise", plan.seed, plan.number), scanner_of(plan.seed, plan.number).noise_hu
    return slices, [s.hu + noise(draw.child(i), plan.size, deviation, False) for i, s in enumerate(slices)]


def _varied(plan: PatientPlan, variation: float) -> tuple[list[Slice], list[FloatArray]]:
    person = Person.drawn(plan, variation)
    slices = _seen(plan, person, variation)
    draw = person.draw.child("slices")
    return slices, [scanned(s.hu, person.scan, draw.child(i)) for i, s in enumerate(slices)]


def _seen(plan: PatientPlan, person: Person, variation: float) -> list[Slice]:
    """The slices, with bleeds drawn anew until each kind is seen in one."""
    slices: list[Slice] = []
    for attempt in range(ATTEMPTS):
        lesions: list[Lesion] = []
        for kind in plan.kinds:
            own = person.draw.child("lesion", attempt, kind)
            lesions.append(varied_lesion(kind, own, person, own.chance(plan.faint_fraction), variation))
        slices = [render_section(person.section(z, plan.size), lesions, Additions()) for z in person.heights]
        if set(plan.kinds) == {kind for s in slices for kind in s.masks}:
            break
    return slices
