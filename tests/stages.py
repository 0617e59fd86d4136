"""Stages run in this process, in a project folder that a test made."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import yaml

from flows.engine.stage import Body, Stage, StageResult
from ich_pipeline.config import Params, load_params
from ich_pipeline.core.files import write_table
from ich_pipeline.tables.label_tables import write_labels
from ich_pipeline.tables.labels import Labels
from ich_pipeline.tables.schemas import FOLDS_TABLE


def run_stage(body: Body, name: str, item: str | None, params: Params) -> StageResult:
    """Run a stage's body as ``python -m flows.<name>`` does, without its boundary."""
    return body(Stage(name, item, params, logging.getLogger("test"), lambda fraction, text: None))


def content(folder: Path) -> dict[str, bytes]:
    """Bytes of every file under ``folder``, by its path there."""
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


@contextmanager
def working_in(folder: Path) -> Iterator[None]:
    """``folder`` as the project's top: the working directory, with a data folder and a tracking store of its own."""
    (folder / "data").mkdir()
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{folder}/mlflow.db")
        patch.delenv("ICH_RUN_ID", raising=False)
        yield


def params_of_one_size(project_root: Path, folder: Path, size: int, **changed: Any) -> Params:
    """The phantom profile with all pictures of one size, and the sections ``changed``, as params.yaml in ``folder``."""
    raw = yaml.safe_load((project_root / "ich_pipeline" / "profiles" / "phantom.yaml").read_text())
    raw["windowing"]["sizes"] = [size]
    for network in raw["networks"].values():
        network["image_size"] = size
    (folder / "params.yaml").write_text(yaml.safe_dump(raw | changed))
    return load_params(folder / "params.yaml")


def write_slices(
    work: Path,
    rows: Sequence[tuple[Any, ...]],
    images: Sequence[np.ndarray],
    truth: Sequence[Sequence[int]],
    labels: Labels,
    unlabelled: Sequence[int] = (),
) -> tuple[pd.DataFrame, pd.DataFrame, np.ndarray]:
    """What the stages window and split leave in ``work``; no patient is in a fold.

    Args:
        work: holds ``window`` and ``split`` after it.
        rows: of the index, as its columns below are.
        images: HU of one size, one a row.
        truth: 0 and 1 by label, one a row.
        labels: names of them.
        unlabelled: rows that no label table names.

    Returns:
        index, truth by SOPInstanceUID, and the images as int16 (n, size, size).
    """
    columns = ["row", "SOPInstanceUID", "case_id", "patient_key", "cohort", "before", "after", "position_mm"]
    index = pd.DataFrame(rows, columns=pd.Index(columns))
    hu = np.rint(np.stack(images)).astype(np.int16)
    write_table(work / "window" / "index.parquet", index, "window/1")
    np.save(work / "window" / f"hu_{hu.shape[1]}.npy", hu)
    table = pd.concat([index[["SOPInstanceUID"]], pd.DataFrame(truth, columns=pd.Index(labels.columns))], axis=1)
    for cohort, at in index.groupby("cohort").groups.items():
        place = "sealed" if str(cohort).startswith("test") else "labels"
        write_labels(work / "split" / place / f"{cohort}.csv", table.loc[at.difference(list(unlabelled))], labels)
    folds = pd.DataFrame({"patient_key": pd.Series(dtype=str), "fold": 0})
    write_table(work / "split" / "folds.parquet", folds, FOLDS_TABLE)
    cohorts = index[["case_id", "patient_key", "cohort"]].drop_duplicates()
    write_table(work / "split" / "cohorts.parquet", cohorts, "cohorts/1")
    return index, table, hu
