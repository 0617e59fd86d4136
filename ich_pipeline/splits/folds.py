"""Patient-level folds, of two kinds.

For cross-validation (:func:`draw_folds`): every patient is tested once, by a system that never saw them. In each fold the
held-out patients take the place of the retrospective test; validation is drawn from the others by the same rule as in
:mod:`ich_pipeline.splits.patient_cohorts`. For cohorts that are too small for tests of their own.

For out-of-fold predictions (:func:`deal_learners`): the patients of train and validation, where they are few, are dealt to
folds; each fold is predicted by heads that learned from the other folds. So the ensemble, its thresholds and its limits are
chosen on all of these patients, and not on the few of validation. The tests stay out of it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import pandas as pd

from ich_pipeline.config import Params
from ich_pipeline.core.errors import InputError
from ich_pipeline.splits.patient_cohorts import COLUMNS, PERSON, Split, patients_of, share, shuffled, without
from ich_pipeline.splits.stratify import Patient, draw_validation
from ich_pipeline.tables.cohort_names import RETROSPECTIVE, TESTS, TRAIN, VALIDATION
from ich_pipeline.tables.labels import Labels


@dataclass(frozen=True)
class LearnerFolds:
    """The folds of the patients who learn and validate.

    Attributes:
        table: patient_key and fold (0 to count - 1), one row a patient, by patient_key; no row where there are no folds.
        notes: what a person should know about them.
    """

    table: pd.DataFrame
    notes: tuple[str, ...]


def cross_fitted(params: Params, patients: int) -> bool:
    """Whether every network predicts the patients of train and validation out of fold.

    So it is where they are fewer than ``split.folds.below_patients``, and every network of ``architectures`` is a head on
    features that never learn (``frozen_layers: 1`` of given weights): only such a network learns once a fold in the time
    that there is.

    Args:
        params: split.folds, architectures and networks count.
        patients: patients of train and validation together.
    """
    return patients < params.split.folds.below_patients and _heads_alone(params)


def _heads_alone(params: Params) -> bool:
    """Whether no layer of any backbone learns. A layer's name says how far it is frozen only once the network is built."""
    return all(params.networks[name].frozen_layers == 1 for name in params.architectures)


def deal_learners(cohorts: pd.DataFrame, cases: pd.DataFrame, labels: Labels, params: Params) -> LearnerFolds:
    """Deal the patients of train and validation to ``split.folds.count`` folds, each finding evenly, the rarest first.

    Args:
        cohorts: one row a case (:data:`ich_pipeline.splits.patient_cohorts.COLUMNS`), in any row order.
        cases: what :func:`ich_pipeline.splits.patient_cohorts.case_table` returned; its labels of test cases are not looked at.
        labels: label names.
        params: seed, and what :func:`cross_fitted` needs.

    Raises:
        InputError: there are too few patients for so many folds.
    """
    settings = params.split.folds
    learning = cohorts.loc[~cohorts["cohort"].isin(TESTS), "case_id"]
    learners = cases.loc[cases["case_id"].isin(learning)]
    patients = patients_of(learners, labels)
    if not cross_fitted(params, len(patients)):
        return LearnerFolds(_fold_table(learners, []), _why_none(params, len(patients)))
    if len(patients) < 2 * settings.count:
        raise InputError(
            f"params.yaml: split.folds.count {settings.count} needs two patients a fold, but train and validation have "
            f"{len(patients)}: lower it, or set split.folds.below_patients: 0."
        )
    dealt = _deal(shuffled(patients, params.seed, "folds of train and validation"), labels, settings.count)
    note = (
        f"Train and validation have {len(patients)} patients, fewer than split.folds.below_patients "
        f"{settings.below_patients}: all of them are predicted out of fold, in {settings.count} folds."
    )
    return LearnerFolds(_fold_table(learners, dealt), (note,))


def _why_none(params: Params, patients: int) -> tuple[str, ...]:
    """Nothing to say where the cohort is large or folds are off."""
    below = params.split.folds.below_patients
    if patients >= below:
        return ()
    learning = ", ".join(name for name in params.architectures if params.networks[name].frozen_layers != 1)
    return (
        f"Train and validation have {patients} patients, fewer than split.folds.below_patients {below}, but no folds are "
        f"drawn: layers of {learning} learn (networks.*.frozen_layers is not 1 with given weights), and such networks are "
        "trained once, not once a fold.",
    )


def _fold_table(learners: pd.DataFrame, dealt: Sequence[Sequence[Patient]]) -> pd.DataFrame:
    """Patient and fold, ordered by patient; patients whose scans show one head were dealt as one, and each has a row."""
    fold_of = {patient.key: fold for fold, members in enumerate(dealt) for patient in members}
    known = learners.drop_duplicates("patient_key")
    heads = zip(known["patient_key"], known[PERSON], strict=True)
    rows = sorted((key, fold_of[head]) for key, head in heads if head in fold_of)
    return pd.DataFrame(rows, columns=["patient_key", "fold"]).astype({"patient_key": "str", "fold": "int64"})


def draw_folds(cases: pd.DataFrame, labels: Labels, count: int, validation: float, seed: int) -> list[Split]:
    """Deal the patients to ``count`` folds and draw each fold's cohorts.

    Args:
        cases: what :func:`ich_pipeline.splits.patient_cohorts.case_table` returned, in any row order.
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
