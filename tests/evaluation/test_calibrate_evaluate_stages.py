"""The stages calibrate and evaluate on a made-up work/ with real, small networks: outs, sealing, equal bytes."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml

from flows import baselines, calibrate, evaluate, sequence
from ich_pipeline.baselines.hu_rule import FILE, MEMBER, HuRule
from ich_pipeline.config import Params, load_params
from ich_pipeline.core.errors import InputError
from ich_pipeline.core.files import read_table, sha256_of, write_table
from ich_pipeline.ensemble.conformal import NOT_AVAILABLE
from ich_pipeline.tables.label_tables import write_labels
from ich_pipeline.tables.masks import write_masks
from ich_pipeline.tables.schemas import FOLDS_TABLE
from tests.stages import content, run_stage, working_in, write_slices

ARCHITECTURE = "mobilenet"  # small; any name of keras.applications works
SIZE = 32
SLICES = 6
PATIENTS = {"validation": 12, "test_retrospective": 8, "test_prospective": 8, "train": 8}


def _params(project_root: Path, folder: Path) -> Params:
    raw = yaml.safe_load((project_root / "ich_pipeline" / "profiles" / "phantom.yaml").read_text())
    raw["architectures"] = [ARCHITECTURE]
    raw["sequence"]["architectures"] = []
    raw["networks"] = {
        ARCHITECTURE: {"image_size": SIZE, "epochs": 1, "batch_size": 8, "learning_rate": 0.001, "weights": "none"}
    }
    raw["windowing"]["sizes"] = [SIZE]
    raw["ablation"] = [ARCHITECTURE]
    raw["explain"]["architecture"] = ARCHITECTURE
    raw["interpolation"]["candidates"] = [0, 0.3]
    raw["ensemble"]["folds"] = 3
    raw["ensemble"]["coverage"] = 0.8  # four patients of a class are enough for it
    raw["evaluation"]["bootstrap"] = 50
    raw["baselines"].update(trees=5, random_network=None)
    (folder / "params.yaml").write_text(yaml.safe_dump(raw))
    return load_params(folder / "params.yaml")


def _window_and_split(folder: Path, params: Params) -> tuple[pd.DataFrame, pd.DataFrame, np.ndarray]:
    """Half of the patients have a bright spot in two slices."""
    rng = np.random.default_rng(0)
    labels = params.label_set
    rows, truth, images = [], [], []
    for cohort, count in PATIENTS.items():
        for patient in range(count):
            case = f"C{cohort}{patient:02}"
            for k in range(SLICES):
                row = len(rows)
                image = rng.normal(35, 8, (SIZE, SIZE))
                subtypes = np.zeros(len(labels.subtypes), dtype=np.int8)
                if patient % 2 == 0 and k in (2, 3):
                    subtypes[(patient // 2) % 2] = 1
                    image[8:20, 8:20] += 40
                before, after = (row - 1 if k else -1), (row + 1 if k < SLICES - 1 else -1)
                rows.append((row, f"1.2.{row}", case, f"P{case}", cohort, before, after, 5.0 * k))
                truth.append([int(subtypes.any()), *subtypes])
                images.append(image)
    return write_slices(folder / "work", rows, images, truth, labels)


def _facts(folder: Path, index: pd.DataFrame, table: pd.DataFrame) -> None:
    """Series, two readers and a lesion mask a positive slice: what readers and subgroups need."""
    cases = index.drop_duplicates("case_id").reset_index(drop=True)
    series = pd.DataFrame(
        {
            "case_id": cases["case_id"],
            "chosen": True,
            "Manufacturer": [("ACME", "Other")[i % 2] for i in cases.index],
            "PatientSex": "F",
            "PatientAge": [f"{20 + 7 * (i % 10):03}Y" for i in cases.index],
            "SliceThickness": 5.0,
            "row_spacing_mm": 2.0,
            "column_spacing_mm": 2.0,
            "spacing_mm": 5.0,
        }
    )
    write_table(folder / "work" / "ingest" / "series.parquet", series, "series/3")
    positive = table.set_index("SOPInstanceUID")["any"] == 1
    mask = np.zeros((SIZE, SIZE), dtype=bool)
    mask[8:20, 8:20] = True
    write_masks(folder / "data" / "masks.csv", [(str(uid), "epidural", mask) for uid in positive.index[positive]])
    bleeding = set(index.loc[index["SOPInstanceUID"].isin(positive.index[positive]), "case_id"])
    rows = [f"A,{case},{case in bleeding:d}" for case in cases["case_id"]] + ["B,1.2.840.1,1"]
    (folder / "data" / "readers.csv").write_text("\n".join(["reader,case,decision", *rows]) + "\n")


def _train(folder: Path, params: Params, index: pd.DataFrame, hu: np.ndarray) -> None:
    """Real networks with drawn heads; no training, so nothing here takes long."""
    from ich_pipeline.tables.slice_index import neighbours_among
    from ich_pipeline.training.interpolated import interpolated_probabilities
    from ich_pipeline.training.network import Network, NetworkSpec
    from ich_pipeline.windowing.windows import Window

    windows = tuple(Window(w.name, w.center, w.width) for w in params.windowing.windows)
    rows = index.loc[index["cohort"] == "validation", "row"].to_numpy()
    labels = params.label_set.columns
    for target, used in (("train", windows), ("ablate", (windows[0],) * 3)):
        spec = NetworkSpec(ARCHITECTURE, SIZE, used, labels, "none", "float32", 0.9, 1)  # type: ignore[arg-type]
        network = Network.build(spec)
        head = network.model.get_layer("head")
        features = head.get_weights()[0].shape
        head.set_weights([np.random.default_rng(3).normal(size=features).astype(np.float32), np.zeros(features[1])])
        destination = folder / "work" / target / ARCHITECTURE
        destination.mkdir(parents=True)
        network.save(destination)
        if target == "ablate":
            continue
        degrees = params.interpolation.candidates
        found = interpolated_probabilities(network, hu[rows], neighbours_among(index.iloc[rows]), degrees)
        parts = [
            index.loc[rows, ["SOPInstanceUID", "case_id", "patient_key"]].assign(
                degree=degree, **{label: p[:, k] for k, label in enumerate(labels)}
            )
            for degree, p in zip(degrees, found, strict=True)
        ]
        write_table(destination / "validation.parquet", pd.concat(parts, ignore_index=True), "validation/1")


@pytest.fixture(scope="module")
def project(project_root: Path, tmp_path_factory: pytest.TempPathFactory):
    """A project folder in which both stages have run once, with their results; the working directory while tests run."""
    folder = tmp_path_factory.mktemp("project")
    with working_in(folder):
        params = _params(project_root, folder)
        index, table, hu = _window_and_split(folder, params)
        _facts(folder, index, table)
        _train(folder, params, index, hu)
        run_stage(sequence.body, "sequence", None, params)
        run_stage(baselines.body, "baselines", None, params)
        results = {
            "calibrate": run_stage(calibrate.body, "calibrate", None, params),
            "evaluate": run_stage(evaluate.body, "evaluate", "test_retrospective", params),
        }
        yield folder, params, table, results


def test_outs_are_there_and_the_summary_says_what_matters(project) -> None:
    folder, params, table, results = project
    assert set(content(folder / "work/calibrate")) == {
        "ensemble.json",
        "metrics.json",
        "reliability.png",
        "validation.parquet",
    }
    assert set(content(folder / "work/evaluate/test_retrospective")) == {
        "ablation.csv", "cases.parquet", "failures.csv", "figures/pr.png", "figures/pr.svg",
        "figures/roc.png", "figures/roc.svg", "metrics.json", "pr.csv", "pr_any.csv", "readers.json",
        "reading.json", "roc.csv", "roc_any.csv", "slices.parquet", "subgroups.csv", "uncertainty.json",
    }  # fmt: skip
    assert "slice AUC any" in results["evaluate"].summary and "true cases" in results["evaluate"].summary
    assert all(path.is_file() for path in results["evaluate"].pictures.values())
    slices = read_table(folder / "work/evaluate/test_retrospective/slices.parquet", "predictions/1")
    truth = table.set_index("SOPInstanceUID").loc[slices["SOPInstanceUID"]]
    for name in params.label_set.columns:
        np.testing.assert_array_equal(slices[f"truth_{name}"], truth[name])
    metrics = json.loads((folder / "work/evaluate/test_retrospective/metrics.json").read_text())
    assert metrics["slice"]["subdural"]["auc"] == {"value": None, "low": None, "high": None, "reason": "no positives"}
    assert metrics["slice"]["mean"]["ap"]["labels"] == 2
    calibrated = json.loads((folder / "work/calibrate/metrics.json").read_text())
    present = [name for name in params.label_set.subtypes if table[name].any()]
    assert calibrated["labels_in_mean"] == present
    ensemble = json.loads((folder / "work/calibrate/ensemble.json").read_text())
    assert ensemble["slice_points"]["subdural"]["balanced"]["reason"] == "no positive in calibration"


def test_coverage_and_calibration_are_measured(project) -> None:
    folder, params, *_ = project
    calibrated = json.loads((folder / "work/calibrate/metrics.json").read_text())["calibration"]
    for stage in ("before", "after"):
        for key in ("brier", "ece"):
            entry = calibrated[stage]["any"][key]
            assert 0 <= entry["value"] <= 1
            # The patients are alike here: an interval without width is none, and says why.
            assert "equal in all" in entry["reason"] if entry["low"] is None else entry["low"] <= entry["high"]
    known = json.loads((folder / "work/calibrate/ensemble.json").read_text())["uncertainty"]
    assert known["coverage"] == params.ensemble.coverage
    assert (known["cases"]["any"]["positives"], known["cases"]["any"]["negatives"]) == (6, 6)
    assert known["cases"]["subdural"]["reason"].startswith("calibration has 0 patients with the finding")
    metrics = json.loads((folder / "work/evaluate/test_retrospective/metrics.json").read_text())
    found = json.loads((folder / "work/evaluate/test_retrospective/uncertainty.json").read_text())
    entry = metrics["case"]["any"]["conformal_coverage_present"]
    assert entry == found["case"]["any"]["coverage_present"] and entry["patients"] == 4
    assert metrics["slice"]["subdural"]["conformal_undecided"]["value"] is None
    assert "conformal_undecided" not in metrics["slice"]["mean"]


def test_every_evaluation_is_in_the_ledger(project) -> None:
    from ich_pipeline.registry import ledger

    folder, *_ = project
    before = ledger.looks()
    assert [look.test for look in before] == ["test_retrospective"]
    look = before[0]
    work = folder / "work"
    assert look.test_set == sha256_of(work / "split/sealed/test_retrospective.csv")
    assert look.results == sha256_of(work / "evaluate/test_retrospective/metrics.json")
    files = [sha256_of(work / "train" / ARCHITECTURE / n) for n in ("model.weights.h5", "network.json")]
    named = zip((f"networks/{ARCHITECTURE}/{n}" for n in ("model.weights.h5", "network.json")), files, strict=True)
    rest = {"ensemble.json": work / "calibrate/ensemble.json", "rule/rule.npz": work / "baselines/hu_rule/rule.npz"}
    digests = dict(named) | {name: sha256_of(path) for name, path in rest.items()}
    assert look.model == ledger.model_digest(digests)
    assert look.model != ledger.model_digest({**digests, "rule/rule.npz": "0"})


def test_readers_subgroups_and_failures_of_a_test(project) -> None:
    folder, params, *_ = project
    work = folder / "work/evaluate/test_retrospective"
    readers = json.loads((work / "readers.json").read_text())
    assert readers["cases"] == {"in_this_test": 8, "not_evaluated_here": 28, "unknown": 1}
    (entry,) = readers["labels"]["any"]
    assert entry["reader"] == "A" and entry["sensitivity"]["value"] == entry["specificity"]["value"] == 1.0
    assert entry["noninferiority"]["margin"] == params.evaluation.noninferiority_margin
    subgroups = pd.read_csv(work / "subgroups.csv")
    assert set(subgroups["variable"]) == {"all", "Manufacturer", "sex", "slice thickness", "age", "lesion size"}
    # Two slices of 144 pixels of 2 mm × 2 mm × 5 mm.
    assert list(subgroups.loc[subgroups["variable"] == "lesion size", "group"]) == ["5 to below 30 mL"]
    assert subgroups["reason"].str.contains("are needed").all()  # four positive patients, five wanted
    assert subgroups.loc[subgroups["variable"] == "sex", "cases"].sum() == 8
    failures = pd.read_csv(work / "failures.csv")
    cases = read_table(work / "cases.parquet", "case_predictions/1").set_index("case_id")
    wrong = cases.index[cases["decision"].astype(int) != cases["truth_any"]]
    assert sorted(failures["case_id"]) == sorted(wrong)


def test_runs_are_recorded_without_patients(project) -> None:
    from mlflow import MlflowClient

    folder, *_ = project
    client = MlflowClient(f"sqlite:///{folder}/mlflow.db")
    runs = client.search_runs([e.experiment_id for e in client.search_experiments()])
    stages = {run.data.tags.get("ich.stage"): run for run in runs}
    assert {"calibrate", "evaluate"} <= set(stages)
    assert any("auc" in key for key in stages["evaluate"].data.metrics)
    assert b"PCtest" not in (folder / "mlflow.db").read_bytes()


def test_the_system_reads_a_test_case_as_evaluate_did(project) -> None:
    from ich_pipeline.ensemble.model import Ensemble
    from ich_pipeline.ensemble.reading import read
    from ich_pipeline.ensemble.uncertainty import of_case as of_case_uncertainty
    from ich_pipeline.training.network import Network

    folder, params, *_ = project
    cases = read_table(folder / "work/evaluate/test_retrospective/cases.parquet", "case_predictions/1")
    cases = cases.set_index("case_id")
    slices = read_table(folder / "work/evaluate/test_retrospective/slices.parquet", "predictions/1")
    ensemble = Ensemble.load(folder / "work/calibrate/ensemble.json")
    assert ensemble.members == (ARCHITECTURE, MEMBER)
    networks = {ARCHITECTURE: Network.load(folder / "work/train" / ARCHITECTURE)}
    rule = HuRule.load(folder / "work/baselines/hu_rule" / FILE)
    index = read_table(folder / "work/window/index.parquet", "window/1")
    hu = np.load(folder / f"work/window/hu_{SIZE}.npy")
    k = np.arange(SLICES)
    neighbours = np.stack([k - 1, np.where(k < SLICES - 1, k + 1, -1)], axis=1)
    for case in sorted(set(slices["case_id"]))[:3]:
        of_case = slices.loc[slices["case_id"] == case]
        rows = index.set_index("SOPInstanceUID").loc[of_case["SOPInstanceUID"], "row"].to_numpy()
        images, others = {SIZE: hu[rows]}, {MEMBER: rule.read(hu[rows], neighbours)}
        one_case = np.zeros(SLICES, dtype=int)
        reading = read(networks, ensemble, images, neighbours, one_case, everywhere=False, others=others)
        np.testing.assert_array_equal(reading.reread, of_case["reread"])
        said = of_case_uncertainty(ensemble, reading)
        assert said is not None and said.reason is None
        assert {n: said.sets.get(n, NOT_AVAILABLE) for n in params.label_set.columns} == {
            n: cases.loc[case, f"set_{n}"] for n in params.label_set.columns
        }
        for column, name in enumerate(params.label_set.columns):
            np.testing.assert_allclose(reading.final[:, column], of_case[f"final_{name}"], atol=1e-6)


def test_poisoned_test_labels_change_neither_calibrate_nor_the_other_test(project) -> None:
    folder, params, *_ = project
    before = content(folder / "work/calibrate"), content(folder / "work/evaluate/test_retrospective")
    (folder / "work/split/sealed/test_prospective.csv").write_text("poison\n")
    (folder / "data/labels.csv").write_text("poison\n")
    run_stage(calibrate.body, "calibrate", None, params)
    run_stage(evaluate.body, "evaluate", "test_retrospective", params)
    assert (content(folder / "work/calibrate"), content(folder / "work/evaluate/test_retrospective")) == before
    own = folder / "work/split/sealed/test_retrospective.csv"
    kept = own.read_text()
    own.write_text("poison\n")
    run_stage(calibrate.body, "calibrate", None, params)
    assert content(folder / "work/calibrate") == before[0]
    with pytest.raises(InputError, match=r"test_retrospective\.csv"):
        run_stage(evaluate.body, "evaluate", "test_retrospective", params)
    assert content(folder / "work/evaluate/test_retrospective") == before[1]
    own.write_text(kept)


def test_with_folds_everyone_who_learned_is_calibrated_on_and_the_metrics_say_so(project) -> None:
    """The same tables, but half of their patients are called training ones: the same ensemble, in other words."""
    folder, params, table, _ = project
    before = {
        name: json.loads((folder / "work/calibrate" / name).read_text()) for name in ("ensemble.json", "metrics.json")
    }
    split = folder / "work/split"
    kept = {path: path.read_bytes() for path in (split / "labels/validation.csv", split / "folds.parquet")}
    index = read_table(folder / "work/window/index.parquet", "window/1")
    patients = index.loc[index["cohort"] == "validation", "patient_key"].drop_duplicates().tolist()
    own = table.loc[index["cohort"] == "validation"]
    learned = index.loc[own.index, "patient_key"].isin(patients[::2])
    write_labels(split / "labels/train.csv", own.loc[learned], params.label_set)
    write_labels(split / "labels/validation.csv", own.loc[~learned], params.label_set)
    folds = pd.DataFrame({"patient_key": patients, "fold": [i % 3 for i in range(len(patients))]})
    write_table(split / "folds.parquet", folds, FOLDS_TABLE)
    try:
        result = run_stage(calibrate.body, "calibrate", None, params)
        after = {name: json.loads((folder / "work/calibrate" / name).read_text()) for name in before}
    finally:
        for path, content_before in kept.items():
            path.write_bytes(content_before)
        (split / "labels/train.csv").unlink()
        run_stage(calibrate.body, "calibrate", None, params)
    assert before["metrics.json"].pop("chosen_on") == "on validation"
    assert after["metrics.json"].pop("chosen_on") == "out of fold on train and validation patients"
    assert after == before and after["metrics.json"]["patients"] == 12
    assert result.summary.startswith("out of fold on train and validation patients, 12 patients: ")


def test_the_case_rule_stands_with_its_figures(project) -> None:
    folder, params, _, results = project
    found = json.loads((folder / "work/calibrate/metrics.json").read_text())
    rules = found["case_score"]["candidates"]
    assert set(rules) == {"max", "top 3 mean", "top 5 mean", "agreement of neighbours", "noisy or"}
    assert found["final"]["auc_any_case"] == rules[found["case_score"]["chosen"]]["auc_any"]
    assert len(found["case_score"]["without_each_fold"]) == params.ensemble.folds
    assert 0 <= found["cross_fitted"]["auc_any_case"] <= 1
    shown = results["calibrate"].tables["case scores"]
    assert shown.loc[shown["chosen"] == "yes", "rule"].tolist() == [found["case_score"]["chosen"]]


def test_an_unknown_test_is_named(project) -> None:
    with pytest.raises(InputError, match="test_other"):
        run_stage(evaluate.body, "evaluate", "test_other", project[1])
