"""``ich cohort add``: only what is new comes into data/, and nothing that is there changes."""

from __future__ import annotations

import csv
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import pandas as pd
import pydicom
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from flows import arrivals
from ich_pipeline.cohorts.add import add
from ich_pipeline.cohorts.bring import bring
from ich_pipeline.config import IncomingParams, Params
from ich_pipeline.core.errors import InputError
from ich_pipeline.tables.label_tables import UID, read_labels

WriteExport = Callable[[Path, Sequence[Mapping[str, object]]], Path]


def export(write_export: WriteExport, root: Path, patients: Sequence[int]) -> Path:
    """Three slices of each patient; the same patient gives the same bytes."""
    for number in patients:
        write_export(
            root / f"p{number}",
            [
                {
                    UID: f"2.25.{100 * number + n}",
                    "PatientID": f"ID{number}",
                    "StudyInstanceUID": f"2.25.{9000 + number}",
                    "SeriesInstanceUID": f"2.25.{8000 + number}",
                    "InstanceNumber": n,
                }
                for n in range(3)
            ],
        )
    return root


def table(path: Path, params: Params, patients: Sequence[int], **columns: int) -> Path:
    uids = [f"2.25.{100 * number + n}" for number in patients for n in range(3)]
    pd.DataFrame({UID: uids} | {name: columns.get(name, 0) for name in params.labels.subtypes}).to_csv(
        path, index=False
    )
    return path


def contents(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


@pytest.fixture
def data(tmp_path: Path, params: Params, write_export: WriteExport) -> Path:
    """A cohort of patients 1 and 2."""
    source = export(write_export, tmp_path / "first", [1, 2])
    bring("folder", source, table(tmp_path / "first.csv", params, [1, 2]), tmp_path / "data", params)
    return tmp_path / "data"


def test_only_what_is_new_is_copied(tmp_path: Path, params: Params, write_export: WriteExport, data: Path) -> None:
    before = {path: (path.read_bytes(), path.stat().st_ino) for path in (data / "dicom").rglob("*") if path.is_file()}
    (data / "frozen.key").write_text("ab" * 32)
    source = export(write_export, tmp_path / "second", [2, 3])
    said = add(source, table(tmp_path / "second.csv", params, [2, 3]), data, params)
    assert (
        said
        == "3 of 6 files copied, the others are in " + f"{data} already; new patients: 1; slices newly labelled: 3."
    )
    assert {path: (path.read_bytes(), path.stat().st_ino) for path in before} == before  # not copied anew either
    new = {path for path in (data / "dicom").rglob("*") if path.is_file()} - set(before)
    assert len(new) == 3 and {path.relative_to(data / "dicom").parts[1] for path in new} == {"p3"}
    assert (data / "frozen.key").read_text() == "ab" * 32
    mark = json.loads((data / "cohort.json").read_text())
    assert (mark["kind"], mark["settings"]["files"], mark["settings"]["labelled"]) == ("folder", 9, 9)
    whole = export(write_export, tmp_path / "whole", [1, 2, 3])
    bring("folder", whole, table(tmp_path / "whole.csv", params, [1, 2, 3]), tmp_path / "other", params)
    for name in ("labels.csv", "masks.csv", "readers.csv", "cohort.json"):
        assert (data / name).read_bytes() == (tmp_path / "other" / name).read_bytes()
    after = contents(data)
    assert (
        add(source, tmp_path / "second.csv", data, params)
        == f"{data} holds all of {source} already; nothing was changed."
    )
    assert contents(data) == after and not (tmp_path / ".data.partial").exists()


@settings(max_examples=8, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.lists(st.integers(3, 7), min_size=1, max_size=3, unique=True), min_size=1, max_size=3))
def test_in_whatever_batches_the_labels_end_the_same(
    tmp_path: Path, params: Params, write_export: WriteExport, batches: list[list[int]]
) -> None:
    here = tmp_path / "run"
    shutil.rmtree(here, ignore_errors=True)
    bring(
        "folder", export(write_export, here / "0", [1, 2]), table(here / "0.csv", params, [1, 2]), here / "data", params
    )
    for number, batch in enumerate(batches, start=1):
        add(
            export(write_export, here / str(number), batch),
            table(here / f"{number}.csv", params, batch),
            here / "data",
            params,
        )
    everyone = sorted({1, 2, *(one for batch in batches for one in batch)})
    found = read_labels(here / "data" / "labels.csv", params.label_set)
    assert sorted(found[UID]) == sorted(f"2.25.{100 * i + n}" for i in everyone for n in range(3))
    files = [path for path in (here / "data" / "dicom").rglob("*") if path.is_file()]
    assert len(files) == 3 * len(everyone) == len({path.read_bytes() for path in files})


def test_a_growing_table_and_labels_that_come_later(
    tmp_path: Path, params: Params, write_export: WriteExport, data: Path
) -> None:
    source = export(write_export, tmp_path / "second", [3])
    add(source, table(tmp_path / "all.csv", params, [1, 2, 3]), data, params)  # the table names patients that are there
    assert len(read_labels(data / "labels.csv", params.label_set)) == 9
    kept = [line for line in (data / "labels.csv").read_text().splitlines() if not line.startswith("2.25.10")]
    (data / "labels.csv").write_text("\n".join(kept) + "\n")
    said = add(source, tmp_path / "all.csv", data, params)
    assert said.startswith("0 of 3 files copied") and said.endswith("new patients: 0; slices newly labelled: 3.")
    assert len(read_labels(data / "labels.csv", params.label_set)) == 9


def refused(match: str, data: Path, *arguments: object) -> None:
    before = contents(data)
    with pytest.raises(InputError, match=match) as error:
        add(*arguments)  # type: ignore[arg-type]
    assert "\n" not in str(error.value)
    assert contents(data) == before
    assert not data.with_name(".data.partial").exists()


def test_contradictions_are_one_sentence(tmp_path: Path, params: Params, write_export: WriteExport, data: Path) -> None:
    source = export(write_export, tmp_path / "second", [2, 3])
    other = table(tmp_path / "other.csv", params, [2, 3], subdural=1)
    refused(r"contradicts .*data/labels.csv on 3 slices \(SOPInstanceUID 2.25.200, ", data, source, other, data, params)
    path = next((source / "p2").rglob("IM0"))
    image = pydicom.dcmread(path)
    image.ImageComments = "sent again"
    image.save_as(path)
    labels = table(tmp_path / "second.csv", params, [2, 3])
    refused("1 images have the SOPInstanceUID of one in .* and another content", data, source, labels, data, params)
    wrong = table(tmp_path / "wrong.csv", params, [2, 3, 5])
    path.unlink()
    refused("cannot be used for", data, source, wrong, data, params)


def test_what_nothing_can_be_added_to(tmp_path: Path, params: Params, write_export: WriteExport, data: Path) -> None:
    source = export(write_export, tmp_path / "second", [3])
    labels = table(tmp_path / "second.csv", params, [3])
    with pytest.raises(InputError, match="holds no cohort to add to"):
        add(source, labels, tmp_path / "none", params)
    pd.read_csv(labels).rename(columns={UID: "StudyInstanceUID"}).to_csv(tmp_path / "cases.csv", index=False)
    refused("labels cases, and .* holds labels of slices", data, source, tmp_path / "cases.csv", data, params)
    (data / "deidentification_report.json").write_text("{}")
    refused("holds de-identified copies, and these tell whose they are", data, source, labels, data, params)
    (data / "deidentification_report.json").unlink()
    mark = json.loads((data / "cohort.json").read_text())
    (data / "cohort.json").write_text(json.dumps({**mark, "kind": "phantom"}))
    refused("holds the synthetic cohort", data, source, labels, data, params)


def test_a_report_grows(tmp_path: Path, params: Params, write_export: WriteExport, data: Path) -> None:
    source = export(write_export, tmp_path / "second", [3])
    labels = table(tmp_path / "second.csv", params, [3])
    with labels.open("a") as file:
        file.write("2.25.77," + ",".join("0" * len(params.labels.subtypes)) + "\n")
    refused("1 label", data, source, labels, data, params)
    said = add(source, labels, data, params, lenient=True)
    assert "Left out: 1 " in said
    with (data / "labels_report.csv").open() as file:
        assert [row["identifier"] for row in csv.DictReader(file)] == ["2.25.77"]


def test_a_watched_folder_is_added_once_it_is_quiet(
    tmp_path: Path, params: Params, write_export: WriteExport, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    source = export(write_export, tmp_path / "second", [3])
    labels = table(tmp_path / "second.csv", params, [3])
    incoming = IncomingParams(source=str(source), labels=str(labels), quiet_minutes=30)
    params = params.model_copy(update={"retrain": params.retrain.model_copy(update={"incoming": incoming})})
    before, now = contents(data), time.time()
    with pytest.raises(arrivals.NotYet, match=r"a file came into retrain\.incoming\.source within 30 minutes"):
        arrivals.bring(params, now + 60)
    assert contents(data) == before
    assert arrivals.bring(params, now + 3600).startswith("3 of 3 files copied")
    assert len(contents(data)) == len(before) + 3
    assert arrivals.bring(params, now + 3600) == ""
    unwatched = params.model_copy(update={"retrain": params.retrain.model_copy(update={"incoming": None})})
    assert arrivals.bring(unwatched, now) == ""


@pytest.mark.long
def test_a_kill_leaves_the_old_or_the_new(
    tmp_path: Path, params: Params, write_export: WriteExport, data: Path, project_root: Path
) -> None:
    source = export(write_export, tmp_path / "second", list(range(3, 12)))
    table(tmp_path / "second.csv", params, list(range(3, 12)))
    old = contents(data)
    shutil.copy(project_root / "ich_pipeline" / "profiles" / "phantom.yaml", tmp_path / "params.yaml")
    command = [sys.executable, "-m", "ich_pipeline.cli.main", "cohort", "add", str(source), "--labels", "second.csv"]
    environment = {**os.environ, "PYTHONPATH": str(project_root)}
    began = time.monotonic()
    assert subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True).returncode == 0
    whole, new = time.monotonic() - began, contents(data)
    assert len(new) == len(old) + 27
    for share in (0.8, 0.95):
        shutil.rmtree(data)
        for name, content in old.items():
            (data / name).parent.mkdir(parents=True, exist_ok=True)
            (data / name).write_bytes(content)
        process = subprocess.Popen(
            command, cwd=tmp_path, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        time.sleep(whole * share)
        process.send_signal(signal.SIGKILL)
        process.wait()
        if data.exists():
            assert contents(data) in (old, new)
        assert subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True).returncode == 0
        assert contents(data) == new
