"""A cohort of two patients in data/, and exports and label tables of further ones."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import pandas as pd
import pytest

from ich_pipeline.cohorts.bring import bring
from ich_pipeline.config import Params
from ich_pipeline.tables.label_tables import UID

WriteExport = Callable[[Path, Sequence[Mapping[str, object]]], Path]


def export(write_export: WriteExport, root: Path, patients: Sequence[int]) -> Path:
    """Three slices of each patient; the same patient gives the same bytes."""
    for number in patients:
        write_export(
            root / f"p{number}",
            [
                {
                    UID: f"2.25.{100 * number + n}",
                    "PatientID": f"ID{number}",
                    "StudyInstanceUID": f"2.25.{9000 + number}",
                    "SeriesInstanceUID": f"2.25.{8000 + number}",
                    "InstanceNumber": n,
                }
                for n in range(3)
            ],
        )
    return root


def table(path: Path, params: Params, patients: Sequence[int], **columns: int) -> Path:
    uids = [f"2.25.{100 * number + n}" for number in patients for n in range(3)]
    pd.DataFrame({UID: uids} | {name: columns.get(name, 0) for name in params.labels.subtypes}).to_csv(
        path, index=False
    )
    return path


def contents(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


@pytest.fixture
def data(tmp_path: Path, params: Params, write_export: WriteExport) -> Path:
    """A cohort of patients 1 and 2."""
    source = export(write_export, tmp_path / "first", [1, 2])
    bring("folder", source, table(tmp_path / "first.csv", params, [1, 2]), tmp_path / "data", params)
    return tmp_path / "data"
