"""What ingest, split, calibrate and evaluate leave on disk, as far as later stages read it: small and made up."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

if TYPE_CHECKING:
    from ich_pipeline.config import Params

SLICES = 6  # of a case


def write_learners(root: Path, manufacturers: Sequence[str], kernel: str, kind: str) -> None:
    """The tables of ingest and split that say what the networks learned from: one training case a manufacturer."""
    from ich_pipeline.core.files import write_json, write_table
    from ich_pipeline.tables.schemas import COHORTS_TABLE, FOLDS_TABLE

    for name in ("data", "work/ingest", "work/split"):
        (root / name).mkdir(parents=True, exist_ok=True)
    count = len(manufacturers) + 1  # the last is of a test
    names = [f"C{number}" for number in range(count)]
    series = pd.DataFrame(
        {
            "patient_key": [f"P{number}" for number in range(count)],
            "case_id": names,
            "Manufacturer": [*manufacturers, "Of a test"],
            "ConvolutionKernel": kernel,
            "kernel_class": "soft",
            "SliceThickness": [5.0 - 0.5 * (number % 9) for number in range(count)],
            "Rows": 64,
            "Columns": 64,
            "slices": SLICES,
            "chosen": True,
            "PatientSex": "F",
            "PatientAge": "050Y",
            "row_spacing_mm": 3.0,
            "column_spacing_mm": 3.0,
            "spacing_mm": 5.0,
        }
    )
    cohorts = pd.DataFrame({"case_id": names, "cohort": ["train"] * (count - 1) + ["test_prospective"]})
    write_table(root / "work/ingest/series.parquet", series, "series/3")
    write_table(root / "work/split/cohorts.parquet", cohorts, COHORTS_TABLE)
    write_table(root / "work/split/folds.parquet", pd.DataFrame({"patient_key": [], "fold": []}), FOLDS_TABLE)
    write_json(root / "data/cohort.json", {"kind": kind})


def write_validation(root: Path, params: Params) -> None:
    """What calibrate, window and ingest leave of the cases to compare served ones with: sixty, of two slices."""
    from ich_pipeline.core.files import write_table, write_text
    from ich_pipeline.ingest.tables import ACCOUNT_COLUMNS
    from ich_pipeline.tables.schemas import VALIDATION_SCORES, WINDOW_INDEX

    cases = np.repeat([f"C{number}" for number in range(60)], 2)
    names = pd.DataFrame(
        {
            "SOPInstanceUID": [f"2.25.5{k}" for k in range(120)],
            "case_id": cases,
            "patient_key": [f"P{case}" for case in cases],
        }
    )
    even = np.arange(120) % 2 == 0
    rows = {"row": np.arange(120), "cohort": "validation", "position_mm": 5.0 * (np.arange(120) % 2)}
    beside = {"before": np.where(even, -1, np.arange(120) - 1), "after": np.where(even, np.arange(120) + 1, -1)}
    write_table(root / "work/window/index.parquet", names.assign(**rows, **beside), WINDOW_INDEX)
    rng = np.random.default_rng(8)
    kinds = (f"{kind}_{name}" for kind in ("first", "second", "final") for name in params.label_set.columns)
    scores = names.assign(**{kind: rng.uniform(0, 0.4, 120) for kind in kinds}, reread=True)
    write_table(root / "work/calibrate/validation.parquet", scores, VALIDATION_SCORES)
    write_text(
        root / "work/ingest/account.csv", ",".join(ACCOUNT_COLUMNS) + "\na.dcm,used,used,,2.25.1,2.25.2,2.25.3,0\n"
    )


def write_tests(root: Path, params: Params) -> None:
    """What evaluate leaves of each test, as far as register reads it: three cases of two slices."""
    from ich_pipeline.core.files import write_table, write_text
    from ich_pipeline.tables.schemas import CASE_PREDICTIONS_TABLE, PREDICTIONS_TABLE

    names = [f"C{number}" for number in range(3)]
    cases = pd.DataFrame(
        {
            "case_id": names,
            "patient_key": [f"P{number}" for number in range(3)],
            "final_any": [0.9, 0.2, 0.4],
            "let_through": [True, False, True],
            "decision": [True, False, False],
            "truth_any": np.array([1, 0, 1], np.int8),
        }
    )
    slices = pd.DataFrame(
        {
            "SOPInstanceUID": [f"2.25.9{k}" for k in range(6)],
            "case_id": np.repeat(names, 2),
            "final_any": [0.9, 0.1, 0.2, 0.1, 0.4, 0.3],
            "truth_any": np.array([1, 0, 0, 0, 1, 0], np.int8),
        }
    )
    for test in params.tests:
        write_table(root / "work/evaluate" / test / "cases.parquet", cases, CASE_PREDICTIONS_TABLE)
        write_table(root / "work/evaluate" / test / "slices.parquet", slices, PREDICTIONS_TABLE)
        write_text(root / "work/split/sealed" / f"{test}.csv", f"SOPInstanceUID,any\n{test},0\n")
