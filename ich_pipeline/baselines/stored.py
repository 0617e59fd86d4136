"""What a baseline leaves: a folder with its scores of every slice of the window index, and who it is.

Anything that has a name and scores is a baseline: ``work/baselines/<name>/`` with ``baseline.json`` and ``predictions.parquet``. The stage evaluate
measures every folder that it finds there.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ich_pipeline.core.errors import InputError
from ich_pipeline.core.files import read_json, read_table, write_json, write_table
from ich_pipeline.tables.labels import Labels

SCHEMA = "baseline/1"
ABOUT_FILE = "baseline.json"
PREDICTIONS_FILE = "predictions.parquet"
UID = "SOPInstanceUID"
NAME = re.compile(r"[a-z][a-z0-9_]*")


@dataclass(frozen=True)
class Baseline:
    """A baseline's scores.

    Attributes:
        name: of its folder and of its key in metrics.json.
        title: for people, as in "the HU rule".
        how: what it does, for people, without a capital and a full stop.
        scores: in 0..1, (slices, labels), in the order that was asked for; where the split stage drew folds, those of labelled
            slices of train and validation are out of fold.
    """

    name: str
    title: str
    how: str
    scores: NDArray[np.float64]


def write_baseline(work: Path, baseline: Baseline, uids: pd.Series, labels: Labels) -> None:
    """Write a baseline's folder into ``work``; its scores are those of the slices ``uids``, in this order."""
    if not NAME.fullmatch(baseline.name):
        raise ValueError(f"the baseline's name {baseline.name!r} is no small word")
    folder = work / baseline.name
    folder.mkdir()
    write_json(folder / ABOUT_FILE, {"schema": SCHEMA, "title": baseline.title, "how": baseline.how})
    scores = {name: baseline.scores[:, k] for k, name in enumerate(labels.columns)}
    write_table(folder / PREDICTIONS_FILE, pd.DataFrame({UID: uids.to_numpy(), **scores}), SCHEMA)


def read_baselines(work: Path, uids: pd.Series, labels: Labels) -> tuple[Baseline, ...]:
    """Every baseline in ``work`` by name, its scores in the order of ``uids``.

    Raises:
        InputError: ``work`` is missing, or a baseline in it is of other labels or slices, or has a score that is none.
    """
    if not work.is_dir():
        raise InputError(f"{work} is missing: run `dvc repro baselines`.")
    folders = sorted(path for path in work.iterdir() if path.is_dir())
    return tuple(read_baseline(folder, uids, labels) for folder in folders)


def read_baseline(folder: Path, uids: pd.Series, labels: Labels) -> Baseline:
    """One of them, as :func:`read_baselines`."""
    again = "run `dvc repro -f baselines`"
    about = read_json(folder / ABOUT_FILE)
    if about.get("schema") != SCHEMA:
        raise InputError(f"{folder / ABOUT_FILE} has schema {about.get('schema')!r}, not {SCHEMA!r}: {again}.")
    path = folder / PREDICTIONS_FILE
    table = read_table(path, SCHEMA).set_index(UID)
    if list(table.columns) != list(labels.columns):
        raise InputError(
            f"{path} scores {', '.join(table.columns)}, but the labels are {', '.join(labels.columns)}: {again}."
        )
    missing = uids[~uids.isin(table.index)]
    if len(missing):
        raise InputError(f"{path} lacks {UID} {missing.iloc[0]} and {len(missing) - 1:,} more: {again}.")
    scores = table.loc[uids].to_numpy(np.float64)
    if not ((scores >= 0) & (scores <= 1)).all():
        raise InputError(f"{path} has a score that does not lie from 0 to 1: {again}.")
    return Baseline(folder.name, about["title"], about["how"], scores)
