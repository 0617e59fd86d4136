"""The validation cohort: stratified by each patient's rarest finding, with every finding on both sides where possible."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from ich_pipeline.tables.labels import Labels

NO_FINDING = ""  # the stratum of patients without any


@dataclass(frozen=True)
class Patient:
    """What the draw knows of a patient: the date of the latest study and which findings any study shows."""

    key: str
    date: str
    findings: frozenset[str]
    positive_cases: int
    negative_cases: int

    @property
    def positive(self) -> bool:
        """Whether any study shows any finding."""
        return self.positive_cases > 0


def having(patients: Iterable[Patient], finding: str) -> list[Patient]:
    """Those of the patients who show the finding."""
    return [patient for patient in patients if finding in patient.findings]


def draw_validation(
    order: Sequence[Patient], left: Sequence[Patient], labels: Labels, size: int, notes: list[str]
) -> list[Patient]:
    """Stratified by each patient's rarest finding; every finding that two patients show is on both sides where possible.

    Args:
        order: who may be drawn, in random order.
        left: ``order`` and those who must train.
        labels: label names.
        size: patients wanted; more are taken where the findings and a patient without any are not in it otherwise.
        notes: gets a sentence for each finding that is missing, and for a larger cohort.
    """
    counts = Counter(name for patient in left for name in patient.findings)
    rarity = sorted((name for name in labels.subtypes if counts[name]), key=lambda n: (counts[n], labels.index(n)))
    draw = _ValidationDraw(order, dict(counts))
    for name in rarity:
        if counts[name] >= 2 and not having(draw.drawn, name):
            # Whoever brings the most missing findings along: small cohorts stay small.
            able = having(draw.able(), name)
            if able:
                draw.take(max(able, key=lambda p: len(p.findings - draw.findings)))
            else:
                notes.append(f"{name} is not in validation: its patients are the last of a finding in training.")
    for name in labels.subtypes:
        if counts[name] == 1 and not _noted(notes, name):
            notes.append(f"{name} is in one patient outside the tests, who trains: validation cannot estimate it.")
        elif counts[name] == 0 and not _noted(notes, name):
            notes.append(f"{name} is in test cohorts only, by their draw: it cannot be learned.")

    def stratum(patient: Patient) -> str:
        return next((name for name in rarity if name in patient.findings), NO_FINDING)

    quotas = _quotas(Counter(stratum(patient) for patient in left), size)
    positives = size - quotas.get(NO_FINDING, 0)
    while len(draw.drawn) < positives:
        have = Counter(stratum(patient) for patient in draw.drawn)
        short = {name: quotas[name] - have[name] for name in rarity if quotas.get(name, 0) > have[name]}
        able = [p for p in draw.able() if stratum(p) in short]
        if not able:
            break
        draw.take(max(able, key=lambda p: short[stratum(p)]))  # the first of equals: the random order decides
    negatives = [p for p in draw.able() if not p.positive]
    for patient in negatives[: min(max(1, size - len(draw.drawn)), max(0, len(negatives) - 1))]:
        draw.take(patient)
    while len(draw.drawn) < size and any(p.positive for p in draw.able()):
        draw.take(next(p for p in draw.able() if p.positive))
    if not draw.drawn and len(left) > 1:
        draw.drawn += order[:1]  # too few patients for any rule: one is better than none
    if len(draw.drawn) > size:
        notes.append(
            f"validation has {len(draw.drawn)} patients where its share is {size}, so that every finding and a patient "
            "without any are in it."
        )
    return draw.drawn


class _ValidationDraw:
    """Who is drawn for validation, and how many patients of each finding training still has."""

    def __init__(self, order: Sequence[Patient], in_training: dict[str, int]) -> None:
        self.waiting = list(order)
        self.in_training = in_training
        self.drawn: list[Patient] = []

    @property
    def findings(self) -> set[str]:
        return {name for patient in self.drawn for name in patient.findings}

    def able(self) -> list[Patient]:
        """Those whose going leaves training at least one patient of each of their findings."""
        return [p for p in self.waiting if all(self.in_training[name] > 1 for name in p.findings)]

    def take(self, patient: Patient) -> None:
        self.waiting.remove(patient)
        self.drawn.append(patient)
        for name in patient.findings:
            self.in_training[name] -= 1


def _quotas(strata: Counter[str], size: int) -> dict[str, int]:
    """``size`` apportioned to the strata by largest remainder; equal remainders by name."""
    total = sum(strata.values())
    exact = {name: size * count / max(1, total) for name, count in strata.items()}
    quotas = {name: math.floor(share) for name, share in exact.items()}
    by_remainder = sorted(exact, key=lambda name: (quotas[name] - exact[name], name))
    for name in by_remainder[: size - sum(quotas.values())]:
        quotas[name] += 1
    return quotas


def _noted(notes: Sequence[str], finding: str) -> bool:
    return any(note.startswith(f"{finding} ") for note in notes)
