"""The synthetic cohort: who is positive and with what, when each was scanned, and the files of ``data/``.

Its readers are simulated, as no person read it. Their names say so wherever their figures stand.
"""

from __future__ import annotations

import csv
import hashlib
import io
import json
import multiprocessing
import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from datetime import timedelta
from pathlib import Path

from ich_pipeline.config import Params
from ich_pipeline.core.errors import InputError
from ich_pipeline.core.files import atomic_dir, write_json
from ich_pipeline.core.progress import Track, quiet
from ich_pipeline.phantom.draw import Draw
from ich_pipeline.phantom.lesions import KINDS
from ich_pipeline.phantom.study import PatientPlan, SliceTruth, study_uid_of, write_patient
from ich_pipeline.tables.masks import write_masks
from ich_pipeline.tables.reader_tables import SIMULATED

# How often a second finding comes with the first; blood in the brain breaks into the ventricles more often.
ALONGSIDE, INTO_VENTRICLES = 0.13, 0.3


GENERATOR = 2  # raised whenever a change of this package changes the bytes, so that data/ is made anew


def settings_of(params: Params) -> dict:
    """The settings that decide every byte of the cohort, for ``cohort.json``."""
    return {
        "generator": GENERATOR,
        "labels": params.labels.model_dump(mode="json"),
        "phantom": params.phantom.model_dump(mode="json"),
    }


def settings_sha256(settings: dict) -> str:
    """Hash of the settings in canonical JSON."""
    return hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()


def plan_cohort(params: Params) -> list[PatientPlan]:
    """Who has which haemorrhage and when each patient was scanned; nothing is drawn yet.

    Raises:
        InputError: a configured subtype that the phantom cannot draw.
    """
    subtypes = params.labels.subtypes
    require_drawable(subtypes)
    phantom = params.phantom
    draw = Draw("cohort", phantom.seed)
    everyone = range(phantom.patients)
    positives = draw.shuffled(everyone)[: round(phantom.patients * phantom.positive_fraction)]
    kinds = {patient: kinds_of(draw, subtypes, rank) for rank, patient in enumerate(positives)}
    bone = set(draw.shuffled(everyone)[: round(phantom.patients * phantom.second_series_fraction)])
    day, days = phantom.first_date, {}
    for patient in draw.shuffled(everyone):
        days[patient] = day
        day += timedelta(days=draw.choice((1, 1, 1, 2)))
    return [
        PatientPlan(
            number=patient + 1,
            seed=phantom.seed,
            day=days[patient],
            kinds=kinds.get(patient, ()),
            slices=phantom.slices,
            size=phantom.size,
            faint_fraction=phantom.faint_fraction,
            bone_series=patient in bone,
        )
        for patient in everyone
    ]


def require_drawable(subtypes: tuple[str, ...]) -> None:
    """Refuse a configured subtype that the phantom cannot draw, with an InputError."""
    for name in subtypes:
        if name not in KINDS:
            raise InputError(
                f"params.yaml: labels.subtypes names {name!r}, which the phantom cannot draw (it knows {', '.join(KINDS)}); "
                "bring your own data with `ich cohort folder`."
            )


def kinds_of(draw: Draw, subtypes: tuple[str, ...], rank: int) -> tuple[str, ...]:
    """The leading kind goes round, so that each is equally frequent; others come along by chance."""
    leading = subtypes[rank % len(subtypes)]
    chosen = []
    for kind in subtypes:
        share = INTO_VENTRICLES if (leading, kind) == ("intraparenchymal", "intraventricular") else ALONGSIDE
        if draw.chance(share) or kind == leading:
            chosen.append(kind)
    return tuple(chosen)


def create_phantom(params: Params, target: Path, track: Track = quiet, workers: int | None = None) -> None:
    """Write the cohort as ``target`` (replacing it): dicom/, labels.csv, masks.csv, readers.csv, cohort.json.

    The bytes depend on ``params.phantom`` and ``params.labels`` alone, not on the machine or the number of workers.

    Args:
        params: the parameters.
        target: the folder, normally ``data/``.
        track: shows the progress over patients.
        workers: processes; None for one a core.

    Raises:
        InputError: a configured subtype that the phantom cannot draw.
    """
    plans = plan_cohort(params)
    with atomic_dir(target) as folder:
        dicom = folder / "dicom"
        dicom.mkdir()
        truth = []
        for patient in track(_written(plans, dicom, workers or os.cpu_count() or 1), "drawing patients", len(plans)):
            truth.extend(patient)
        truth.sort(key=lambda item: item.sop_uid)
        _write_labels(folder / "labels.csv", truth, params)
        order = params.labels.subtypes
        write_masks(folder / "masks.csv", ((t.sop_uid, k, t.masks[k]) for t in truth for k in order if k in t.masks))
        (folder / "readers.csv").write_text(readers_csv(plans), encoding="utf-8", newline="\n")
        settings = settings_of(params)
        write_json(
            folder / "cohort.json",
            {"kind": "phantom", "settings": settings, "settings_sha256": settings_sha256(settings)},
        )


def _written(plans: list[PatientPlan], dicom: Path, workers: int) -> Iterator[list[SliceTruth]]:
    if workers == 1 or len(plans) < 2 * workers:
        for plan in plans:
            yield write_patient(plan, dicom)
        return
    # Spawned, not forked: the caller may hold threads (a server, TensorFlow) that a fork would freeze.
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(workers, mp_context=context) as pool:
        yield from pool.map(write_patient, plans, [dicom] * len(plans), chunksize=4)


def _write_labels(path: Path, truth: list[SliceTruth], params: Params) -> None:
    labels = params.label_set
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["SOPInstanceUID", *labels.columns])
        for item in truth:
            found = [int(kind in item.masks) for kind in labels.subtypes]
            writer.writerow([item.sop_uid, int(any(found)), *found])


# Name, sensitivity and specificity for "any" in a case. Chosen by us, of no measured reader.
READERS = (
    (f"{SIMULATED} A", 0.95, 0.85),
    (f"{SIMULATED} B", 0.88, 0.94),
    (f"{SIMULATED} C", 0.78, 0.98),
)


def readers_csv(plans: Sequence[PatientPlan]) -> str:
    """``data/readers.csv``: each reader's decision on each case, right with the reader's own chance and by nothing else."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["reader", "case", "decision"])
    for name, sensitivity, specificity in READERS:
        for plan in plans:
            bleeds = bool(plan.kinds)
            right = Draw("reader", plan.seed, name, plan.number).chance(sensitivity if bleeds else specificity)
            writer.writerow([name, study_uid_of(plan), int(bleeds == right)])
    return text.getvalue()
