"""A user's export comes into data/ whole, checked, and nothing else changes."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pydicom
import pytest
from pydicom.data import get_testdata_file

from ich_pipeline.cohorts.folder import bring_folder
from ich_pipeline.config import load_params
from ich_pipeline.errors import InputError
from ich_pipeline.label_tables import read_labels
from ich_pipeline.masks import read_masks

PROFILE = Path(__file__).parents[2] / "ich_pipeline" / "profiles" / "phantom.yaml"


@pytest.fixture(scope="module")
def params():
    return load_params(PROFILE)


@pytest.fixture
def source(tmp_path) -> Path:
    """Three real CT slices (pydicom's own sample under other UIDs) and a text file, in folders."""
    root = tmp_path / "export"
    ds = pydicom.dcmread(str(get_testdata_file("CT_small.dcm", download=False)))
    for n in range(3):
        ds.SOPInstanceUID = f"2.25.{100 + n}"
        folder = root / f"disc {n % 2}" / "IMAGES"
        folder.mkdir(parents=True, exist_ok=True)
        ds.save_as(folder / f"IM{n}")
    (root / "README.txt").write_text("an export, and a file that is no DICOM")
    return root


def write_table(path: Path, params, uids: list[str], **columns: list[int]) -> Path:
    names = params.labels.subtypes
    table = pd.DataFrame({"SOPInstanceUID": uids} | {n: columns.get(n, [0] * len(uids)) for n in names})
    table.to_csv(path, index=False)
    return path


def snapshot(folder: Path) -> dict[str, tuple[bytes, int]]:
    return {
        str(p.relative_to(folder)): (p.read_bytes(), p.stat().st_mtime_ns) for p in folder.rglob("*") if p.is_file()
    }


def test_round_trip(tmp_path, params, source):
    labels = write_table(tmp_path / "mine.csv", params, ["2.25.102", "2.25.100"], subdural=[1, 0])
    before = snapshot(source)
    summary = bring_folder(source, labels, tmp_path / "data", params)
    assert snapshot(source) == before
    copied = snapshot(tmp_path / "data" / "dicom")
    assert {name: data for name, (data, _) in copied.items()} == {name: data for name, (data, _) in before.items()}
    table = read_labels(tmp_path / "data" / "labels.csv", params.label_set)
    assert table["SOPInstanceUID"].tolist() == ["2.25.102", "2.25.100"]
    assert table["any"].tolist() == [1, 0]
    assert table["subdural"].tolist() == [1, 0]
    assert (tmp_path / "data" / "readers.csv").read_text() == "reader,case,decision\n"
    assert len(read_masks(tmp_path / "data" / "masks.csv")) == 0
    mark = json.loads((tmp_path / "data" / "cohort.json").read_text())
    assert mark["kind"] == "folder" and len(mark["settings_sha256"]) == 64
    assert str(tmp_path) not in json.dumps(mark)
    assert summary == "4 files copied, 3 CT images among them, 2 labelled (1 with any)."


def test_order_and_case_of_columns_do_not_matter(tmp_path, params, source):
    names = [n.upper() for n in reversed(params.labels.subtypes)]
    rows = np.eye(len(names), dtype=int)[0]
    lines = [",".join([*names, "ANY", "sopinstanceuid"]), ",".join([*map(str, rows), "1", "2.25.101"])]
    (tmp_path / "mine.csv").write_text("\n".join(lines))
    bring_folder(source, tmp_path / "mine.csv", tmp_path / "data", params)
    table = read_labels(tmp_path / "data" / "labels.csv", params.label_set)
    assert table[list(params.label_set.columns)].to_numpy().tolist() == [[1, 0, 0, 0, 0, 1]]


def check_refused(tmp_path, params, source, labels, match, **options) -> None:
    before = snapshot(tmp_path)
    with pytest.raises(InputError, match=match) as error:
        bring_folder(source, labels, tmp_path / "data", params, **options)
    assert "\n" not in str(error.value)
    assert snapshot(tmp_path) == before


def test_labels_of_unknown_slices(tmp_path, params, source):
    uids = ["2.25.100", *(f"2.25.{n}" for n in range(900, 905))]
    labels = write_table(tmp_path / "mine.csv", params, uids)
    check_refused(tmp_path, params, source, labels, r"names 5 slices that are not in .*export.*2\.25\.900")


def test_unknown_column(tmp_path, params, source):
    labels = write_table(tmp_path / "mine.csv", params, ["2.25.100"])
    table = pd.read_csv(labels, dtype=str)
    table["chronic"] = "0"
    table.to_csv(labels, index=False)
    check_refused(tmp_path, params, source, labels, "chronic")


def test_source_missing_empty_without_ct_or_around_the_target(tmp_path, params, source):
    labels = write_table(tmp_path / "mine.csv", params, ["2.25.100"])
    check_refused(tmp_path, params, tmp_path / "nowhere", labels, "not a folder")
    (tmp_path / "empty").mkdir()
    check_refused(tmp_path, params, tmp_path / "empty", labels, "holds no files")
    (tmp_path / "text").mkdir()
    (tmp_path / "text" / "a").write_text("nothing to see here, really")
    check_refused(tmp_path, params, tmp_path / "text", labels, "no CT image")
    check_refused(tmp_path, params, tmp_path, labels, "contain one another")
    check_refused(tmp_path, params, source, tmp_path / "none.csv", "none.csv is missing")


def test_only_a_phantom_is_replaced(tmp_path, params, source):
    labels = write_table(tmp_path / "mine.csv", params, ["2.25.100"])
    data = tmp_path / "data"
    data.mkdir()
    (data / "dicom").mkdir()
    (data / "dicom" / "precious").write_text("mine")
    check_refused(tmp_path, params, source, labels, "not a phantom")
    (data / "cohort.json").write_text(json.dumps({"kind": "folder"}))
    check_refused(tmp_path, params, source, labels, "not a phantom")
    (data / "cohort.json").write_text(json.dumps({"kind": "phantom"}))
    bring_folder(source, labels, data, params)
    assert not (data / "dicom" / "precious").exists()
    check_refused(tmp_path, params, source, labels, "not a phantom")
    first = {name: content for name, (content, _) in snapshot(data).items()}
    bring_folder(source, labels, data, params, replace=True)
    assert {name: content for name, (content, _) in snapshot(data).items()} == first


def test_a_file_that_cannot_be_read_is_named(tmp_path, params, source):
    labels = write_table(tmp_path / "mine.csv", params, ["2.25.100"])
    (source / "lost").symlink_to(source / "nowhere")
    with pytest.raises(InputError, match="lost cannot be read"):
        bring_folder(source, labels, tmp_path / "data", params)
    assert not (tmp_path / "data").exists()
    shutil.rmtree(source)
