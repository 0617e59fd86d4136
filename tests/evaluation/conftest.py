"""A test cohort as the system would have read it, without networks: scores are drawn, everything after them is real."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from scipy.special import expit

from ich_pipeline.config import EvaluationParams, SubgroupParams
from ich_pipeline.ensemble.calibration import Calibration
from ich_pipeline.ensemble.case_score import CaseScore, cases_positive
from ich_pipeline.ensemble.combiners import Combiner
from ich_pipeline.ensemble.model import Ensemble, ReadingModel, spread
from ich_pipeline.ensemble.operating_points import fit_operating_points
from ich_pipeline.ensemble.reading import Reading
from ich_pipeline.evaluation.cohort import TestCohort
from ich_pipeline.tables.labels import Labels

SUBTYPES = ("epidural", "intraparenchymal", "intraventricular", "subarachnoid", "subdural")


def make_cohort(
    patients: int = 40, slices: int = 10, replicates: int = 200, seed: int = 0, bleeding: dict[str, int] | None = None
) -> TestCohort:
    """Patients with one case each; ``bleeding`` gives the number of patients of some subtypes, 6 for the others."""
    labels = Labels("any", SUBTYPES)
    rng = np.random.default_rng(seed)
    n = patients * slices
    who = np.repeat(np.arange(patients), slices)
    subtypes = np.zeros((n, len(SUBTYPES)), dtype=np.int8)
    for k, name in enumerate(SUBTYPES):
        for patient in range(k, k + (bleeding or {}).get(name, 6)):
            start = patient * slices + int(rng.integers(0, slices - 3))
            subtypes[start : start + 3, k] = 1
    truth = np.concatenate([labels.any_of(subtypes)[:, None], subtypes], axis=1)

    def scores(worth: float) -> np.ndarray:
        return expit(worth * (2.0 * truth - 1) - 1 + 1.2 * rng.normal(size=truth.shape))

    first, second = scores(1.2), scores(1.6)
    gate = fit_operating_points(first[:, 0], truth[:, 0], 0.9, 0.9)["high_sensitivity"]
    assert gate.threshold is not None
    rows = np.arange(n)
    neighbours = np.stack(
        [np.where(rows % slices > 0, rows - 1, -1), np.where(rows % slices < slices - 1, rows + 1, -1)], axis=1
    )
    suspicious = first[:, 0] >= gate.threshold
    reread = spread(suspicious, neighbours)
    final = np.where(reread[:, None], second, first)
    rule = CaseScore("max", 3)
    let_through = cases_positive(suspicious[:, None], who)[:, 0].astype(bool)
    case_scores, case_truth = rule(final, who, neighbours), cases_positive(truth, who)
    combiner = Combiner("plain_mean", ("a",), ((1.0,),) * 6, None, (None,) * 6)
    model = ReadingModel(combiner, (Calibration("identity"),) * 6)
    ensemble = Ensemble(
        labels=labels,
        degrees={"a": 0.2},
        first_reading=model,
        second_reading=model,
        gate=gate,
        slice_points={
            n: fit_operating_points(final[:, k], truth[:, k], 0.9, 0.9) for k, n in enumerate(labels.columns)
        },
        case_points={
            n: fit_operating_points(case_scores[:, k], case_truth[:, k], 0.9, 0.9, let_through)
            for k, n in enumerate(labels.columns)
        },
        decision="balanced",
        case_score=rule,
    )
    reading = Reading(
        first=first,
        second=second,
        final=final,
        suspicious=suspicious,
        reread=reread,
        first_case_scores=rule(first, who, neighbours),
        case_scores=case_scores,
        let_through=let_through,
        decisions=ensemble.decide(case_scores, let_through),
        original={"a": scores(1.0).astype(np.float32)},
        interpolated={"a": scores(1.3).astype(np.float32)},
    )
    return TestCohort(
        ensemble=ensemble,
        reading=reading,
        labelled=np.ones(n, dtype=bool),
        truth=truth,
        case_index=who,
        neighbours=neighbours,
        patients=who,
        params=EvaluationParams(
            bootstrap=replicates,
            confidence=0.95,
            noninferiority_margin=0.1,
            subgroups=SubgroupParams(
                minimum_patients=3, age_years=(40.0, 65.0), thickness_mm=(2.5, 5.5), lesion_ml=(1.0, 5.0)
            ),
        ),
        seed=11,
    )


@pytest.fixture(scope="session")
def cohort() -> TestCohort:
    return make_cohort()


@pytest.fixture(scope="session")
def build() -> Callable[..., TestCohort]:
    return make_cohort
