"""All slices of one patient, plain or varied, with the truth of each."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from ich_pipeline.phantom.brain import Anatomy
from ich_pipeline.phantom.draw import Draw, FloatArray
from ich_pipeline.phantom.grain import noise
from ich_pipeline.phantom.head import Section
from ich_pipeline.phantom.lesions import Lesion
from ich_pipeline.phantom.render import Additions, Slice, render_section
from ich_pipeline.phantom.scanners import scanner_of
from ich_pipeline.phantom.study import ATTEMPTS, PatientPlan, drawn_patient
from ich_pipeline.phantom.varied.person import Person, varied_lesion
from ich_pipeline.phantom.varied.scan import harden, scanned, wobble
from ich_pipeline.phantom.varied.section import VariedSection

LOWEST_HU, HIGHEST_HU = -1024, 3071  # of a CT with 12 bits


@dataclass(frozen=True)
class PatientSlices:
    """HU (slices, size, size) and what bleeds (slices, subtypes), 0 or 1."""

    hu: NDArray[np.int16]
    truth: NDArray[np.int8]


def patient_slices(plan: PatientPlan, subtypes: tuple[str, ...], variation: float) -> PatientSlices:
    """Draw the patient of a plan; the truth's columns follow ``subtypes``."""
    slices, hu = _plain(plan) if variation == 0 else varied_patient(plan, variation)
    truth = np.array([[kind in s.masks for kind in subtypes] for s in slices], np.int8).reshape(len(slices), -1)
    stored = [np.clip(np.rint(layer), LOWEST_HU, HIGHEST_HU).astype(np.int16) for layer in hu]
    return PatientSlices(np.stack(stored), truth)


def _plain(plan: PatientPlan) -> tuple[list[Slice], list[FloatArray]]:
    slices = list(drawn_patient(plan).slices)
    draw, deviation = Draw("varied noise", plan.seed, plan.number), scanner_of(plan.seed, plan.number).noise_hu
    return slices, [s.hu + noise(draw.child(i), plan.size, deviation, False) for i, s in enumerate(slices)]


def varied_patient(plan: PatientPlan, variation: float) -> tuple[list[Slice], list[FloatArray]]:
    """The slices with their masks, free of noise, and the HU of each as the scanner shows it."""
    person = Person.drawn(plan, variation)
    slices = _seen(plan, person, variation)
    draw = person.draw.child("slices")
    mixing = variation * draw.uniform(0, 16) if draw.chance(0.7) else 0.0
    scans = []
    for number, drawn_slice in enumerate(slices):
        own = draw.child(number)
        blood = mixed(drawn_slice, own.child("blood"), mixing)
        scans.append(scanned(blood, person.scan, own))
    return slices, scans


class _Extras(Additions):
    """What the person has beside the phantom's anatomy."""

    def __init__(self, person: Person) -> None:
        self._person = person

    def around(self, hu: FloatArray, whole: Section) -> None:
        assert isinstance(whole, VariedSection)
        self._person.outside.paint(hu, whole)

    def within(self, hu: FloatArray, brain: Anatomy) -> None:
        self._person.inside.under_blood(hu, brain)

    def upon(self, hu: FloatArray, brain: Anatomy) -> None:
        self._person.inside.over_blood(hu, brain)
        section, draw = brain.section, self._person.draw.child("bands", brain.section.height)
        self._person.outside.trim(hu, section)
        harden(hu, section, self._person.scan, draw)


def mixed(drawn_slice: Slice, draw: Draw, strength: float) -> FloatArray:
    """The slice with blood of uneven density: up to ``strength`` HU less in places, as it clots, dissolves or still runs."""
    hu = drawn_slice.hu
    solid = [mask for kind, mask in drawn_slice.masks.items() if kind != "subarachnoid"]
    if not strength or not solid:
        return hu
    blood = ndimage.gaussian_filter(np.maximum.reduce(solid).astype(np.float32), 1.0, truncate=2.5)
    return hu - np.float32(strength) * blood * np.clip(0.5 + 1.2 * wobble(draw, hu.shape[0], 22), 0, 1)


def _seen(plan: PatientPlan, person: Person, variation: float) -> list[Slice]:
    """The slices, with bleeds drawn anew until each kind is seen in one."""
    slices: list[Slice] = []
    extras = _Extras(person)
    for attempt in range(ATTEMPTS):
        lesions: list[Lesion] = []
        for kind in plan.kinds:
            own = person.draw.child("lesion", attempt, kind)
            lesions.append(varied_lesion(kind, own, person, own.chance(plan.faint_fraction), variation))
        slices = [render_section(person.section(z, plan.size), lesions, extras) for z in person.heights]
        if set(plan.kinds) == {kind for s in slices for kind in s.masks}:
            break
    return slices
