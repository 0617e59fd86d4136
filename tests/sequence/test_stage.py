"""The stages sequence, calibrate and evaluate on a made-up work/ with a real, small network: from features to the ablation."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml
from sklearn.metrics import average_precision_score

from flows import baselines, calibrate, evaluate, sequence
from ich_pipeline.config import Params, load_params
from ich_pipeline.core.errors import InputError
from ich_pipeline.core.files import read_table, write_table
from ich_pipeline.sequence import stored
from ich_pipeline.tables.label_tables import read_labels
from ich_pipeline.tables.masks import write_masks
from tests.stages import content, run_stage, working_in, write_slices

ARCHITECTURE = "tinynet"
SIZE, SLICES = 32, 7
PATIENTS = {"train": 40, "validation": 20, "test_retrospective": 12}


def _params(project_root: Path, folder: Path, **changes) -> Params:
    raw = yaml.safe_load((project_root / "ich_pipeline" / "profiles" / "phantom.yaml").read_text())
    raw["architectures"] = raw["ablation"] = [ARCHITECTURE]
    raw["networks"] = {
        ARCHITECTURE: {"image_size": SIZE, "epochs": 1, "batch_size": 8, "learning_rate": 0.001, "weights": "none"}
    }
    raw["windowing"]["sizes"] = [SIZE]
    raw["explain"]["architecture"] = ARCHITECTURE
    raw["interpolation"]["candidates"] = [0, 0.3]
    raw["ensemble"]["folds"] = 3
    raw["evaluation"]["bootstrap"] = 50
    raw["baselines"].update(trees=5, random_network=None)
    raw["sequence"] |= {"architectures": [ARCHITECTURE], "units": 8, "dropout": 0.1, "learning_rate": 0.02, "epochs": 6}
    raw["sequence"] |= {"batch_cases": 8, **changes}
    (folder / "params.yaml").write_text(yaml.safe_dump(raw))
    return load_params(folder / "params.yaml")


def _work(folder: Path, params: Params) -> pd.DataFrame:
    """A lesion spans three slices, bright in the middle one alone; the ends of it show in no picture."""
    from ich_pipeline.tables.slice_index import neighbours_among
    from ich_pipeline.training.interpolated import interpolated_probabilities
    from ich_pipeline.training.network import Network, NetworkSpec
    from ich_pipeline.windowing.windows import Window

    rng = np.random.default_rng(0)
    labels = params.label_set
    rows, truth, images = [], [], []
    for cohort, count in PATIENTS.items():
        for patient in range(count):
            case, middle = f"C{cohort}{patient:02}", 1 + patient % (SLICES - 2)
            for k in range(SLICES):
                row, image = len(rows), rng.normal(35, 4, (SIZE, SIZE))
                subtypes = np.zeros(len(labels.subtypes), np.int8)
                if patient % 2 == 0 and abs(k - middle) <= 1:
                    kind = patient // 2 % 2
                    subtypes[kind] = 1
                    if k == middle:
                        image[6:20, 6 + 10 * kind : 20 + 10 * kind] += 45
                before, after = (row - 1 if k else -1), (row + 1 if k < SLICES - 1 else -1)
                rows.append((row, f"1.2.{row}", case, f"P{case}", cohort, before, after, 5.0 * k))
                truth.append([int(subtypes.any()), *subtypes])
                images.append(image)
    # A training slice without a label is context, and nothing else.
    index, _, hu = write_slices(folder / "work", rows, images, truth, labels, unlabelled=[0])
    cases = index.drop_duplicates("case_id").reset_index(drop=True)
    facts = {"chosen": True, "Manufacturer": "ACME", "PatientSex": "F", "PatientAge": "050Y", "SliceThickness": 5.0}
    facts |= {"row_spacing_mm": 2.0, "column_spacing_mm": 2.0, "spacing_mm": 5.0}
    write_table(folder / "work/ingest/series.parquet", cases[["case_id"]].assign(**facts), "series/3")
    write_masks(folder / "data" / "masks.csv", [])
    (folder / "data" / "readers.csv").write_text("reader,case,decision\n")
    windows = tuple(Window(w.name, w.center, w.width) for w in params.windowing.windows)
    validation = index.loc[index["cohort"] == "validation", "row"].to_numpy()
    for target, used in (("train", windows), ("ablate", (windows[0],) * 3)):
        network = Network.build(NetworkSpec(ARCHITECTURE, SIZE, used, labels.columns, "none", "float32", 0.9, 1))  # type: ignore[arg-type]
        head = network.model.get_layer("head")
        kernel, bias = head.get_weights()
        head.set_weights([rng.normal(0, 0.3, kernel.shape).astype(np.float32), bias - 2])
        (folder / "work" / target / ARCHITECTURE).mkdir(parents=True)
        network.save(folder / "work" / target / ARCHITECTURE)
        degrees = params.interpolation.candidates
        found = interpolated_probabilities(network, hu[validation], neighbours_among(index.iloc[validation]), degrees)
        parts = [
            index.loc[validation, ["SOPInstanceUID", "case_id", "patient_key"]].assign(
                degree=degree, **{label: p[:, k] for k, label in enumerate(labels.columns)}
            )
            for degree, p in zip(degrees, found, strict=True)
        ]
        write_table(folder / "work" / target / ARCHITECTURE / "validation.parquet", pd.concat(parts), "validation/1")
    return index


@pytest.fixture(scope="module")
def project(project_root: Path, tmp_path_factory: pytest.TempPathFactory):
    """A folder in which sequence and calibrate ran while the test's labels were not there; then evaluate, with them."""
    folder = tmp_path_factory.mktemp("project")
    with working_in(folder):
        params = _params(project_root, folder)
        _work(folder, params)
        sealed = folder / "work/split/sealed"
        sealed.rename(folder / "away")
        results = {name: run_stage(stage.body, name, None, params) for name, stage in _STAGES.items()}
        (folder / "away").rename(sealed)
        results["evaluate"] = run_stage(evaluate.body, "evaluate", "test_retrospective", params)
        yield folder, params, results


_STAGES = {"sequence": sequence, "baselines": baselines, "calibrate": calibrate}


def test_what_the_stage_leaves(project) -> None:
    folder, params, results = project
    work = folder / "work/sequence"
    assert set(content(work)) == {
        "heads.json",
        *(f"{ARCHITECTURE}/{n}" for n in ("head.json", "head.weights.h5", "history.csv", "validation.parquet")),
    }
    history = pd.read_csv(work / ARCHITECTURE / "history.csv")
    epoch = stored.read_list(work)[ARCHITECTURE]
    assert history["epoch"].iloc[0] == 0 and history["epoch"][history["val_map"].to_numpy().argmax()] == epoch > 0
    assert f"(epoch {epoch})" in results["sequence"].summary
    # Before training the head is the network: the same figure as of the answers that training left.
    alone = read_table(folder / "work/train" / ARCHITECTURE / "validation.parquet", "validation/1")
    joined = read_table(work / ARCHITECTURE / "validation.parquet", "validation/1")
    assert (joined["degree"] == 0).all() and len(joined) == PATIENTS["validation"] * SLICES
    assert list(joined["SOPInstanceUID"]) == list(alone.loc[alone["degree"] == 0, "SOPInstanceUID"])
    labels = params.label_set.columns
    truth = read_labels(folder / "work/split/labels/validation.csv", params.label_set).set_index("SOPInstanceUID")
    at_zero = alone.loc[alone["degree"] == 0]
    y = truth.loc[at_zero["SOPInstanceUID"]]
    precisions = [average_precision_score(y[name], at_zero[name]) for name in labels[1:] if y[name].any()]
    assert history["val_map"].iloc[0] == pytest.approx(np.mean(precisions), abs=1e-4)
    assert not list((folder / ".state").iterdir()), "the scratch files of the features are gone"


def test_calibrate_weighs_the_head_and_evaluate_measures_it(project) -> None:
    folder, *_ = project
    metrics = json.loads((folder / "work/calibrate/metrics.json").read_text())
    member = f"{ARCHITECTURE}+sequence"
    assert f"plain_mean({member})" in metrics["candidates"]
    assert metrics["chosen_degrees"][member] == 0 and len(set(metrics["degrees"][member].values())) == 1
    table = pd.read_csv(folder / "work/evaluate/test_retrospective/ablation.csv").set_index("step")
    row = table.to_dict("index")["with sequence head"]
    assert row["gain_over"] == f"{ARCHITECTURE}, multi-window"
    assert row["mean_ap_gain"] == pytest.approx(row["mean_ap"] - table["mean_ap"]["multi-window"], abs=1e-9)
    assert row["mean_ap_gain_low"] <= row["mean_ap_gain"] <= row["mean_ap_gain_high"]
    # The ends of a lesion show in their neighbours alone, so here the head must help, and the system must use it.
    assert row["mean_ap_gain_low"] > 0
    ensemble = json.loads((folder / "work/calibrate/ensemble.json").read_text())
    assert member in ensemble["second_reading"]["combiner"]["members"]


def test_again_the_same_bytes_and_off_leaves_the_list_alone(project, project_root: Path) -> None:
    folder, params, _ = project
    work = folder / "work/sequence"
    before = content(work)
    (folder / "work/split/sealed/test_retrospective.csv").rename(folder / "away.csv")
    run_stage(sequence.body, "sequence", None, params)
    assert content(work) == before
    off = run_stage(sequence.body, "sequence", None, _params(project_root, folder, architectures=[]))
    assert set(content(work)) == {"heads.json"} and off.summary.startswith("off")
    assert stored.candidates(work) == ()
    (folder / "away.csv").rename(folder / "work/split/sealed/test_retrospective.csv")


def test_a_missing_or_foreign_list_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"heads\.json is missing"):
        stored.read_list(tmp_path)
    stored.write_list(tmp_path, {"a": 0, "b": 4})
    assert stored.candidates(tmp_path) == ("b",), "a head that changes nothing is no member"
    with pytest.raises(InputError, match=r"names the network b, which params\.yaml does not"):
        stored.readers(tmp_path, {}, ("b",))
    (tmp_path / "heads.json").write_text('{"schema": "sequence/9", "epochs": {}}')
    with pytest.raises(InputError, match="'sequence/9'"):
        stored.read_list(tmp_path)
