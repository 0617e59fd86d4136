"""Up to the window stage the same bytes on every processor: its extensions choose kernels that round in other orders."""

from __future__ import annotations

import hashlib
import math
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pydicom
import pytest
import yaml
from numpy._core._multiarray_umath import __cpu_dispatch__, __cpu_features__  # type: ignore[import-not-found]

from ich_pipeline.config import load_params
from ich_pipeline.core.files import read_table, write_table
from ich_pipeline.phantom import create_phantom
from ich_pipeline.tables.schemas import COHORTS_TABLE, SERIES_TABLE

PATIENTS = 4


@pytest.fixture(scope="module")
def here(tmp_path_factory: pytest.TempPathFactory, project_root: Path) -> Path:
    """A project whose heads lie askew, so that no product of direction and place is a round number."""
    folder = tmp_path_factory.mktemp("askew")
    raw = yaml.safe_load((project_root / "ich_pipeline" / "profiles" / "phantom.yaml").read_text())
    raw["phantom"] |= {"patients": PATIENTS, "slices": 6, "size": 96, "second_series_fraction": 0.0}
    raw["ingest"] |= {"correct_tilt": True}
    (folder / "params.yaml").write_text(yaml.safe_dump(raw))
    create_phantom(load_params(folder / "params.yaml"), folder / "data", workers=1)
    for path in (folder / "data" / "dicom").rglob("*.dcm"):
        _lay_askew(path)
    return folder


def _lay_askew(path: Path) -> None:
    """Turn the plane about two axes; the stack goes on straight up, as on a tilted gantry."""
    ds = pydicom.dcmread(path)
    patient = int(ds.PatientID.removeprefix("PH"))
    turn, lean = math.radians(1.7 + patient), math.radians(4.1 + patient)
    row = np.array([math.cos(turn), math.sin(turn), 0.0])
    column = np.array([-math.sin(turn) * math.cos(lean), math.cos(turn) * math.cos(lean), math.sin(lean)])
    ds.ImageOrientationPatient = [f"{value:.9f}" for value in (*row, *column)]
    x, y, z = (float(value) for value in ds.ImagePositionPatient)
    ds.ImagePositionPatient = [f"{value:.6f}" for value in (x + z / 7, y - z / 11, z * 1.0137)]
    ds.save_as(path)


def _hashes(folder: Path, environment: dict[str, str]) -> dict[str, str]:
    for stage in ("ingest", "window"):
        done = subprocess.run(
            [sys.executable, "-m", f"flows.{stage}"],
            cwd=folder,
            env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[1]), **environment},
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stderr
        if stage == "ingest":
            series = read_table(folder / "work/ingest/series.parquet", SERIES_TABLE)
            cases = pd.DataFrame({"case_id": series.loc[series["chosen"], "case_id"], "cohort": "train"})
            (folder / "work/split").mkdir(exist_ok=True)
            write_table(folder / "work/split/cohorts.parquet", cases, COHORTS_TABLE)
    made = [
        path
        for stage in ("ingest", "window")
        for path in sorted((folder / "work" / stage).rglob("*"))
        if path.is_file()
    ]
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in made}


def test_other_kernels_give_the_same_bytes(here: Path) -> None:
    usual = _hashes(here, {})
    series = read_table(here / "work/ingest/series.parquet", SERIES_TABLE)
    assert (series.loc[series["chosen"], "tilt_deg"].abs() > 1).sum() > 1, "the heads were meant to lie askew"
    assert any(name.startswith("work/window/hu_") for name in usual)
    beyond_baseline = " ".join(name for name in __cpu_dispatch__ if __cpu_features__.get(name))
    for other in (
        {"OPENBLAS_CORETYPE": "Prescott"},
        {"OPENBLAS_CORETYPE": "Haswell"},
        {"NPY_DISABLE_CPU_FEATURES": beyond_baseline, "OPENBLAS_CORETYPE": "Nehalem"},
    ):
        found = _hashes(here, other)
        assert {name for name in usual.keys() | found.keys() if usual.get(name) != found.get(name)} == set(), other
