"""What the report is made of, read from the stages' outs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ich_pipeline.config import Params
from ich_pipeline.core.files import read_json, read_table
from ich_pipeline.dicom.orientation import AS_STORED
from ich_pipeline.ensemble.model import Ensemble
from ich_pipeline.ensemble.reading import Reading
from ich_pipeline.ensemble.uncertainty import Disagreement
from ich_pipeline.explain.atlas import Atlas
from ich_pipeline.explain.choice import MapChoice
from ich_pipeline.explain.scan import Scan
from ich_pipeline.ingest.volumes import SUFFIX, read_volume
from ich_pipeline.report.baselines import BLOCK
from ich_pipeline.series.placement import Placement
from ich_pipeline.serving.origin import Origin, find_origin
from ich_pipeline.tables.cohort_mark import CQ500, PHANTOM, cohort_kind
from ich_pipeline.tables.cohort_names import CAUTIONS
from ich_pipeline.tables.labels import Labels
from ich_pipeline.tables.masks import Masks, read_masks
from ich_pipeline.tables.schemas import (
    CASE_PREDICTIONS_TABLE,
    PREDICTIONS_TABLE,
    SERIES_TABLE,
    SLICES_TABLE,
)
from ich_pipeline.tables.slice_index import read_index
from ich_pipeline.windowing.crop import focus
from ich_pipeline.windowing.frame import Frame


@dataclass(frozen=True)
class Folders:
    """The stages' outs, ``data/`` (for the mark of the cohort's kind alone), ``data/masks.csv`` and ``frozen.json``."""

    data: Path
    masks: Path
    frozen: Path
    ingest: Path
    validate: Path
    split: Path
    window: Path
    train: Path
    calibrate: Path
    evaluate: Path
    atlas: Path

    @property
    def synthetic(self) -> bool:
        """Whether the heads are phantoms: told by the data, since any profile can train on any cohort."""
        return cohort_kind(self.data) == PHANTOM

    @property
    def readers_are_reference(self) -> bool:
        """Whether the readers of data/readers.csv made the labels that they are judged by, as in CQ500."""
        return cohort_kind(self.data) == CQ500


@dataclass(frozen=True)
class TestResult:
    """What evaluate left of one test cohort."""

    __test__ = False  # not a test class, whatever pytest makes of its name

    name: str
    folder: Path
    metrics: dict[str, Any]
    reading: dict[str, Any]
    slices: pd.DataFrame
    cases: pd.DataFrame
    ablation: pd.DataFrame
    subgroups: pd.DataFrame
    failures: pd.DataFrame
    readers: dict[str, Any]
    uncertainty: dict[str, Any]

    @classmethod
    def load(cls, folder: Path, labels: Labels) -> TestResult:
        """Read ``work/evaluate/<test>``; metrics in the order of the labels, the mean last (the file is sorted by name)."""
        metrics = read_json(folder / "metrics.json")
        return cls(
            folder.name,
            folder,
            {level: {name: metrics[level][name] for name in (*labels.columns, "mean")} for level in ("slice", "case")}
            | {BLOCK: metrics[BLOCK]},
            read_json(folder / "reading.json"),
            read_table(folder / "slices.parquet", PREDICTIONS_TABLE),
            read_table(folder / "cases.parquet", CASE_PREDICTIONS_TABLE),
            pd.read_csv(folder / "ablation.csv"),
            pd.read_csv(folder / "subgroups.csv", keep_default_na=False, na_values=[""]),
            pd.read_csv(folder / "failures.csv"),
            read_json(folder / "readers.json"),
            read_json(folder / "uncertainty.json"),
        )


@dataclass(frozen=True)
class Volume:
    """The slices of one case in order: ``uids``, ``positions_mm`` and ``hu`` (n, Rows, Columns), as the networks saw them.

    ``hu`` has square pixels; ``frame`` is the square of the original pictures that was read; ``scan`` is for the page.
    """

    uids: tuple[str, ...]
    positions_mm: NDArray[np.float64]
    hu: NDArray[np.int16]
    frame: Frame
    scan: Scan


@dataclass(frozen=True)
class Inputs:
    """Everything, opened; voxels are read case by case."""

    params: Params
    folders: Folders
    tests: tuple[TestResult, ...]
    maps: MapChoice

    @classmethod
    def load(cls, params: Params, folders: Folders) -> Inputs:
        """Open the outs of all stages; InputError names what is missing.

        What the stage atlas chose of the maps stands in ``params.explain`` in place of what was left open.
        """
        maps = MapChoice.load(folders.atlas)
        params = params.model_copy(update={"explain": maps.applied(params.explain)})
        tests = tuple(TestResult.load(folders.evaluate / name, params.label_set) for name in params.tests)
        return cls(params, folders, tests, maps)

    @property
    def labels(self) -> Labels:
        """The labels of the project."""
        return self.params.label_set

    @cached_property
    def ensemble(self) -> Ensemble:
        """The fitted ensemble."""
        return Ensemble.load(self.folders.calibrate / "ensemble.json")

    @cached_property
    def calibrated(self) -> dict[str, Any]:
        """The figures by which calibrate chose."""
        return read_json(self.folders.calibrate / "metrics.json")

    @cached_property
    def atlas(self) -> Atlas:
        """The atlas."""
        return Atlas.load(self.folders.atlas)

    @cached_property
    def masks(self) -> Masks:
        """Lesion masks; empty where the data has none."""
        return read_masks(self.folders.masks)

    @cached_property
    def slices(self) -> pd.DataFrame:
        """The slice table of ingest."""
        return read_table(self.folders.ingest / "slices.parquet", SLICES_TABLE)

    @cached_property
    def placements(self) -> dict[str, Placement]:
        """SOPInstanceUID → where the slice's own pixels lie in its volume; those that lie as stored are left out."""
        moved = self.slices[
            (self.slices["reorientation"] != AS_STORED)
            | (self.slices[["shift_rows_px", "shift_columns_px"]] != 0).any(axis=1)
        ]
        columns = ["reorientation", "shift_rows_px", "shift_columns_px"]
        places = moved[columns].itertuples(index=False, name=None)
        return dict(zip(moved["SOPInstanceUID"], (Placement(*place) for place in places), strict=True))

    @cached_property
    def series(self) -> pd.DataFrame:
        """The series table of ingest."""
        return read_table(self.folders.ingest / "series.parquet", SERIES_TABLE)

    @cached_property
    def account(self) -> pd.DataFrame:
        """Ingest's account of every file: status and reason."""
        return pd.read_csv(self.folders.ingest / "account.csv", usecols=["status", "reason"])

    @cached_property
    def cohorts(self) -> pd.DataFrame:
        """Patients, cases and slices of every cohort."""
        return pd.read_csv(self.folders.split / "summary.csv")

    @cached_property
    def origin(self) -> Origin:
        """What the networks learned from."""
        networks = [self.folders.train / name / "network.json" for name in self.params.architectures]
        return find_origin(self.folders.data, self.folders.ingest, self.folders.split, networks)

    @cached_property
    def cautions(self) -> list[str]:
        """What the split says of the cohorts, without which the tests' figures mislead."""
        return [str(one) for one in read_json(self.folders.split / CAUTIONS)]

    @cached_property
    def window_rows(self) -> pd.Series:
        """SOPInstanceUID → row of the prepared images."""
        return read_index(self.folders.window).set_index("SOPInstanceUID")["row"]

    def images(self, size: int) -> NDArray[np.int16]:
        """Memory map of all prepared slices of one size."""
        return np.load(self.folders.window / f"hu_{size}.npy", mmap_mode="r")

    def volume(self, case_id: str) -> Volume:
        """The voxels of a case."""
        rows = self.slices[self.slices["case_id"] == case_id].sort_values("index", kind="stable")
        hu = read_volume(self.folders.ingest / "volumes" / f"{rows['volume'].iloc[0]}{SUFFIX}")
        spacing = self.spacing_mm(case_id)
        seen = focus(hu[rows["index"].to_numpy()], self.params.windowing, spacing)
        numbers = tuple(None if n < 0 else int(n) for n in rows["InstanceNumber"])
        scan = Scan(spacing_mm=seen.frame.even_spacing_mm(spacing), instance_numbers=numbers)
        positions = rows["position_mm"].to_numpy(np.float64)
        return Volume(tuple(rows["SOPInstanceUID"]), positions, seen.shown, seen.frame, scan)

    def spacing_mm(self, case_id: str) -> tuple[float, float]:
        """Distance of the rows and of the columns of a case's pictures."""
        series = self.series[self.series["chosen"] & (self.series["case_id"] == case_id)].iloc[0]
        return float(series["row_spacing_mm"]), float(series["column_spacing_mm"])

    def reading(self, test: TestResult, case_id: str, uids: tuple[str, ...]) -> Reading:
        """A case's reading as evaluate saw it, for :func:`ich_pipeline.explain.case.explain_case`."""
        labels, ensemble = self.labels.columns, self.ensemble
        rows = test.slices.set_index("SOPInstanceUID").loc[list(uids)]
        first, second, final = (
            rows[[f"{reading}_{name}" for name in labels]].to_numpy(np.float64)
            for reading in ("first", "second", "final")
        )
        reread = rows["reread"].to_numpy(bool)
        case = test.cases[test.cases["case_id"] == case_id]
        return Reading(
            first=first,
            second=np.where(reread[:, None], second, np.nan),
            final=final,
            suspicious=ensemble.suspicious(first),
            reread=reread,
            first_case_scores=case[[f"first_{name}" for name in labels]].to_numpy(np.float64),
            case_scores=case[[f"final_{name}" for name in labels]].to_numpy(np.float64),
            let_through=case["let_through"].to_numpy(bool),
            decisions=case["decision"].to_numpy(bool),
            original={},
            interpolated={},
            disagreement=_disagreement(rows, case, labels),
        )

    def truth(self, test: TestResult, uids: tuple[str, ...]) -> NDArray[np.int8]:
        """Reference labels (n, L) of slices; one without labels counts as negative here."""
        rows = test.slices.set_index("SOPInstanceUID").loc[list(uids)]
        columns = rows[[f"truth_{name}" for name in self.labels.columns]]
        return columns.astype("Int8").fillna(0).to_numpy(np.int8)


def _disagreement(slices: pd.DataFrame, case: pd.DataFrame, labels: Sequence[str]) -> Disagreement | None:
    """As evaluate wrote it; None where the ensemble has one network."""
    columns = [f"disagreement_{name}" for name in labels]
    if columns[0] not in case:
        return None
    return Disagreement(slices[columns].to_numpy(np.float64), case[columns].to_numpy(np.float64))
