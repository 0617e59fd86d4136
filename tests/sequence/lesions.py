"""Made-up features of cases, in which the neighbours tell what a slice alone does not."""

from __future__ import annotations

import numpy as np
import pandas as pd

from ich_pipeline.config import SequenceParams
from ich_pipeline.sequence.fit import CohortSequences
from ich_pipeline.sequence.head import HeadSpec
from ich_pipeline.training.data import CohortSlices, SliceRows

FEATURES, LABELS = 5, ("any", "epidural", "subdural")
SPEC = HeadSpec("tinynet", FEATURES, LABELS, units=16, dropout=0.05, seed=4)
PARAMS = SequenceParams(
    architectures=("tinynet",),
    units=16,
    dropout=0.05,
    learning_rate=0.02,
    batch_cases=8,
    epochs=7,
    patience=7,
)


def sequences(cases: int, seed: int, unlabelled: bool = False) -> CohortSequences:
    """Cases of 3 to 16 slices. A lesion spans three slices and raises a feature, strongly in its middle slice alone.

    Elsewhere the feature is noise that hides the lesion's ends, and the network's own logits know nothing.
    """
    rng = np.random.default_rng(seed)
    lengths = rng.integers(3, 17, cases)
    case_index = np.repeat(np.arange(cases), lengths)
    features = rng.normal(0, 1, (len(case_index), FEATURES)).astype(np.float32)
    truth = np.zeros((len(case_index), len(LABELS)), np.int8)
    starts = np.cumsum(lengths) - lengths
    for case in range(0, cases, 2):
        middle = starts[case] + int(rng.integers(1, lengths[case] - 1))
        kind = case // 2 % 2
        truth[middle - 1 : middle + 2, [0, 1 + kind]] = 1
        features[middle, kind] += 8
    labelled = np.ones(len(case_index), bool)
    if unlabelled:
        labelled[starts] = False
    patients = [f"P{case}" for case in case_index[labelled]]
    nothing = np.zeros((len(case_index), 1, 1), np.int16)
    cohort = CohortSlices(
        pd.DataFrame({"patient_key": patients}),
        SliceRows(nothing, np.flatnonzero(labelled)),
        np.full((int(labelled.sum()), 2), -1),
        truth[labelled],
    )
    logits = rng.normal(-2, 0.1, truth.shape).astype(np.float32)
    return CohortSequences(features, logits, case_index, labelled, cohort)
