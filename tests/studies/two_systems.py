"""Two systems' tables of the same cases, and what `ich evaluate --against` says of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from ich_pipeline.studies.against import compare_systems
from ich_pipeline.studies.match import match_tables
from ich_pipeline.studies.matched import Choices
from ich_pipeline.studies.study import Study, StudyOptions

N = 60
TRUTH = (np.random.default_rng(6).random((N, 2)) < 0.4).astype(int)


def scores() -> np.ndarray:
    """Two systems' probabilities of two findings, with ties: shape (2, rows, 2)."""
    signal = np.array([0.4, 0.2])[:, None, None] * TRUTH
    return np.clip(signal + np.random.default_rng(5).random((2, N, 2)) * 0.6, 0, 1).round(2)


def write(path: Path, header: str, *rows: str) -> Path:
    path.write_text("\n".join((header, *rows)) + "\n")
    return path


def write_tables(folder: Path) -> tuple[Path, Path, Path]:
    """A, B (other names and order of columns, other order of rows) and labels."""
    a, b = scores()
    labels = [f"c{i},{x},{y}" for i, (x, y) in enumerate(TRUTH)]
    ours = [f"c{i},{x},{y},{int(x > 0.4)}" for i, (x, y) in enumerate(a)]
    theirs = [f"{y},{x},{int(x > 0.3)},c{i}" for i, (x, y) in enumerate(b)]
    return (
        write(folder / "a.csv", "case,ICH,SDH,decision", *ours),
        write(folder / "b.csv", "subdural,any,Decision,case", *theirs[::-1]),
        write(folder / "l.csv", "case,ICH,SDH", *labels),
    )


def compared(a: Path, b: Path, labels: Path, other: float = 0.5, **choices: Any) -> dict[str, Any]:
    table = match_tables(a, labels, None, Choices(**choices), b)
    options = StudyOptions(dict.fromkeys(table.labels, 0.5), 0.05, 0.95, 100, 1)
    return compare_systems(Study(table, options), dict.fromkeys(table.labels, other))
