"""Patient-level cohorts: train, validation, test_retrospective, test_prospective.

All studies of a patient go to one cohort, and so do patients whose scans show one head (:mod:`ich_pipeline.quality.twins`). The prospective test is the latest patients by date, at their natural
prevalence; the retrospective test is drawn at random, balanced; validation is stratified by finding; the rest trains.

The random order of the patients is that of a SHA-256 of seed, purpose and patient key: it depends on neither the row order,
nor a library's random stream, and a patient who joins later leaves the order of the others as it was.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import pandas as pd

from ich_pipeline.config import SplitParams, TestCohortParams
from ich_pipeline.core.errors import InputError
from ich_pipeline.quality.twins import persons
from ich_pipeline.splits.stratify import Patient, draw_validation, having
from ich_pipeline.tables.cohort_names import COHORTS, PROSPECTIVE, RETROSPECTIVE, TESTS, VALIDATION
from ich_pipeline.tables.label_tables import UID
from ich_pipeline.tables.labels import Labels

PERSON = "person"  # column of the cases: the patient_key that stands for all patients of one head
COLUMNS = ["case_id", "patient_key", "StudyInstanceUID", "SeriesInstanceUID", "StudyDate", "cohort"]
KEPT_FOR_TRAINING = 0.5  # of the positive, and of the negative, patients: no test may take more than the other half


@dataclass(frozen=True)
class Split:
    """The cohorts (:data:`COLUMNS`, one row a case, ordered by case_id) and what a person should know about the draw.

    ``cautions`` are those of the notes without which the figures of a test mislead: the report repeats them.
    """

    cohorts: pd.DataFrame
    notes: tuple[str, ...]
    cautions: tuple[str, ...] = ()


def case_table(series: pd.DataFrame, slices: pd.DataFrame, table: pd.DataFrame, labels: Labels) -> pd.DataFrame:
    """One row a case with at least one labelled slice: identifiers, StudyDate, :data:`PERSON`, and each label (1 where any
    slice shows it).

    Args:
        series: series table of ingest; its chosen rows count.
        slices: slice table of ingest.
        table: label table; slices without a row in it are left out.
        labels: label names.
    """
    columns = list(labels.columns)
    labelled = slices.loc[:, ["case_id", UID]].merge(table, on=UID, how="inner", sort=False)
    shown = labelled.groupby("case_id")[columns].max().reset_index()
    rows = series.loc[series["chosen"]]
    chosen = rows[[name for name in COLUMNS if name != "cohort"]].assign(person=rows["patient_key"].map(persons(rows)))
    return chosen.merge(shown, on="case_id", how="inner").sort_values("case_id", ignore_index=True)


def split_cases(
    cases: pd.DataFrame, labels: Labels, params: SplitParams, seed: int, frozen: Mapping[str, str] | None = None
) -> Split:
    """Draw the cohorts.

    Args:
        cases: what :func:`case_table` returned, in any row order.
        labels: label names.
        params: shares of the cohorts.
        seed: of the random order.
        frozen: :data:`PERSON` of every test patient and the test, where the tests are frozen
            (:mod:`ich_pipeline.splits.frozen`): then none is drawn, and everybody else trains or validates.

    Raises:
        InputError: a cohort would be empty.
    """
    patients = patients_of(cases, labels)
    count = len(patients)
    if count < len(COHORTS):
        raise InputError(
            f"data/ holds {count} patients with labels, but the four cohorts need at least one each: add patients to data/dicom and data/labels.csv."
        )
    notes: list[str] = []
    cautions: list[str] = []
    kept: set[str] = set()
    if frozen is None:
        kept = _single_patient_findings(patients, labels, notes)
        pool = [patient for patient in patients if patient.key not in kept]
        prospective = _draw_test(
            sorted(pool, key=lambda p: (p.date, p.key), reverse=True),
            patients,
            params.prospective,
            PROSPECTIVE,
            [],
            params,
            notes,
        )
        cautions = _date_cautions(prospective, pool, patients)
        notes += cautions
        pool = without(pool, prospective)
        retrospective = _draw_test(
            shuffled(pool, seed, RETROSPECTIVE),
            patients,
            params.retrospective,
            RETROSPECTIVE,
            prospective,
            params,
            notes,
        )
    else:
        retrospective, prospective = ([p for p in patients if frozen.get(p.key) == test] for test in TESTS)
        pool = without(patients, prospective)
    pool = without(pool, retrospective)
    # The kept patients count as left for training: they keep their finding out of validation.
    left = [*pool, *(patient for patient in patients if patient.key in kept)]
    validation = draw_validation(shuffled(pool, seed, VALIDATION), left, labels, share(params.validation, count), notes)
    train = without(left, validation)

    members = dict(zip(COHORTS, (train, validation, retrospective, prospective), strict=True))
    for name, drawn in members.items():
        if not drawn:
            raise InputError(
                f"params.yaml: with {count} patients, split leaves the cohort {name} empty: add patients or change the shares under split."
            )
    cohort_of = {patient.key: name for name, drawn in members.items() for patient in drawn}
    table = cases.assign(cohort=cases[PERSON].map(cohort_of)).sort_values("case_id", ignore_index=True)
    return Split(table[COLUMNS], tuple(notes), tuple(cautions))


def label_file(cohort: str, split: Split, slices: pd.DataFrame, table: pd.DataFrame) -> pd.DataFrame:
    """The label table of one cohort: labelled slices of its chosen series, in the order of the slice table."""
    cases = set(split.cohorts.loc[split.cohorts["cohort"] == cohort, "case_id"])
    rows = slices.loc[slices["case_id"].isin(cases), [UID]]
    return rows.merge(table, on=UID, how="inner", sort=False)


def summary_table(split: Split, slices: pd.DataFrame, table: pd.DataFrame, labels: Labels) -> pd.DataFrame:
    """One row a cohort: patients, cases, labelled slices; positive slices and cases of each label for train and validation.

    Test cohorts have no label counts: their labels stay sealed until evaluate.
    """
    rows = []
    case_of = slices.set_index(UID)["case_id"]
    for cohort in COHORTS:
        members = split.cohorts.loc[split.cohorts["cohort"] == cohort]
        labelled = label_file(cohort, split, slices, table)
        row: dict[str, object] = {
            "cohort": cohort,
            "patients": members["patient_key"].nunique(),
            "cases": len(members),
            "slices": len(labelled),
        }
        for name in labels.columns:
            shown = labelled.loc[labelled[name] == 1, UID]
            sealed = cohort in TESTS
            row[f"{name}_slices"] = None if sealed else len(shown)
            row[f"{name}_cases"] = None if sealed else case_of.loc[shown].nunique()
        rows.append(row)
    return pd.DataFrame(rows).astype({c: "Int64" for c in rows[0] if c != "cohort"})


def patients_of(cases: pd.DataFrame, labels: Labels) -> list[Patient]:
    """All patients of :func:`case_table`, ordered by key; those of one head count as one."""
    patients = []
    for key, own in cases.groupby(PERSON, sort=True):
        positive = int((own[labels.any] > 0).sum())
        findings = frozenset(name for name in labels.subtypes if (own[name] > 0).any())
        patients.append(Patient(str(key), max(own["StudyDate"].astype(str)), findings, positive, len(own) - positive))
    return patients


def share(fraction: float, count: int) -> int:
    """``fraction`` of ``count`` patients, rounded half up, one at least."""
    return max(1, math.floor(fraction * count + 0.5))


def shuffled(patients: Iterable[Patient], seed: int, purpose: str) -> list[Patient]:
    """The patients in the random order of this seed and purpose."""
    return sorted(patients, key=lambda p: hashlib.sha256(f"{seed}|{purpose}|{p.key}".encode()).hexdigest())


def without(patients: Iterable[Patient], others: Iterable[Patient]) -> list[Patient]:
    """The patients, in their order, that are none of ``others``."""
    gone = {patient.key for patient in others}
    return [patient for patient in patients if patient.key not in gone]


def _date_cautions(prospective: Sequence[Patient], pool: Sequence[Patient], everyone: Sequence[Patient]) -> list[str]:
    """Where dates do not tell who is latest, the prospective test is an arbitrary draw, and its name says too much."""
    if not prospective:
        return []
    first = min(patient.date for patient in prospective)
    if len({patient.date for patient in everyone}) == 1:
        return [
            f"{PROSPECTIVE}: every StudyDate is {f'the same ({first})' if first else 'missing'}, so it is not prospective: its patients are an arbitrary draw and "
            "not the latest ones. Give the studies their dates (shifted ones do, if shifted alike)."
        ]
    left_out = sum(patient.date == first for patient in without(pool, prospective))
    if not left_out:
        return []
    drawn = sum(patient.date == first for patient in prospective)
    return [
        f"{PROSPECTIVE}: the cut by date falls inside one day: {drawn} of its {len(prospective)} patients have one StudyDate, "
        f"as {left_out} patients outside it, so which of them it holds is an arbitrary draw."
    ]


def _single_patient_findings(patients: Sequence[Patient], labels: Labels, notes: list[str]) -> set[str]:
    """Keys of patients who alone show a finding: they train, or it could not be learned at all."""
    kept: set[str] = set()
    for finding in labels.subtypes:
        who = having(patients, finding)
        if len(who) == 1:
            kept.add(who[0].key)
            notes.append(
                f"{finding} is in one patient only, who is kept for training: its figures cannot be estimated on validation or the tests."
            )
        elif not who:
            notes.append(f"{finding} is in no patient: it can be neither learned nor estimated.")
    return kept


def _draw_test(
    order: Sequence[Patient],
    everyone: Sequence[Patient],
    cohort: TestCohortParams,
    name: str,
    earlier_tests: Sequence[Patient],
    params: SplitParams,
    notes: list[str],
) -> list[Patient]:
    """The first patients of ``order``: as many as the share says; to ``positive_fraction`` of the cases where that is set."""
    size = share(cohort.patients, len(everyone))
    fraction = cohort.positive_fraction
    if fraction is None:
        drawn = list(order[:size])
        if drawn and len({p.positive for p in drawn}) < 2:
            kind = "no negative" if drawn[0].positive else "no positive"
            notes.append(
                f"{name}: the {len(drawn)} latest patients hold {kind} one, so AUC and average precision cannot be estimated on it; a larger share under split may reach one."
            )
        return drawn
    size = max(size, 2)  # one of each kind
    cases = size * sum(p.positive_cases + p.negative_cases for p in everyone) / len(everyone)
    wanted = {True: max(1.0, fraction * cases), False: max(1.0, (1 - fraction) * cases)}
    limit: dict[bool, int] = {}
    for positive in (True, False):
        total = sum(p.positive == positive for p in everyone)
        taken = sum(p.positive == positive for p in earlier_tests)
        half = math.floor(total * (1 - KEPT_FOR_TRAINING)) - taken - math.floor(params.validation * total + 0.5)
        limit[positive] = max(0, min(half, sum(p.positive == positive for p in order)))
    short = [positive for positive in (True, False) if limit[positive] < math.floor(wanted[positive] + 0.5)]
    if short and all(limit.values()):
        scale = min(limit[positive] / wanted[positive] for positive in (True, False))
        wanted = {positive: wanted[positive] * scale for positive in (True, False)}
    if short:
        kinds = " and ".join("positive" if positive else "negative" for positive in short)
        outcome = "so it is smaller than its share" if all(limit.values()) else "so it is not balanced"
        notes.append(f"{name}: too few {kinds} patients to fill it and keep half of them for training, {outcome}.")
    chosen: list[Patient] = []
    for positive in (True, False):
        chosen += _fill(
            [p for p in order if p.positive == positive], math.floor(wanted[positive] + 0.5), limit[positive], chosen
        )
    return chosen


def _fill(order: Sequence[Patient], wanted: int, limit: int, chosen: Sequence[Patient]) -> list[Patient]:
    """Patients of one kind, in order, until ``wanted`` cases of that kind are there; at most ``limit`` patients.

    A positive patient may bring negative cases along: those that ``chosen`` brought count too.
    """
    if not order:
        return []
    positive = order[0].positive
    have = 0 if positive else sum(p.negative_cases for p in chosen)
    drawn: list[Patient] = []
    for patient in order:
        if have >= wanted or len(drawn) >= limit:
            break
        brings = patient.positive_cases if positive else patient.negative_cases
        if have + brings > wanted and drawn:
            continue  # one with fewer studies may still fit
        drawn.append(patient)
        have += brings
    return drawn
