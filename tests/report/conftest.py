"""A small project: six synthetic cases, a real VGG16, outs by the stages' own writers."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from ich_pipeline.baselines.stored import Baseline
from ich_pipeline.config import Params, load_params
from ich_pipeline.core.files import write_json, write_table, write_text
from ich_pipeline.ensemble.calibration import Calibration
from ich_pipeline.ensemble.case_score import CaseScore
from ich_pipeline.ensemble.combiners import Combiner
from ich_pipeline.ensemble.conformal import ConformalLabel
from ich_pipeline.ensemble.model import Ensemble, ReadingModel
from ich_pipeline.ensemble.operating_points import OperatingPoint
from ich_pipeline.ensemble.reading import read
from ich_pipeline.ensemble.uncertainty import Uncertainty
from ich_pipeline.evaluation.ablation import ablation_rows
from ich_pipeline.evaluation.baselines import baselines_of_test
from ich_pipeline.evaluation.cohort import TestCohort
from ich_pipeline.evaluation.figures import curves_of, draw_pr, draw_roc
from ich_pipeline.evaluation.readers import readers_of_test
from ich_pipeline.evaluation.subgroups import case_facts, subgroup_rows
from ich_pipeline.evaluation.tables import case_failures, case_table, slice_table
from ich_pipeline.evaluation.uncertainty import uncertainty_of_test
from ich_pipeline.ingest.volumes import write_volume
from ich_pipeline.report.inputs import Folders, Inputs
from ich_pipeline.tables.masks import Box, Boxes, read_masks, write_masks
from ich_pipeline.tables.reader_tables import Reads
from ich_pipeline.tables.schemas import CASE_PREDICTIONS_TABLE, PREDICTIONS_TABLE
from ich_pipeline.training.network import Network, NetworkSpec
from ich_pipeline.windowing.windows import Window, prepare
from tests.made.atlas import save_atlas

PHANTOM = Path(__file__).parents[2] / "ich_pipeline" / "profiles" / "phantom.yaml"
CASES, SLICES, SIDE, SIZE = 6, 5, 96, 64
SAID_BY_SPLIT = "One day holds all studies."
PLANTED = "SMITH-4711"  # a PatientID that must not reach a page


def _head(random: np.random.Generator) -> np.ndarray:
    y, x = np.mgrid[:SIDE, :SIDE] / SIDE - 0.5
    radius = np.hypot(x / 0.36, y / 0.44)
    hu = np.full((SLICES, SIDE, SIDE), -1000)
    hu[:, radius < 1.1] = 900
    hu[:, radius < 1] = 32
    return (hu + random.integers(-4, 5, hu.shape) * (hu > -1000)).astype(np.int16)


CALIBRATED = {
    "chosen_on": "out of fold on train and validation patients",
    "case_score": {"candidates": {"max": {"auc_any": 0.8}, "agreement of neighbours": {"auc_any": None}}},
}


@pytest.fixture(scope="session")
def params() -> Params:
    """The phantom profile with one architecture and few replicates."""
    made = load_params(PHANTOM)
    return made.model_copy(
        update={
            "architectures": ("vgg16",),
            "sequence": made.sequence.model_copy(update={"architectures": ()}),
            "ablation": ("vgg16",),
            "tests": ("test_retrospective", "test_prospective"),
            "explain": made.explain.model_copy(update={"architecture": "vgg16", "minimum_map": 7}),
            "evaluation": made.evaluation.model_copy(update={"bootstrap": 20}),
        }
    )


def _ensemble(params: Params) -> Ensemble:
    labels = params.label_set
    count = len(labels)
    combiner = Combiner("plain_mean", ("vgg16",), ((1.0,),) * count, None, (None,) * count)
    calibrations = [Calibration("identity")] * count
    calibrations[1] = Calibration("identity", reason="too few")
    reading = ReadingModel(combiner, tuple(calibrations))

    def points(threshold: float) -> dict[str, OperatingPoint]:
        names = ("high_sensitivity", "balanced", "high_specificity")
        return {name: OperatingPoint(threshold, 0.9, 0.9) for name in names}

    every = {name: points(0.4) for name in labels.columns}
    return Ensemble(
        labels,
        {"vgg16": 0.2},
        reading,
        reading,
        OperatingPoint(0.3, 0.95, 0.5),
        every,
        every,
        "balanced",
        CaseScore("max", 3),
        Uncertainty(
            0.9,
            {name: ConformalLabel(0.6, 0.4, 12, 12) for name in labels.columns},
            {name: ConformalLabel(None, None, 12, 3, "too few patients") for name in labels.columns},
            {"vgg16": (Calibration("identity"),) * count},
        ),
    )


@pytest.fixture(scope="session")
def inputs(params: Params, tmp_path_factory: pytest.TempPathFactory) -> Inputs:
    """Every folder that the report reads; both tests hold the same cases."""
    root = tmp_path_factory.mktemp("project")
    random = np.random.default_rng(4)
    labels = params.label_set
    windows = params.windowing.windows
    volumes = [_head(random) for _ in range(CASES)]
    truth = np.zeros((CASES, SLICES, len(labels)), np.int8)
    lesions = []
    for case in range(0, CASES, 2):
        for k in range(2):
            column = 1 + (case + k) % 5
            truth[case, 2, [0, column]] = 1
            mask = np.zeros((SIDE, SIDE), bool)
            mask[30 + 8 * k : 44 + 8 * k, 50:62] = True
            volumes[case][2][mask] = 70
            lesions.append((f"1.2.{case}.2", labels.columns[column], mask))
        drawn = Boxes(SIDE, SIDE, (Box(50, 30, 12, 22),))  # of the same slice, and of a finding that has no mask there
        lesions.append((f"1.2.{case}.2", labels.columns[1 + (case + 2) % 5], drawn))
    rows = [
        {
            "case_id": f"C{c}", "patient_key": f"P{c}", "PatientID": PLANTED, "StudyInstanceUID": f"1.{c}", "SeriesInstanceUID": f"1.{c}.1",
            "SOPInstanceUID": f"1.2.{c}.{i}", "volume": f"V{c}", "index": i, "InstanceNumber": i + 1, "position_mm": -500.0 + 5 * i,
            "reorientation": "as_stored", "shift_rows_px": 0.0, "shift_columns_px": 0.0,
        }
        for c in range(CASES) for i in range(SLICES)
    ]  # fmt: skip
    slices = pd.DataFrame(rows)
    ingest, split, window, train = (root / n for n in ("ingest", "split", "window", "train"))
    for folder in (ingest / "volumes", split, window, train / "vgg16", root / "calibrate", root / "atlas"):
        folder.mkdir(parents=True)
    for case, hu in enumerate(volumes):
        write_volume(ingest / "volumes" / f"V{case}.b2nd", hu)
    write_table(ingest / "slices.parquet", slices, "slices/2")
    series = slices.drop_duplicates("case_id").assign(
        chosen=True, reason="", Manufacturer="ACME", PatientSex="", PatientAge="050Y", SliceThickness=5.0,
        row_spacing_mm=2.0, column_spacing_mm=2.0, spacing_mm=5.0, ConvolutionKernel="H31s", Rows=SIDE, Columns=SIDE,
        slices=SLICES,
    )  # fmt: skip
    write_table(ingest / "series.parquet", series, "series/3")
    cohorts = series[["case_id"]].assign(cohort=["train", *["test_retrospective"] * (CASES - 1)])
    write_table(split / "cohorts.parquet", cohorts, "cohorts/1")
    write_table(split / "folds.parquet", pd.DataFrame({"patient_key": [], "fold": []}), "folds/1")
    write_text(ingest / "account.csv", "path,status,reason,detail\na,used,,\nb,set_aside,localizer,\n")
    write_text(split / "summary.csv", "cohort,patients,cases,slices,any\ntrain,6,6,30,3\ntest_retrospective,6,6,30,\n")
    write_json(split / "cautions.json", [SAID_BY_SPLIT])
    write_masks(root / "masks.csv", lesions)
    images = np.concatenate([prepare(hu, SIZE, windows) for hu in volumes])
    np.save(window / f"hu_{SIZE}.npy", images)
    index = slices[["SOPInstanceUID", "case_id", "patient_key"]].assign(row=np.arange(len(slices)))
    write_table(window / "index.parquet", index, "window/1")
    network = _network(params)
    network.save(train / "vgg16")
    ensemble = _ensemble(params)
    ensemble.save(root / "calibrate" / "ensemble.json")
    write_json(root / "calibrate" / "metrics.json", CALIBRATED)
    flat = truth.reshape(-1, len(labels))
    _save_atlas(params, train / "vgg16", images, flat, slices, root / "atlas")
    near = np.arange(len(slices))[:, None] + np.array([-1, 1])
    inside = (near // SLICES == np.arange(len(slices))[:, None] // SLICES) & (near >= 0)
    case_index = np.repeat(np.arange(CASES), SLICES)
    neighbours = np.where(inside, near, -1)
    reading = read({"vgg16": network}, ensemble, {SIZE: images}, neighbours, case_index, everywhere=True)
    drawn = np.random.default_rng(4).random(flat.shape)
    beside = (Baseline("drawn", "Drawn scores", "numbers without any knowledge", drawn),)
    known = np.ones(len(flat), bool)
    cohort = TestCohort(
        ensemble, reading, known, flat, case_index, neighbours, case_index, params.evaluation, 1, beside
    )
    baselines = baselines_of_test(cohort)
    for name in params.tests:
        folder = root / "evaluate" / name
        write_table(folder / "slices.parquet", slice_table(cohort, slices), PREDICTIONS_TABLE)
        write_table(folder / "cases.parquet", case_table(cohort, slices), CASE_PREDICTIONS_TABLE)
        write_json(folder / "metrics.json", {**cohort.metrics(), "baselines": baselines})
        uncertain = uncertainty_of_test(cohort, list(slices["SOPInstanceUID"]), [f"C{c}" for c in range(CASES)])
        write_json(folder / "uncertainty.json", uncertain)
        write_json(folder / "reading.json", cohort.reading_account())
        ablation = ablation_rows(cohort, {"vgg16": network.probabilities(images)}, baselines)
        write_text(folder / "ablation.csv", ablation.to_csv(index=False))
        facts = case_facts([f"C{c}" for c in range(CASES)], series, slices, read_masks(root / "masks.csv"))
        subgroups = subgroup_rows(cohort, facts, params.evaluation.subgroups)
        failures = case_failures(cohort, case_table(cohort, slices))
        for table, content in (("subgroups", subgroups), ("failures", failures)):
            write_text(folder / f"{table}.csv", content.to_csv(index=False))
        reads = Reads(
            tuple(f"C{c}" for c in range(CASES)),
            ("simulated A",),
            ("any",),
            (np.arange(CASES) % 3 == 0)[:, None, None].astype(np.int8),
        )
        readers = readers_of_test(reads, cohort, reads.cases, frozenset())
        write_json(folder / "readers.json", readers)
        roc, pr = curves_of(cohort)
        draw_roc(cohort, roc, name, folder / "figures" / "roc.svg", readers=readers["labels"]["any"])
        draw_pr(cohort, pr, name, folder / "figures" / "pr.svg")
    (root / "data").mkdir()
    write_json(root / "data" / "cohort.json", {"kind": "phantom"})
    folders = Folders(
        root / "data",
        root / "masks.csv",
        root / "frozen.json",
        ingest,
        root / "validate",
        split,
        window,
        train,
        root / "calibrate",
        root / "evaluate",
        root / "atlas",
    )
    return Inputs.load(params, folders)


def _network(params: Params) -> Network:
    a, b, c = (Window(w.name, w.center, w.width) for w in params.windowing.windows)
    network = Network.build(NetworkSpec("vgg16", SIZE, (a, b, c), params.label_set.columns, "none", "float32", 0.9, 3))
    head = network.model.get_layer("head")
    kernel, bias = head.get_weights()
    head.set_weights([np.random.default_rng(5).normal(0, 0.3, kernel.shape), bias])
    return network


def _save_atlas(
    params: Params, train: Path, images: np.ndarray, truth: np.ndarray, slices: pd.DataFrame, folder: Path
) -> None:
    rows = np.flatnonzero(truth[:, 0])
    columns = (slices[name].iloc[rows].tolist() for name in ("SOPInstanceUID", "case_id", "patient_key"))
    save_atlas(params.label_set, params.explain, train, images[rows], truth[rows, 1:], *columns, folder=folder)
