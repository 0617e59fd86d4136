"""The stages validate and split: outs, exit status, what is left behind by a breach, sealed test labels."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest
import yaml

import ich_pipeline
from flows.engine.run import run
from flows.split import body as split_body
from flows.validate import body as validate_body
from ich_pipeline.config import Params
from ich_pipeline.core.files import write_table
from ich_pipeline.splits.fold_table import read_folds
from ich_pipeline.tables.label_tables import UID, read_labels, write_labels
from ich_pipeline.tables.schemas import COHORTS_TABLE

Place = Callable[[pd.DataFrame], Path]


@pytest.fixture
def project(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    series: pd.DataFrame,
    slices: pd.DataFrame,
    table: pd.DataFrame,
    params: Params,
) -> Path:
    """A project folder in which ingest has run; the working directory."""
    raw = yaml.safe_load((Path(ich_pipeline.__file__).parent / "profiles" / "phantom.yaml").read_text())
    raw["split"]["validation"] = 0.1  # the shares are the test's own: it counts patients
    raw["split"]["retrospective"]["patients"], raw["split"]["prospective"]["patients"] = 0.08, 0.1
    (tmp_path / "params.yaml").write_text(yaml.safe_dump(raw))
    write_table(tmp_path / "work/ingest/series.parquet", series, "series/3")
    write_table(tmp_path / "work/ingest/slices.parquet", slices, "slices/2")
    account = pd.DataFrame({"path": slices[UID], "status": "used", UID: slices[UID], "frames": 0})
    account.to_csv(tmp_path / "work/ingest/account.csv", index=False)
    write_labels(tmp_path / "data/labels.csv", table, params.label_set)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ICH_EVENTS", str(tmp_path / "events.jsonl"))
    return tmp_path


def result(project: Path) -> dict:
    return json.loads((project / "events.jsonl").read_text().splitlines()[-1])["result"]


def every_byte(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_validate_writes_its_outs_the_same_each_time(project: Path) -> None:
    outs = []
    for _ in range(2):
        assert run("validate", validate_body) == 0
        outs.append(every_byte(project / "work/validate"))
    assert set(outs[0]) == {"results.json", "index.html"}
    assert outs[0] == outs[1]
    assert result(project)["summary"] == "all 47 expectations hold; 240 of 240 slices are labelled."
    assert [row["suite"] for row in result(project)["tables"]["Data quality"]] == [
        "Series", "Slices", "Labels", "Findings",
    ]  # fmt: skip


def test_a_cohort_without_slice_labels_is_refused(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    labels = project / "data/labels.csv"
    labels.write_text(labels.read_text().splitlines()[0] + "\n")
    assert run("validate", validate_body) == 2
    assert capsys.readouterr().err == (
        "validate: data/labels.csv labels no slice, and training needs a label for every slice: bring a cohort with slice "
        "labels (`ich cohort --help` lists the forms).\n"
    )
    assert not (project / "work/validate").exists()


def test_a_breach_stops_with_a_sentence_and_leaves_the_page(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    labels = project / "data/labels.csv"
    labels.write_text("\n".join(labels.read_text().splitlines()[:-12]) + "\n")
    assert run("validate", validate_body) == 2
    last = capsys.readouterr().err.splitlines()[-1]
    assert last == (
        "validate: Labels: “Slices carry labels” does not hold, found 228 of 240 slices are labelled; 12 without a label (in "
        "2 series) are left out of every cohort, allowed is at least 100% of the slices: add the missing rows to "
        "data/labels.csv, or lower validate.label_coverage: slices without a label are then left out "
        "(.state/validate/index.html shows everything)."
    )
    assert not (project / "work/validate").exists()
    assert "Stopped" in (project / ".state/validate/index.html").read_text()
    assert json.loads((project / ".state/validate/results.json").read_text())["status"] == "failed"


def test_a_label_of_an_unknown_slice_stops_with_one_sentence(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with (project / "data/labels.csv").open("a") as file:
        file.write("9.9.9,0,0,0,0,0,0\n")
    assert run("validate", validate_body) == 2
    assert capsys.readouterr().err == (
        "validate: data/labels.csv names 1 slice that is not in the DICOM files under data/dicom (SOPInstanceUID 9.9.9): remove "
        "these rows or add their files.\n"
    )
    assert not (project / "work/validate").exists()


def test_a_label_of_a_frame_that_is_not_used_is_unused_and_not_unknown(
    project: Path, table: pd.DataFrame, capsys: pytest.CaptureFixture[str]
) -> None:
    place = project / "work/ingest/account.csv"
    account = pd.read_csv(place, dtype=str)
    more = pd.DataFrame({"path": ["e", "s"], "status": "set_aside", UID: ["8.8", "8.9"], "frames": [3, 0]})
    pd.concat([account, more]).to_csv(place, index=False)
    with (project / "data/labels.csv").open("a") as file:
        file.write("8.8#1,0,0,0,0,0,0\n8.8#3,0,0,0,0,0,0\n8.9,0,0,0,0,0,0\n")
    assert run("validate", validate_body) == 0
    assert "label rows for files that ingest set aside, not used: 3" in result(project)["summary"]
    assert run("split", split_body) == 0
    files = pd.concat([pd.read_csv(path, dtype=str) for path in (project / "work/split").glob("*/*.csv")])
    assert set(files[UID]) == set(table[UID])
    capsys.readouterr()
    for unknown in ("8.8#4", "8.8#0", "8.9#1"):
        text = (project / "data/labels.csv").read_text()
        (project / "data/labels.csv").write_text(f"{text}{unknown},0,0,0,0,0,0\n")
        assert run("validate", validate_body) == 2
        assert f"1 slice that is not in the DICOM files under data/dicom (SOPInstanceUID {unknown})" in (
            capsys.readouterr().err
        )
        (project / "data/labels.csv").write_text(text)


def test_split_writes_cohorts_and_label_files(project: Path, params: Params, table: pd.DataFrame) -> None:
    outs = []
    for _ in range(2):
        assert run("split", split_body) == 0
        outs.append(every_byte(project / "work/split"))
    assert outs[0] == outs[1]
    assert set(outs[0]) == {
        "cautions.json", "cohorts.parquet", "folds.parquet", "summary.csv", "labels/train.csv", "labels/validation.csv", "sealed/test_retrospective.csv",
        "sealed/test_prospective.csv", "validate/index.html", "validate/results.json",
    }  # fmt: skip
    cohorts = pd.read_parquet(project / "work/split/cohorts.parquet").set_index("case_id")
    assert cohorts["cohort"].value_counts().to_dict() == {
        "train": 26, "validation": 6, "test_retrospective": 4, "test_prospective": 4,
    }  # fmt: skip
    files = [read_labels(path, params.label_set) for path in sorted((project / "work/split").glob("*/*.csv"))]
    together = pd.concat(files).set_index(UID).sort_index()
    pd.testing.assert_frame_equal(together, table.set_index(UID).sort_index(), check_index_type=False)
    assert COHORTS_TABLE == "cohorts/1"


@pytest.mark.parametrize("frozen", [1.0, 0.5])
def test_folds_hold_who_trains_and_validates_and_no_test_patient(project: Path, frozen: float) -> None:
    settings = yaml.safe_load((project / "params.yaml").read_text())
    for network in settings["networks"].values():
        network.update(weights="imagenet", frozen_layers=frozen)
    (project / "params.yaml").write_text(yaml.safe_dump(settings))
    assert run("split", split_body) == 0
    folds = read_folds(project / "work/split/folds.parquet")
    cohorts = pd.read_parquet(project / "work/split/cohorts.parquet")
    learning = cohorts.loc[cohorts["cohort"].isin(["train", "validation"]), "patient_key"]
    assert sorted(folds["patient_key"]) == (sorted(learning) if frozen == 1 else [])
    tested = cohorts.loc[~cohorts["cohort"].isin(["train", "validation"]), "patient_key"]
    assert len(tested) == 8 and not tested.isin(folds["patient_key"]).any()
    page = (project / "work/split/validate/index.html").read_text()
    assert ("predicted out of fold, in 5 folds" in page) == (frozen == 1)
    assert ("no folds are drawn" in page) == (frozen != 1)


def test_what_split_shows_tells_nothing_of_test_labels(project: Path) -> None:
    assert run("split", split_body) == 0
    assert list(result(project)["tables"]["Cohorts"][0]) == ["cohort", "patients", "cases", "slices"]
    summary = pd.read_csv(project / "work/split/summary.csv").set_index("cohort")
    counts = summary.drop(columns=["patients", "cases", "slices"])
    assert counts.loc[["train", "validation"]].notna().all(axis=None)
    assert counts.loc[["test_retrospective", "test_prospective"]].isna().all(axis=None)


def test_a_split_without_room_is_one_sentence(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    labels = project / "data/labels.csv"
    labels.write_text("\n".join(labels.read_text().splitlines()[:13]) + "\n")  # two patients
    assert run("split", split_body) == 2
    assert capsys.readouterr().err == (
        "split: data/ holds 2 patients with labels, but the four cohorts need at least one each: add patients to data/dicom "
        "and data/labels.csv.\n"
    )
    assert not (project / "work/split").exists()
