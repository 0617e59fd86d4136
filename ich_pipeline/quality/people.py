"""Patients who are no one person: one PatientID with both sexes, or with births too far apart.

Anonymisers write one word into the PatientID of many people, and numbers are given twice. No cohort leaks by it, but whatever
counts by patient counts several people as one.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date

import pandas as pd

from ich_pipeline.tables.ages import age_years

SEXES = {"F", "M"}
FOLLOWED_YEARS = 40.0  # digital CT is no older: so far apart no two ages are one person's, where dates are missing
_INITIALS = {"W": "F"}  # German exports write W, others whole words
BIRTHS_APART_YEARS = 2.0  # an age is given in whole years, so two births of one person lie up to one apart


@dataclass(frozen=True)
class Doubted:
    """A patient whose studies contradict one another.

    Attributes:
        patient_key: as in the tables.
        studies: how many the patient has.
        words: what contradicts, after "studies of".
    """

    patient_key: str
    studies: int
    words: str


def doubted_patients(series: pd.DataFrame) -> list[Doubted]:
    """Patients with both sexes, or births more than two years apart, by PatientBirthDate or by age and StudyDate.

    Ages without a StudyDate tell no birth: they are doubted where they lie more than 40 years from another age.
    Birth dates are compared with birth dates and ages with ages: an anonymiser may write one placeholder into all birth dates
    and leave the ages true.

    Args:
        series: one row a study; ``patient_key``, ``StudyDate``, ``PatientAge``, ``PatientSex`` and ``PatientBirthDate`` count.

    Returns:
        Ordered by patient_key.
    """
    found = []
    for key, own in series.groupby("patient_key", sort=True):
        parts = []
        initials = own["PatientSex"].fillna("").str.strip().str.upper().str[:1]
        if set(initials.replace(_INITIALS)) >= SEXES:
            parts.append("both sexes")
        dated = [
            (age, _years(day) - age)
            for day, age in zip(own["StudyDate"].fillna(""), own["PatientAge"].fillna("").map(age_years), strict=True)
            if not math.isnan(age)
        ]
        ages = [age for age, _ in dated]
        undated = [age for age, birth in dated if math.isnan(birth)]
        apart = any(abs(one - other) > FOLLOWED_YEARS for one in undated for other in ages)
        if apart or _spread(birth for _, birth in dated):
            parts.append(f"ages from {min(ages):.0f} to {max(ages):.0f}")
        if _spread(_years(value) for value in own["PatientBirthDate"].fillna("")):
            parts.append("birth dates more than 2 years apart")
        if parts:
            found.append(Doubted(str(key), len(own), " and ".join(parts)))
    return found


def person_cautions(doubted: list[Doubted]) -> list[str]:
    """What the report says of them, without naming one; empty where there is none."""
    if not doubted:
        return []
    each = "; ".join(f"{one.studies} studies of {one.words}" for one in doubted[:3])
    more = f"; and {len(doubted) - 3} more" if len(doubted) > 3 else ""
    what = "One PatientID is" if len(doubted) == 1 else f"{len(doubted)} PatientIDs are"
    return [
        f"{what} not one person's ({each}{more}): number of patients and intervals by patient count several people as one."
    ]


def _spread(births: Iterable[float]) -> bool:
    known = [one for one in births if not math.isnan(one)]
    return bool(known) and max(known) - min(known) > BIRTHS_APART_YEARS


def _years(day: str) -> float:
    """YYYYMMDD as years; NaN where it is no date."""
    try:
        found = date(int(day[:4]), int(day[4:6]), int(day[6:8]))
    except ValueError:
        return math.nan
    return found.year + (found.timetuple().tm_yday - 1) / 365.25
