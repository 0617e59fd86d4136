"""The stage precedent on drawn heads: with and without folds, from a network and from stored features; no label is there."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from flows import precedent
from ich_pipeline.config import Params
from ich_pipeline.core.files import write_table
from ich_pipeline.features import store
from ich_pipeline.precedent.model import FILE, Precedent
from tests.baselines.drawn import SIZE, head
from tests.stages import content, params_of_one_size, run_stage, working_in

SLICES = 3
PATIENTS = {"train": 14, "validation": 12, "test_retrospective": 5}


@pytest.fixture
def project(project_root: Path, tmp_path: Path):
    with working_in(tmp_path):
        params = params_of_one_size(project_root, tmp_path, SIZE)
        _work(tmp_path, params)
        yield tmp_path, params


def _work(folder: Path, params: Params) -> None:
    """Windowed slices and stored features of the network that explains; neither labels nor networks are there."""
    rng = np.random.default_rng(1)
    rows, pictures = [], []
    for cohort, count in PATIENTS.items():
        for patient in range(count):
            stretch = 1.1 + 0.1 * rng.random()
            for k in range(SLICES):
                row = len(rows)
                ends = (row - 1 if k else -1, row + 1 if k < SLICES - 1 else -1)
                rows.append((row, f"1.2.{row}", f"C{cohort}{patient}", f"P{cohort}{patient}", cohort, *ends, 5.0 * k))
                pictures.append(head(stretch=stretch) + rng.normal(0, 3, (SIZE, SIZE)))
    columns = ["row", "SOPInstanceUID", "case_id", "patient_key", "cohort", "before", "after", "position_mm"]
    index = pd.DataFrame(rows, columns=pd.Index(columns))
    write_table(folder / "work/window/index.parquet", index, "window/1")
    np.save(folder / f"work/window/hu_{SIZE}.npy", np.clip(pictures, -20, 180).astype(np.int16))
    features = folder / "work/features" / params.explain.architecture / "windows"
    features.mkdir(parents=True)
    np.save(features / store.ARRAY, rng.normal(size=(1, len(index), 7)).astype(np.float32))
    store.describe(features, index, [store.AS_IT_IS])
    deal(folder, [])


def deal(folder: Path, patients: list[str]) -> None:
    table = pd.DataFrame({"patient_key": patients, "fold": [k % 5 for k in range(len(patients))]})
    write_table(folder / "work/split/folds.parquet", table.astype({"patient_key": "str", "fold": "int64"}), "folds/1")


def test_training_describes_and_validation_chooses_the_limit(project) -> None:
    folder, params = project
    result = run_stage(precedent.body, "precedent", None, params)
    made = Precedent.load(folder / "work/precedent" / FILE)
    assert made.held_out == PATIENTS["validation"] and len(made.layouts.places) == PATIENTS["train"] * SLICES
    assert "14 training cases described; of 12 held out" in result.summary
    before = content(folder / "work/precedent")
    # What the tests look like has no say.
    path = folder / f"work/window/hu_{SIZE}.npy"
    pictures = np.load(path)
    pictures[-SLICES * PATIENTS["test_retrospective"] :] //= 3
    np.save(path, pictures)
    run_stage(precedent.body, "precedent", None, params)
    assert content(folder / "work/precedent") == before


@pytest.mark.parametrize("most", [200, 10])
def test_with_folds_each_patient_is_held_out_once(project, most: int) -> None:
    folder, params = project
    deal(folder, sorted(f"P{cohort}{k}" for cohort in ("train", "validation") for k in range(PATIENTS[cohort])))
    few = params.model_copy(update={"precedent": params.precedent.model_copy(update={"maximum_cases": most})})
    run_stage(precedent.body, "precedent", None, few)
    made = Precedent.load(folder / "work/precedent" / FILE)
    assert made.held_out == min(most, 26) and len(made.layouts.places) == min(most, 26) * SLICES
