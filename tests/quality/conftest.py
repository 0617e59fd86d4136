"""Small sound tables of ingest, in which tests plant faults."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

import ich_pipeline
from ich_pipeline.config import Params, load_params
from ich_pipeline.tables.label_tables import UID

PATIENTS, SLICES = 40, 6


@pytest.fixture(scope="session")
def params() -> Params:
    """The phantom profile."""
    return load_params(Path(ich_pipeline.__file__).parent / "profiles" / "phantom.yaml")


@pytest.fixture
def series() -> pd.DataFrame:
    """One chosen series of each of 40 patients."""
    return pd.DataFrame(
        [
            {
                "PatientID": f"ID{i}",
                "patient_key": f"P{i:024x}",
                "case_id": f"C{i:024x}",
                "StudyInstanceUID": f"1.{i}",
                "SeriesInstanceUID": f"1.{i}.1",
                "StudyDate": f"202001{i % 28 + 1:02d}",
                "SliceThickness": 5.0,
                "Rows": 64,
                "Columns": 64,
                "row_spacing_mm": 0.45 + i / 1000,
                "column_spacing_mm": 0.45 + i / 1000,
                "slices": SLICES,
                "spacing_mm": 5.0,
                "gaps": 0,
                "duplicates": 0,
                "tilt_deg": 0.0,
                "uneven_steps": False,
                "contrast_suspected": False,
                "air_share": 0.5,
                "soft_share": 0.25,
                "hu_histogram": [1, 2],
                "PatientAge": f"{20 + i:03d}Y",
                "PatientSex": "FM"[i % 2],
                "PatientBirthDate": "",
                "content": f"{i:032x}",
                "fingerprint": [],
                "chosen": True,
                "reason": "",
                "volume": f"V{i:024x}",
            }
            for i in range(PATIENTS)
        ]
    )


@pytest.fixture
def slices(series: pd.DataFrame) -> pd.DataFrame:
    """Six slices a series."""
    return pd.DataFrame(
        [
            {
                "case_id": row.case_id,
                "patient_key": row.patient_key,
                "StudyInstanceUID": row.StudyInstanceUID,
                "SeriesInstanceUID": row.SeriesInstanceUID,
                UID: f"{row.SeriesInstanceUID}.{k}",
                "volume": row.volume,
                "index": k,
                "position_mm": 5.0 * k,
                "neighbour_before": k - 1,
                "neighbour_after": k + 1 if k + 1 < SLICES else -1,
                "hu_min": -1024,
                "hu_max": 1500,
            }
            for row in series.itertuples()
            for k in range(SLICES)
        ]
    )


@pytest.fixture
def table(slices: pd.DataFrame, params: Params) -> pd.DataFrame:
    """Every second patient shows one finding, each finding in four patients, in the two middle slices."""
    labels = params.label_set
    result = slices[[UID]].assign(**dict.fromkeys(labels.columns, 0))
    for i in range(0, PATIENTS, 2):
        subtype = labels.subtypes[i // 2 % len(labels.subtypes)]
        result.loc[i * SLICES + 2 : i * SLICES + 3, [labels.any, subtype]] = 1
    return result.astype(dict.fromkeys(labels.columns, "int8"))
