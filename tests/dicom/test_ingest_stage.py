"""The stage as `python -m flows.ingest` runs it: exit status, one sentence, result for the UI."""

from __future__ import annotations

import json
import shutil

import pytest

from flows import ingest as stage
from flows._stage import run


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
    assert "6 files: 5 used, 0 set aside, 1 rejected; 1 series of 1 patients" in capsys.readouterr().out
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
