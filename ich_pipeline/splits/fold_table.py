"""Which fold a patient was dealt to, read by the stages that fit something."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ich_pipeline.core.files import read_table
from ich_pipeline.tables.schemas import FOLDS_TABLE


def read_folds(path: Path) -> pd.DataFrame:
    """What :func:`ich_pipeline.splits.folds.deal_learners` dealt, as the split stage wrote it: patient_key and fold; no row where there are no folds.

    Raises:
        InputError: the file is missing or of another version.
    """
    return read_table(path, FOLDS_TABLE)


def folds_of(patients: pd.Series, dealt: pd.DataFrame) -> NDArray[np.int64]:
    """Fold of each slice's patient.

    Args:
        patients: patient_key of each slice.
        dealt: of :func:`read_folds`.
    """
    return dealt.set_index("patient_key")["fold"].loc[patients].to_numpy(np.int64)
