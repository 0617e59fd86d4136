"""The stage as `python -m flows.ingest` runs it: exit status, one sentence, result for the UI."""

from __future__ import annotations

import json
import shutil

import pandas as pd
import pytest

from flows import ingest as stage
from flows.engine.run import run


@pytest.fixture
def project(tmp_path, monkeypatch, project_root):
    shutil.copyfile(project_root / "ich_pipeline" / "profiles" / "phantom.yaml", tmp_path / "params.yaml")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ICH_EVENTS", str(tmp_path / "events.jsonl"))  # plainly, whatever runs on this machine
    return tmp_path


def test_a_good_folder(project, save_series, capsys):
    save_series(project / "data" / "dicom", 5)
    (project / "data" / "dicom" / "README").write_text("not an image at all")
    assert run("ingest", stage.body) == 0
    assert "6 files: 5 used, 0 set aside, 1 rejected; 1 series of 1 patient" in capsys.readouterr().out
    assert sorted(p.name for p in (project / "work" / "ingest").iterdir()) == [
        "account.csv",
        "index.html",
        "series.parquet",
        "slices.parquet",
        "volumes",
    ]
    events = [json.loads(line) for line in (project / "events.jsonl").read_text().splitlines()]
    assert {row["reason"]: row["files"] for row in events[-1]["result"]["tables"]["files by reason"]} == {
        "used": 5,
        "not_dicom": 1,
    }
    assert "Secret" not in (project / "events.jsonl").read_text()


@pytest.mark.parametrize(
    ("folder", "sentence"), [("data", "data/dicom is missing"), ("data/dicom", "data/dicom holds no files")]
)
def test_no_data_is_one_sentence_and_status_2(project, capsys, folder, sentence):
    (project / folder).mkdir(parents=True)
    assert run("ingest", stage.body) == 2
    captured = capsys.readouterr()
    assert captured.err.startswith(f"ingest: {sentence}")
    assert captured.err.count("\n") == 1
    assert not (project / "work").exists()


def test_no_usable_series_leaves_the_account_where_dvc_does_not_remove_it(project, save_series, capsys):
    bone = save_series(project / "data" / "dicom" / "bone", 5, ConvolutionKernel="H60s")
    (project / "data" / "dicom" / "README").write_text("not an image at all")
    (project / "work" / "ingest").mkdir(parents=True)
    (project / "work" / "ingest" / "earlier").write_text("left as it is")
    assert run("ingest", stage.body) == 2
    captured = capsys.readouterr()
    assert captured.err.count("\n") == 1 and "Secret" not in captured.err
    assert "data/dicom holds no usable CT series: 5 files bone_kernel (" in captured.err
    assert "; 1 file not_dicom (" in captured.err
    assert captured.err.endswith("; every file has a row in .state/ingest/account.csv.\n")
    state = project / ".state" / "ingest"
    assert sorted(p.name for p in state.iterdir()) == ["account.csv", "index.html"]
    account = pd.read_csv(state / "account.csv", keep_default_na=False)
    assert dict(zip(account["path"], account["reason"], strict=True)) == {
        "README": "not_dicom",
        **{str(path.relative_to(project / "data" / "dicom")): "bone_kernel" for path in bone},
    }
    assert [p.name for p in (project / "work" / "ingest").iterdir()] == ["earlier"]
    assert not list(project.glob(".*/.*")) and not list((project / "work").glob(".*"))
    save_series(project / "data" / "dicom" / "soft", 5)
    assert run("ingest", stage.body) == 0
    assert not state.exists(), "it would speak of other files"
