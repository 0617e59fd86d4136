"""Patient-level folds for cross-validation: every patient is tested once, by a system that never saw them.

For cohorts that are too small for tests of their own. In each fold the held-out patients take the place of the
retrospective test; validation is drawn from the others by the same rule as in :mod:`ich_pipeline.splits`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import pandas as pd

from ich_pipeline.cohort_names import RETROSPECTIVE, TRAIN, VALIDATION
from ich_pipeline.errors import InputError
from ich_pipeline.labels import Labels
from ich_pipeline.splits import COLUMNS, PERSON, Split, patients_of, share, shuffled, without
from ich_pipeline.stratify import Patient, draw_validation


def draw_folds(cases: pd.DataFrame, labels: Labels, count: int, validation: float, seed: int) -> list[Split]:
    """Deal the patients to ``count`` folds and draw each fold's cohorts.

    Args:
        cases: what :func:`ich_pipeline.splits.case_table` returned, in any row order.
        labels: label names.
        count: folds, 2 at least.
        validation: share of all patients that validates within a fold.
        seed: of the random order.

    Returns:
        One split a fold, with the cohorts train, validation and test_retrospective.

    Raises:
        InputError: there are too few patients for so many folds.
    """
    patients = patients_of(cases, labels)
    if count < 2 or len(patients) < 2 * count:
        raise InputError(
            f"{len(patients)} patients with labels cannot be dealt to {count} folds: take 2 folds at least, and 2 patients for each."
        )
    dealt = _deal(shuffled(patients, seed, "folds"), labels, count)
    return [_fold(number, held_out, patients, cases, labels, validation, seed) for number, held_out in enumerate(dealt)]


def _deal(order: Sequence[Patient], labels: Labels, count: int) -> list[list[Patient]]:
    """Patients by their rarest finding, rarest first, dealt in turn, so that every fold gets its share of each."""
    counts = Counter(name for patient in order for name in patient.findings)
    rarity = sorted(counts, key=lambda name: (counts[name], labels.index(name)))

    def stratum(patient: Patient) -> int:
        return next((i for i, name in enumerate(rarity) if name in patient.findings), len(rarity))

    in_turn = sorted(order, key=stratum)
    return [in_turn[fold::count] for fold in range(count)]


def _fold(
    number: int,
    held_out: Sequence[Patient],
    patients: Sequence[Patient],
    cases: pd.DataFrame,
    labels: Labels,
    validation: float,
    seed: int,
) -> Split:
    notes: list[str] = []
    left = without(patients, held_out)
    order = shuffled(left, seed, f"validation of fold {number}")
    validating = draw_validation(order, left, labels, share(validation, len(patients)), notes)
    cohort_of = {p.key: TRAIN for p in left} | {p.key: VALIDATION for p in validating}
    cohort_of |= {p.key: RETROSPECTIVE for p in held_out}
    table = cases.assign(cohort=cases[PERSON].map(cohort_of)).sort_values("case_id", ignore_index=True)
    return Split(table[COLUMNS], tuple(notes))
