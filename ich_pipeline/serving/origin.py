"""What a model was trained on, and whether an input is of that kind.

A network that has seen synthetic heads alone reads a patient with full certainty: nothing in its scores says that they mean
nothing there. So a model carries its origin, and one of synthetic heads has no answer for anything else.

A file is of a synthetic head where its Manufacturer and ConvolutionKernel are those of one of the phantom's scanners, which
exist nowhere; ``ich deidentify`` keeps such a pair. An array in HU is unknown, and what is unknown may be a patient.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from ich_pipeline.core.errors import InputError
from ich_pipeline.core.files import read_json, read_table
from ich_pipeline.phantom.scanners import is_synthetic
from ich_pipeline.tables.cohort_mark import PHANTOM, SYNTHETIC, cohort_kind
from ich_pipeline.tables.cohort_names import TRAIN, VALIDATION
from ich_pipeline.tables.schemas import SERIES_TABLE

if TYPE_CHECKING:
    import pandas as pd

SCHEMA = "origin/1"
NO_ANSWER = "trained on synthetic heads: no answer for a patient"
FEWEST_PATIENTS = 10  # beside synthetic heads: of fewer real ones no network learns what a patient looks like


@dataclass(frozen=True)
class Origin:
    """What the networks learned from.

    Attributes:
        data: ``synthetic`` where every head was, or all but those of fewer than :data:`FEWEST_PATIENTS`; else ``patients``.
        cohort: the kind of ``data/`` (:func:`~ich_pipeline.tables.cohort_mark.cohort_kind`).
        patients, cases, slices: that they learned from; slices of the cases' series.
        synthetic_cases: how many of the cases are the phantom's.
        manufacturers: as the headers say, sorted.
        thickness_mm: smallest and largest SliceThickness; None where no header says it.
        pictures: rows and columns of the cases' slices, sorted.
        pretrained_on_synthetic: whether a network began with weights that it had learned on synthetic heads.
    """

    data: Literal["synthetic", "patients"]
    cohort: str
    patients: int
    cases: int
    slices: int
    synthetic_cases: int
    manufacturers: tuple[str, ...]
    thickness_mm: tuple[float, float] | None
    pictures: tuple[tuple[int, int], ...]
    pretrained_on_synthetic: bool

    def no_answer(self, synthetic: bool) -> str:
        """Why a model of this origin has no answer for an input; empty where it has one.

        Args:
            synthetic: whether the input is known to be a synthetic head.
        """
        return NO_ANSWER if self.data == SYNTHETIC and not synthetic else ""

    @property
    def words(self) -> str:
        """Sentences for the model card."""
        low, high = self.thickness_mm or (None, None)
        thick = "unknown" if low is None else f"{low:g} mm" if low == high else f"{low:g} to {high:g} mm"
        sizes = ", ".join(f"{rows} × {columns}" for rows, columns in self.pictures)
        kind = "synthetic heads" if self.data == SYNTHETIC else "patients"
        found = (
            f"Trained on {kind} (cohort {self.cohort}): {self.patients} patients, {self.cases} cases, {self.slices} slices of "
            f"{sizes} pixels; scanners: {', '.join(self.manufacturers) or 'unknown'}; slice thickness: {thick}."
        )
        if self.data == SYNTHETIC:
            return f"{found} To any input that is not known to be such a head, the system answers “{NO_ANSWER}”."
        if self.synthetic_cases:
            found += f" {self.synthetic_cases} of the cases are synthetic."
        return f"{found} Networks were pretrained on synthetic heads." if self.pretrained_on_synthetic else found

    def to_json(self) -> dict[str, Any]:
        """JSON values; :meth:`from_json` reads them."""
        return {"schema": SCHEMA, **asdict(self)}

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> Origin:
        """Inverse of :meth:`to_json`, whose schema has been looked at."""
        thickness = values["thickness_mm"]
        return cls(
            **values
            | {
                "manufacturers": tuple(values["manufacturers"]),
                "thickness_mm": None if thickness is None else (thickness[0], thickness[1]),
                "pictures": tuple((rows, columns) for rows, columns in values["pictures"]),
            }
        )


def origin_of(data: Path, series: pd.DataFrame, learners: Collection[str], networks: Collection[Path]) -> Origin:
    """The origin of networks.

    Args:
        data: ``data/``, for the mark of the cohort's kind alone.
        series: series table of ingest.
        learners: case_ids that the networks learned from (:func:`learners_of`).
        networks: their ``network.json``.

    Raises:
        InputError: no case is left, or a file is missing.
    """
    from ich_pipeline.training.outputs import PRETRAINED

    rows = series[series["chosen"] & series["case_id"].isin(set(learners))]
    if rows.empty:
        raise InputError(
            "work/ingest/series.parquet holds none of the training cases: run `dvc repro`, which makes both."
        )
    marked = np.array(
        [is_synthetic(*pair) for pair in zip(rows["Manufacturer"], rows["ConvolutionKernel"], strict=True)]
    )
    few = rows.loc[~marked, "patient_key"].nunique() < FEWEST_PATIENTS
    kind = cohort_kind(data) or "unknown"
    thickness = rows["SliceThickness"].dropna()
    return Origin(
        data="synthetic" if kind == PHANTOM or (marked.any() and few) else "patients",
        cohort=kind,
        patients=int(rows["patient_key"].nunique()),
        cases=int(rows["case_id"].nunique()),
        slices=int(rows["slices"].sum()),
        synthetic_cases=len(rows) if kind == PHANTOM else int(marked.sum()),
        manufacturers=tuple(sorted(set(rows["Manufacturer"]) - {""})),
        thickness_mm=(float(thickness.min()), float(thickness.max())) if len(thickness) else None,
        pictures=tuple(sorted({(int(r), int(c)) for r, c in zip(rows["Rows"], rows["Columns"], strict=True)})),
        pretrained_on_synthetic=any(str(read_json(path)["weights"]).startswith(PRETRAINED) for path in networks),
    )


def find_origin(data: Path, ingest: Path, split: Path, networks: Collection[Path]) -> Origin:
    """The origin of networks, from what the stages left.

    Args:
        data: ``data/``, for the mark of the cohort's kind alone.
        ingest: holds ``series.parquet``.
        split: holds ``cohorts.parquet`` and ``folds.parquet``; no label is read.
        networks: their ``network.json``.

    Raises:
        InputError: a file is missing or of another version, or none of the training cases was ingested.
    """
    from ich_pipeline.splits.fold_table import read_folds
    from ich_pipeline.tables.schemas import COHORTS_TABLE

    series = read_table(ingest / "series.parquet", SERIES_TABLE)
    learners = learners_of(read_table(split / "cohorts.parquet", COHORTS_TABLE), read_folds(split / "folds.parquet"))
    return origin_of(data, series, learners, networks)


def learners_of(cohorts: pd.DataFrame, folds: pd.DataFrame) -> set[str]:
    """Cases that the networks learned from: of train, and of validation too where heads are cross-fitted over both.

    Args:
        cohorts: the split's table.
        folds: the split's folds; no row where there are none.
    """
    names = [TRAIN, VALIDATION] if len(folds) else [TRAIN]
    return set(cohorts.loc[cohorts["cohort"].isin(names), "case_id"])
