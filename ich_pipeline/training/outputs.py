"""What a training leaves for calibration: its validation answers at every candidate interpolation degree."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ich_pipeline.tables.labels import Labels
from ich_pipeline.training.data import CohortSlices

PRETRAINED = "pretrained on synthetic heads"  # how network.json's ``weights`` begins where stage pretrain made them


def validation_table(
    cohort: CohortSlices, degrees: Sequence[float], probabilities: NDArray[np.float32], labels: Labels
) -> pd.DataFrame:
    """One row a degree and slice: SOPInstanceUID, case_id, patient_key, degree, and a probability a label.

    Args:
        cohort: n slices.
        degrees: interpolation degrees.
        probabilities: shape (len(degrees), n, labels), not calibrated.
        labels: names of the columns.
    """
    parts = []
    for degree, answers in zip(degrees, probabilities, strict=True):
        part = cohort.table[["SOPInstanceUID", "case_id", "patient_key"]].copy()
        part["degree"] = float(degree)
        part[list(labels.columns)] = answers
        parts.append(part)
    return pd.concat(parts, ignore_index=True)
