"""Identifiers planted in more than 40 places: none is in any output, table, log line, report, MLflow store or Prefect event."""

from __future__ import annotations

import logging
import shutil
import sqlite3
from pathlib import Path

import pandas as pd
import pytest

from flows import ingest as stage
from flows.engine.run import run
from ich_pipeline.commands.deidentify import Request, deidentify
from ich_pipeline.config import load_params
from ich_pipeline.deidentify import scan
from ich_pipeline.deidentify.key import new_key
from ich_pipeline.deidentify.options import Options
from ich_pipeline.ingest.ingest import ingest


def everything(folder: Path) -> bytes:
    """Names and bytes of all below a folder; Parquet columns as text too, since pages are compressed."""
    parts = []
    for path in sorted(folder.rglob("*")):
        parts.append(str(path.relative_to(folder)).encode())
        if path.is_file():
            parts.append(path.read_bytes())
        if path.suffix == ".parquet":
            parts.append(pd.read_parquet(path).to_csv().encode())
    return b"\n".join(parts)


@pytest.fixture
def project(project, monkeypatch):
    monkeypatch.setenv("ICH_EVENTS", str(project / "events.jsonl"))
    return project


@pytest.fixture
def request_(tmp_path, planted):
    new_key(tmp_path / "key")
    return Request(planted[0], tmp_path / "out", tmp_path / "key", tmp_path / "linkage.csv")


def test_every_plant_is_really_there(planted):
    source, plants = planted
    assert len(plants.places) >= 40
    assert set(plants.found_in(everything(source))) == set(plants.places.values())


@pytest.mark.parametrize("options", [Options(), Options("remove", 10, False, False)], ids=["default", "strictest"])
def test_no_plant_is_in_the_output(planted, request_, project, options):
    _, plants = planted
    result = deidentify(request_, options, load_params())
    assert {row.cleaned.outcome.value for row in result.rows} == {"deidentified"}, [
        r.cleaned.detail for r in result.rows
    ]
    assert plants.found_in(everything(request_.out)) == []
    assert plants.found_in(repr(result.rows).encode()) == []
    for path in (request_.out / "dicom").rglob("*.dcm"):
        assert scan.scan_file(path) == []


def test_the_second_pass_would_have_found_them(planted):
    source, plants = planted
    path = next(source.rglob("*_6"))
    original = scan.parse(path.read_bytes())
    words = scan.identifiers(original)
    found = scan.findings(path.read_bytes(), words, original)
    assert "a word of the original among the bytes of the header" in found
    assert "(0010,0010) PatientName: not a pseudonym" in found
    assert "(0008,0020) StudyDate: the date was not moved" in found
    assert "(0029,xxxx) private" in found
    assert plants.found_in("".join(found).encode()) == []
    outside_the_data_set = {"folder name", "file name", "preamble", "after the data set", "after the last pixel"}
    cleaned_only = {
        p for p in plants.places.values() if "not in the table" in p or p in ("image type (CS)", "manufacturer")
    }
    unlisted = {"orientation (CS)", "code meaning, two levels down", "contrast agent sequence"}
    known = {place for mark, place in plants.places.items() if any(mark in word for word in words)}
    assert set(plants.places.values()) - known <= outside_the_data_set | cleaned_only | unlisted | {
        "file meta title",
        "file meta bytes",
    }


def test_none_reaches_what_the_ingest_writes_says_or_records(planted, request_, project, capsys, caplog):
    _, plants = planted
    caplog.set_level(logging.DEBUG)
    deidentify(request_, Options(), load_params())
    shutil.copytree(request_.out / "dicom", project / "data" / "dicom")
    assert run("ingest", stage.body) == 0
    said = capsys.readouterr()
    assert "6 files: 5 used, 1 set aside" in said.out
    assert plants.found_in((said.out + said.err + caplog.text).encode()) == []
    assert plants.found_in(everything(project)) == []  # tables, account, volumes, events for Prefect
    account = pd.read_csv(project / "work" / "ingest" / "account.csv")
    assert sorted(account["reason"]) == ["contrast", *["used"] * 5], "the words that the ingest judges by are kept"


def test_of_raw_files_nothing_reaches_prefect_or_the_terminal(planted, project, capsys, caplog):
    """Raw files name patients in data/ and work/, as the README says, and nowhere else."""
    source, plants = planted
    caplog.set_level(logging.DEBUG)
    shutil.copytree(source, project / "data" / "dicom")
    assert run("ingest", stage.body) == 0
    said = capsys.readouterr()
    assert plants.found_in((project / "work" / "ingest" / "account.csv").read_bytes())  # paths and UIDs
    assert plants.found_in((said.out + said.err + caplog.text).encode()) == []
    assert plants.found_in((project / "events.jsonl").read_bytes()) == []
    state = project / ".state"
    assert not state.exists() or plants.found_in(everything(state)) == []


@pytest.mark.long
def test_nothing_of_the_ingest_reaches_mlflow(planted, request_, project):
    """A real SQLite store, with a run as the stages open it and the tables that the ingest shows recorded in it."""
    from ich_pipeline.ingest.tables import reason_counts
    from ich_pipeline.registry.tracking import open_run

    _, plants = planted
    params = load_params()
    deidentify(request_, Options(), params)
    shutil.copytree(request_.out / "dicom", project / "data" / "dicom")
    report = ingest(project / "data" / "dicom", project / "work" / "ingest", params.ingest)
    reason_counts(report.account).to_csv(project / "reasons.csv", index=False)
    with open_run("ingest", None, params) as recorder:
        recorder.metrics({"files": len(report.account), "used": len(report.slices)})
        recorder.artifact(project / "reasons.csv")
        recorder.artifact(project / "work" / "ingest" / "account.csv")  # de-identified: even this may be shown
        assert recorder.client.get_run(recorder.run_id).data.metrics["used"] == 5
    database = next((project / "mlruns").rglob("*.db"))
    with sqlite3.connect(database) as connection:
        dump = "\n".join(connection.iterdump()).encode()
    assert b"ich.stage" in dump
    assert plants.found_in(dump + everything(project / "mlruns")) == []


def test_the_linkage_is_complete_and_only_its_owners(request_, planted, project):
    deidentify(request_, Options(), load_params())
    assert request_.linkage is not None and request_.linkage.stat().st_mode & 0o077 == 0
    table = pd.read_csv(request_.linkage, dtype=str)
    source = planted[0]
    assert sorted(table["original_path"]) == sorted(
        p.relative_to(source).as_posix() for p in source.rglob("*") if p.is_file()
    )
    for row in table.to_dict("records"):
        assert (request_.out / "dicom" / row["path"]).is_file()
