"""The out-of-sample predictions of all networks, joined with truth and neighbours.

They are of the validation cohort; or, where the split stage drew folds, of train and validation, each patient's from the
heads that learned without them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ich_pipeline.baselines.hu_rule import MEMBER
from ich_pipeline.baselines.stored import read_baseline
from ich_pipeline.core.errors import InputError
from ich_pipeline.core.files import read_table
from ich_pipeline.ensemble.selection import Predictions
from ich_pipeline.sequence import stored
from ich_pipeline.sequence.member import member_of
from ich_pipeline.tables.labels import Labels
from ich_pipeline.tables.schemas import VALIDATION_TABLE
from ich_pipeline.tables.slice_index import join_labels, neighbours_among, read_index


@dataclass(frozen=True)
class ValidationSlices:
    """All labelled slices to choose and calibrate on, in the order of the window index.

    Attributes:
        table: SOPInstanceUID, case_id, patient_key.
        predictions: of every network at every degree, with truth.
        case_index: case of each slice, 0 to cases - 1.
        neighbours: shape (slices, 2): rows of the slices before and after among these, -1 for none.
    """

    table: pd.DataFrame
    predictions: Predictions
    case_index: NDArray[np.intp]
    neighbours: NDArray[np.int64]


def load_validation(
    train: Path,
    labels_csvs: Sequence[Path],
    window: Path,
    architectures: Sequence[str],
    degrees: Sequence[float],
    labels: Labels,
    sequence: Path | None = None,
    rule: Path | None = None,
) -> ValidationSlices:
    """Read and join.

    Args:
        train: folder with one folder an architecture, each with ``validation.parquet``.
        labels_csvs: labels of the cohorts that the predictions are of; no slice is in two of them.
        window: folder of the window stage.
        architectures: which networks.
        degrees: candidate SI degrees; every network must have all of them.
        labels: names and order of the label columns.
        sequence: folder of stage sequence. Each head in it that changes anything is a member beside its network, with the
            same answers at every degree: it is read without slice interpolation.
        rule: folder of the HU rule of stage baselines, if it is a member; it too is read without slice interpolation.

    Raises:
        InputError: a table is missing, or two of them do not belong together.
    """
    index = read_index(window)
    labelled, truth = join_labels(index, labels_csvs, labels, "the window index")
    kept = index.loc[labelled].set_index("SOPInstanceUID")
    uids = kept.index
    if kept.empty:
        named = " and ".join(map(str, labels_csvs))
        raise InputError(f"{named} labels no slice: raise split.validation in params.yaml.")
    probabilities = {
        name: _probabilities(train / name / "validation.parquet", uids, degrees, labels) for name in architectures
    }
    if sequence is not None:
        for name in stored.candidates(sequence):
            found = _probabilities(sequence / name / stored.VALIDATION_FILE, uids, (0.0,), labels)
            probabilities[member_of(name)] = np.repeat(found, len(degrees), axis=0)
    if rule is not None:
        found = read_baseline(rule, kept.index.to_series(), labels).scores
        probabilities[MEMBER] = np.stack([found] * len(degrees))
    return ValidationSlices(
        table=kept.reset_index()[["SOPInstanceUID", "case_id", "patient_key"]],
        predictions=Predictions(
            degrees=tuple(degrees),
            probabilities=probabilities,
            truth=truth,
            patients=pd.factorize(kept["patient_key"], sort=True)[0],
        ),
        case_index=pd.factorize(kept["case_id"])[0],
        neighbours=neighbours_among(kept),
    )


def _probabilities(path: Path, uids: pd.Index, degrees: Sequence[float], labels: Labels) -> NDArray[np.float64]:
    table = read_table(path, VALIDATION_TABLE)
    missing = [name for name in labels.columns if name not in table.columns]
    if missing:
        raise InputError(f"{path} lacks the labels {', '.join(missing)}: run its stage again.")
    parts = []
    for degree in degrees:
        at = table.loc[np.isclose(table["degree"], degree)].set_index("SOPInstanceUID")
        if at.empty:
            raise InputError(f"{path} has no predictions at interpolation degree {degree:g}: run its stage again.")
        if len(at) != len(uids) or not at.index.isin(uids).all():
            raise InputError(f"{path} has other slices than the labels to calibrate on: run its stage again.")
        parts.append(at.loc[uids, list(labels.columns)].to_numpy(np.float64))
    return np.stack(parts)
