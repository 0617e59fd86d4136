"""A small validation cohort with known structure: three labels, four networks of different worth."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.special import expit

from ich_pipeline.config import EnsembleParams
from ich_pipeline.ensemble.selection import Predictions
from ich_pipeline.tables.labels import Labels

SLICES = 8
DEGREES = (0.0, 0.2, 0.4)
# Separation of each network in logits, without and with interpolation.
WORTH = {"vgg16": 0.4, "resnet50": 1.5, "inception_v3": 2.0, "inception_resnet_v2": 1.2}


@dataclass(frozen=True)
class Cohort:
    labels: Labels
    predictions: Predictions
    case_index: NDArray[np.integer]
    neighbours: NDArray[np.integer]


def make_cohort(patients: int = 60, seed: int = 1, absent: tuple[str, ...] = ()) -> Cohort:
    """Half of the patients bleed in two to five neighbouring slices; network scores are noisy shifted log-odds."""
    labels = Labels("any", ("epidural", "subdural"))
    rng = np.random.default_rng(seed)
    n = patients * SLICES
    subtypes = np.zeros((n, 2), dtype=np.int8)
    for patient in range(0, patients, 2):
        start, length = rng.integers(0, 4), rng.integers(2, 6)
        rows = patient * SLICES + np.arange(start, min(start + length, SLICES))
        subtypes[rows, rng.integers(0, 2)] = 1
    for name in absent:
        subtypes[:, labels.subtypes.index(name)] = 0
    truth = np.concatenate([labels.any_of(subtypes)[:, None], subtypes], axis=1)
    signal = 2.0 * truth - 1.0
    probabilities = {}
    for name, worth in WORTH.items():
        noise = rng.normal(size=(len(DEGREES), n, 3))
        # Interpolation helps all networks at 0.2; class weights shift everything up by one.
        gain = np.array([1.0, 1.4, 1.1])[:, None, None]
        probabilities[name] = expit(worth * gain * signal + noise + 1.0).astype(np.float32)
    rows = np.arange(n).reshape(patients, SLICES)
    before = np.where(np.arange(SLICES) > 0, rows - 1, -1)
    after = np.where(np.arange(SLICES) < SLICES - 1, rows + 1, -1)
    who = np.repeat(np.arange(patients), SLICES)
    return Cohort(
        labels,
        Predictions(DEGREES, probabilities, truth, who),
        case_index=who,
        neighbours=np.stack([before.ravel(), after.ravel()], axis=1),
    )


@pytest.fixture(scope="session")
def cohort() -> Cohort:
    return make_cohort()


@pytest.fixture(scope="session")
def cohort_without_epidural() -> Cohort:
    return make_cohort(absent=("epidural",))


@pytest.fixture(scope="session")
def two_patients() -> Cohort:
    return make_cohort(patients=2)


@pytest.fixture(scope="session")
def ensemble_params() -> EnsembleParams:
    return EnsembleParams(
        folds=5,
        sensitivity_target=0.95,
        specificity_target=0.9,
        case_score="max",
        case_top_k=(3,),
        decision="balanced",
        coverage=0.9,
        hu_rule=False,
    )
