"""The whole chain on a small phantom: what comes out, what reruns, what leaks, what a user's mistake looks like."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from ich_pipeline.config import load_params
from ich_pipeline.core.files import read_table
from ich_pipeline.report.metrics import HEADLINE

from .conftest import Project, without_pictures

TESTS = ("test_retrospective", "test_prospective")

pytestmark = pytest.mark.timeout(1500)  # the first test of a file waits for the whole chain


def digest(folder: Path) -> str:
    """sha256 over the names and bytes of all files below a folder, or of one file."""
    whole = hashlib.sha256()
    files = sorted(p for p in folder.rglob("*") if p.is_file()) if folder.is_dir() else [folder]
    for file in files:
        whole.update(file.relative_to(folder).as_posix().encode() + b"\0" + file.read_bytes())
    return whole.hexdigest()


def test_pipeline_ends_with_table_page_and_next_commands(chain: Project) -> None:
    text = (chain.root / ".state" / "pipeline-output.txt").read_text()
    assert "| " in text and "index.html" in text and "ich promote" in text and "version 1, alias challenger" in text
    assert (chain.root / "reports" / "index.html").is_file()
    for test in TESTS:
        assert f"{test}: this test set has been looked at once, with one model." in text
    assert (chain.root / "reports" / "test_ledger.html").is_file()


def test_metrics_have_every_test_level_and_label_with_intervals(chain: Project) -> None:
    metrics = json.loads((chain.root / "reports" / "metrics.json").read_text())
    labels = load_params(chain.root / "params.yaml").label_set
    assert metrics.pop("data") == "synthetic"
    assert set(metrics) == set(TESTS)
    for test in TESTS:
        for level in ("slice", "case"):
            block = metrics[test][level]
            assert set(block) == {*labels.columns, "mean"}
            for label in labels.columns:
                for metric in ("auc", "ap"):
                    cell = block[label][metric]
                    if cell["value"] is None:
                        assert cell["reason"]
                    else:
                        assert 0 <= cell["value"] <= 1
                        if cell["low"] is not None:
                            assert cell["low"] <= cell["value"] + 1e-9 and cell["value"] <= cell["high"] + 1e-9


def test_second_run_does_nothing_and_registers_nothing(chain: Project) -> None:
    before = digest(chain.root / "work"), (chain.root / "dvc.lock").read_bytes()
    done = chain.run("flows.pipeline")
    assert done.returncode == 0, done.stderr
    assert "Everything is up to date." in done.stdout and "version 1 (as before)" in done.stdout
    assert (digest(chain.root / "work"), (chain.root / "dvc.lock").read_bytes()) == before
    status = chain.run("dvc", "status")
    assert "up to date" in status.stdout


def test_one_training_parameter_reruns_only_what_depends_on_it(chain: Project) -> None:
    original = (chain.root / "params.yaml").read_text()
    chain.params(lambda v: v["networks"]["vgg16"].update(learning_rate=0.00077))
    try:
        dry = chain.run("dvc", "repro", "--dry")
    finally:
        (chain.root / "params.yaml").write_text(original)
    assert dry.returncode == 0, dry.stderr
    # split looks at which layers learn, and draws the same again.
    for kept in ("ingest", "validate", "window", "train@resnet50", "ablate@resnet50"):
        assert f"Running stage '{kept}'" not in dry.stdout, kept
    assert "Running stage 'train@vgg16'" in dry.stdout


def test_metrics_and_plots_speak(chain: Project) -> None:
    shown = chain.run("dvc", "metrics", "show", "--json")
    assert shown.returncode == 0, shown.stderr
    values = json.loads(shown.stdout)[""]["data"]
    assert list(values) == ["reports/headline.json"], "the terminal shows what fits it"
    shown_here = values["reports/headline.json"]["data"]
    assert shown_here["data"] == "synthetic"
    # DVC leaves out what is null: a figure that so few patients cannot give.
    assert {"slice_auc"} <= set(shown_here["test_retrospective"]) <= {name for name, *_ in HEADLINE}
    plots = chain.run("dvc", "plots", "show", "--json")
    assert plots.returncode == 0 and "roc_any.csv" in plots.stdout


def test_no_patient_in_two_cohorts(chain: Project) -> None:
    cohorts = read_table(chain.root / "work" / "split" / "cohorts.parquet", "cohorts/1")
    assert (cohorts.groupby("patient_key")["cohort"].nunique() == 1).all()
    assert set(cohorts["cohort"]) == {"train", "validation", *TESTS}
    series = read_table(chain.root / "work" / "ingest" / "series.parquet", "series/3")
    dates = cohorts.merge(series[["SeriesInstanceUID", "StudyDate"]], on="SeriesInstanceUID", suffixes=("", "_series"))
    latest = dates[dates["cohort"] == "test_prospective"]["StudyDate"].min()
    assert (dates[dates["cohort"] != "test_prospective"]["StudyDate"] <= latest).all()


def test_no_patient_is_named_in_the_record_or_the_reports(chain: Project) -> None:
    """Neither PatientID, nor its hash, nor a UID, in the MLflow store, the registered model or the pages."""
    series = read_table(chain.root / "work" / "ingest" / "series.parquet", "series/3")
    slices = read_table(chain.root / "work" / "ingest" / "slices.parquet", "slices/2")
    names = [
        *series["PatientID"],
        *series["patient_key"],
        *series["StudyInstanceUID"],
        *slices["SOPInstanceUID"],
        "PHANTOM^",
    ]
    searched = 0
    for folder in ("mlruns", "reports"):
        # The weights are numbers, and the code that the model carries is the same everywhere.
        for file in (p for p in (chain.root / folder).rglob("*") if p.is_file() and p.suffix not in (".h5", ".py")):
            content = without_pictures(file.read_bytes())
            searched += 1
            found = [name for name in names if name.encode() in content]
            assert not found, f"{file.relative_to(chain.root)} names {found[0]}"
    assert searched > 10


def test_every_file_is_accounted_for(chain: Project) -> None:
    account = pd.read_csv(chain.root / "work" / "ingest" / "account.csv")
    files = sorted(
        p.relative_to(chain.root / "data" / "dicom").as_posix()
        for p in (chain.root / "data" / "dicom").rglob("*")
        if p.is_file()
    )
    assert sorted(account["path"]) == files
    assert set(account["status"]) <= {"used", "set_aside", "rejected"}


def test_nothing_before_evaluate_reads_the_tests_labels(chain: Project, tmp_path: Path) -> None:
    """Without the tests' labels and masks (and the whole tables they came from), every fitted stage gives the same bytes."""
    sealed = chain.copy(tmp_path / "sealed")
    shutil.rmtree(sealed.root / "work" / "split" / "sealed")
    for table in ("labels.csv", "readers.csv"):
        (sealed.root / "data" / table).unlink()
    index = pd.read_parquet(sealed.root / "work" / "window" / "index.parquet")
    path = sealed.root / "data" / "masks.csv"
    masks = pd.read_csv(path, dtype=str)
    known = masks["SOPInstanceUID"].isin(index.loc[index["cohort"].isin(["train", "validation"]), "SOPInstanceUID"])
    assert 0 < known.sum() < len(masks)
    masks[known].to_csv(path, index=False, lineterminator="\n")
    made = ["window", "train/vgg16", "ablate/resnet50", "sequence", "baselines", "calibrate", "atlas"]
    for folder in made:
        shutil.rmtree(sealed.root / "work" / folder)
    for command in (folder.split("/") for folder in made):
        done = sealed.run(f"flows.{command[0]}", *command[1:])
        assert done.returncode == 0, f"{command}: {done.stderr}"
    for folder in made:
        assert digest(sealed.root / "work" / folder) == digest(chain.root / "work" / folder), folder
    refused = sealed.run("flows.evaluate", "test_retrospective")
    assert refused.returncode == 2 and "test_retrospective" in refused.stderr


def test_registered_model_predicts_what_evaluate_recorded_from_the_same_dicom(chain: Project) -> None:
    """Raw DICOM files through the registered pyfunc, against the evaluate stage's table."""
    script = """
import json, sys, pathlib
import mlflow, pandas as pd
from ich_pipeline.registry.store import tracking_uri
mlflow.set_tracking_uri(tracking_uri()); mlflow.set_registry_uri(tracking_uri())
model = mlflow.pyfunc.load_model("models:/ich-ensemble@challenger")
files = json.load(sys.stdin)
out = model.predict(pd.DataFrame({"dicom": [pathlib.Path(f).read_bytes() for f in files]}))
print("RESULT" + json.dumps(out if isinstance(out, (dict, list)) else out.to_dict("records")))
"""
    import subprocess
    import sys

    predicted = read_table(chain.root / "work" / "evaluate" / TESTS[0] / "slices.parquet", "predictions/1")
    slices = read_table(chain.root / "work" / "ingest" / "slices.parquet", "slices/2")
    labels = load_params(chain.root / "params.yaml").label_set
    cases = sorted(predicted["case_id"].unique())[:3]
    files = [str(chain.root / "data" / "dicom" / p) for p in slices[slices["case_id"].isin(cases)]["path"]]
    done = subprocess.run(
        [sys.executable, "-c", script],
        input=json.dumps(files[::-1]),
        cwd=chain.root,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert "RESULT" in done.stdout, done.stderr[-3000:]
    answer = json.loads(done.stdout.split("RESULT", 1)[1])
    cases_out = answer["cases"] if isinstance(answer, dict) else answer
    assert {c["case_id"] for c in cases_out} == set(cases)
    checked = 0
    rows = predicted.set_index("SOPInstanceUID")
    for case in cases_out:
        for row in case["slices"]:
            expected = rows.loc[row["SOPInstanceUID"]]
            for name in labels.columns:
                np.testing.assert_allclose(row["final"][name], expected[f"final_{name}"], atol=1e-5)
                checked += 1
    assert checked == len(files) * len(labels)


@pytest.fixture
def ingested(chain: Project, tmp_path: Path) -> Callable[[str], Project]:
    """Copies of the project, some hundred megabytes each: gone with the test."""

    def make(name: str) -> Project:
        return chain.copy(tmp_path / name / "project")

    return make


def one_sentence(text: str) -> bool:
    return len(text.strip().splitlines()) == 1 and "Traceback" not in text


def test_wrong_key_in_params_is_one_sentence(ingested: Callable[[str], Project]) -> None:
    project = ingested("key")
    project.params(lambda v: v["training"].update(optimiser="adam"))
    before = digest(project.root / "work")
    for command in ("flows.pipeline", "flows.ingest"):
        done = project.run(command)
        assert done.returncode == 2 and one_sentence(done.stderr), done.stderr
        assert "training.optimiser" in done.stderr and "params.yaml" in done.stderr
    assert digest(project.root / "work") == before


def test_label_of_an_unknown_slice_is_one_sentence(ingested: Callable[[str], Project]) -> None:
    project = ingested("unknown")
    table = project.root / "data" / "labels.csv"
    text = table.read_text()
    table.unlink()  # it is a hard link
    table.write_text(text + "2.25.999," + ",".join("0" * 6) + "\n")
    before = digest(project.root / "work")
    done = project.run("flows.validate")
    assert done.returncode == 2 and one_sentence(done.stderr), done.stderr
    assert "2.25.999" in done.stderr and "labels.csv" in done.stderr
    assert digest(project.root / "work") == before


def test_empty_data_folder_is_one_sentence(ingested: Callable[[str], Project]) -> None:
    project = ingested("empty")
    shutil.rmtree(project.root / "data" / "dicom")
    (project.root / "data" / "dicom").mkdir()
    before = digest(project.root / "work")
    done = project.run("flows.ingest")
    assert done.returncode == 2 and one_sentence(done.stderr), done.stderr
    assert "data/dicom" in done.stderr
    assert digest(project.root / "work") == before


def test_empty_data_is_no_cohort_of_ones_own(ingested: Callable[[str], Project]) -> None:
    project = ingested("hollow")
    for part in ("dicom", "cohort.json"):
        path = project.root / "data" / part
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    pointer = (project.root / "data.dvc").read_bytes()
    done = project.run("flows.pipeline")
    assert done.returncode == 2 and one_sentence(done.stderr), done.stderr
    assert "data/dicom is missing" in done.stderr
    assert (project.root / "data.dvc").read_bytes() == pointer


def test_missing_data_is_one_sentence(ingested: Callable[[str], Project]) -> None:
    project = ingested("missing")
    shutil.rmtree(project.root / "data")
    done = project.run("flows.ingest")
    assert done.returncode == 2 and one_sentence(done.stderr), done.stderr
    assert "data/ is missing" in done.stderr


def test_missing_data_of_ones_own_is_not_replaced_by_a_phantom(ingested: Callable[[str], Project]) -> None:
    project = ingested("own")
    shutil.rmtree(project.root / "data")
    pointer = project.root / "data.dvc"
    pointer.write_text(pointer.read_text().replace("cohort: phantom", "cohort: folder"))
    done = project.run("flows.pipeline")
    assert done.returncode == 2 and one_sentence(done.stderr), done.stderr
    assert "dvc pull" in done.stderr and not (project.root / "data").exists()
