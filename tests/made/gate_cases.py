"""Two versions' readings of one test, drawn: binormal case scores of known areas, correlated as two readers' are."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
from scipy.stats import norm

from ich_pipeline.gate.scores import GAPS, GROUPS, CaseScores

TEST, TEST_SET = "test_prospective", "a" * 64


def drawn_pair(
    rng: np.random.Generator,
    areas: tuple[float, float],
    patients: tuple[int, int],
    correlation: float = 0.8,
    cases_a_patient: int = 1,
) -> tuple[CaseScores, CaseScores]:
    """Challenger and champion.

    Args:
        rng: source of the draws.
        areas: true AUC of the challenger and of the champion.
        patients: positive and negative ones.
        correlation: of the two scores within a class; with several cases a patient also of his cases.
        cases_a_patient: how many each has.

    Their slices are read alike, so that calibration says nothing.
    """
    truth = np.repeat([1, 0], patients).repeat(cases_a_patient)
    count = len(truth)
    who = np.arange(count) // cases_a_patient
    own, shared, of_patient = rng.normal(size=(2, count)), rng.normal(size=count), rng.normal(size=who[-1] + 1)[who]
    if cases_a_patient > 1:
        shared = math.sqrt(0.5) * (shared + of_patient)
    noise = math.sqrt(correlation) * shared + math.sqrt(1 - correlation) * own
    found = []
    for area, of_one in zip(areas, noise, strict=True):
        mean = math.sqrt(2) * float(norm.ppf(area))
        score = mean * truth + of_one
        table = pd.DataFrame(
            {
                "case": [f"{k:016x}" for k in range(count)],
                "patient": [f"{k:016x}" for k in who],
                "truth": truth,
                "score": score,
                "called": score > mean / 2,
                "slices": 10,
                "squared": 0.1,
                **dict.fromkeys(GAPS, 0.01),
                **dict.fromkeys(GROUPS, ""),
            }
        )
        found.append(CaseScores(TEST, TEST_SET, (), table))
    return found[0], found[1]


def changed(scores: CaseScores, **columns: Any) -> CaseScores:
    """The same with other columns."""
    return replace(scores, cases=scores.cases.assign(**columns))


def good_scores(auc: float = 0.97, patients: int = 80) -> CaseScores:
    """A version's scores of a test of as many positive as negative patients; equal for equal arguments."""
    return drawn_pair(np.random.default_rng(2), (auc, 0.75), (patients, patients))[0]
