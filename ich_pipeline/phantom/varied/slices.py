"""The varied slices of many patients, with truth and neighbours, as arrays."""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from datetime import date

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from ich_pipeline.core.errors import InputError
from ich_pipeline.core.progress import Track, quiet
from ich_pipeline.phantom.brain import Anatomy
from ich_pipeline.phantom.cohort import kinds_of, require_drawable
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
from ich_pipeline.tables.labels import Labels

A_DAY = date(2000, 1, 1)  # nobody reads the date of a picture that is never written


@dataclass(frozen=True)
class VariedSlices:
    """Slices in the order of the patients, each patient's from the base to the vertex."""

    hu: NDArray[np.int16]  # (n, size, size)
    truth: NDArray[np.int8]  # (n, 1 + subtypes): "any", then the subtypes in the order of the labels
    patients: NDArray[np.int64]  # (n,), numbered from 0
    neighbours: NDArray[np.int64]  # (n, 2): rows of the slices before and after, -1 at a patient's ends


def varied_slices(
    labels: Labels,
    *,
    patients: int,
    slices: int,
    size: int,
    positive_fraction: float,
    faint_fraction: float,
    seed: int,
    variation: float,
    track: Track = quiet,
    workers: int | None = None,
) -> VariedSlices:
    """Draw the slices of synthetic patients in memory. Equal arguments give equal bytes on one machine, with any number of workers.

    Args:
        labels: the names and order of the truth's columns.
        patients: how many.
        slices: how many of each.
        size: rows and columns of a slice.
        positive_fraction: share of the patients that bleed; every subtype leads equally often.
        faint_fraction: share of the bleeds that are small, thin or diluted.
        seed: of everything drawn.
        variation: 0 for the phantom's plain heads under their scanners' noise … 1 for the whole range.
        track: shows the progress over patients.
        workers: processes; None for one a core.

    Raises:
        InputError: a label that the phantom cannot draw, or a number out of its range.
    """
    require_drawable(labels.subtypes)
    _require_ranges(patients, slices, size, positive_fraction, faint_fraction, variation)
    plans = _plans(labels, patients, slices, size, positive_fraction, faint_fraction, seed)
    hu = np.empty((patients * slices, size, size), np.int16)
    truth = np.zeros((patients * slices, len(labels.subtypes)), np.int8)
    drawn = _drawn(plans, labels.subtypes, variation, workers or os.cpu_count() or 1)
    for number, patient in enumerate(track(drawn, "drawing varied heads", patients)):
        rows = slice(number * slices, (number + 1) * slices)
        hu[rows], truth[rows] = patient.hu, patient.truth
    row = np.arange(patients * slices, dtype=np.int64)
    place = row % slices
    neighbours = np.stack([np.where(place > 0, row - 1, -1), np.where(place < slices - 1, row + 1, -1)], axis=1)
    return VariedSlices(hu, np.column_stack([labels.any_of(truth), truth]), row // slices, neighbours)


def _require_ranges(
    patients: int, slices: int, size: int, positive_fraction: float, faint_fraction: float, variation: float
) -> None:
    for name, count, least in (("patients", patients, 1), ("slices", slices, 2), ("size", size, 32)):
        if count < least:
            raise InputError(f"varied heads: {name} is {count}; it must be at least {least}.")
    fractions = {
        "positive_fraction": positive_fraction,
        "faint_fraction": faint_fraction,
        "variation": variation,
    }
    for name, value in fractions.items():
        if not 0 <= value <= 1:
            raise InputError(f"varied heads: {name} is {value}; it must lie between 0 and 1.")


def _plans(
    labels: Labels, patients: int, slices: int, size: int, positive_fraction: float, faint_fraction: float, seed: int
) -> list[PatientPlan]:
    draw = Draw("varied cohort", seed)
    positives = draw.shuffled(range(patients))[: round(patients * positive_fraction)]
    kinds = {patient: kinds_of(draw, labels.subtypes, rank) for rank, patient in enumerate(positives)}
    return [
        PatientPlan(number + 1, seed, A_DAY, kinds.get(number, ()), slices, size, faint_fraction, bone_series=False)
        for number in range(patients)
    ]


def _drawn(
    plans: list[PatientPlan], subtypes: tuple[str, ...], variation: float, workers: int
) -> Iterator[PatientSlices]:
    if workers == 1 or len(plans) < 2 * workers:
        for plan in plans:
            yield patient_slices(plan, subtypes, variation)
        return
    # Spawned, not forked: the caller may hold threads (a server, TensorFlow) that a fork would freeze.
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(workers, mp_context=context) as pool:
        count = len(plans)
        yield from pool.map(patient_slices, plans, [subtypes] * count, [variation] * count, chunksize=4)


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
