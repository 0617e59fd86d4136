"""A cohort out of a bucket: the same ``data/`` as from the folder, whatever the network does."""

from __future__ import annotations

import csv
import errno
import os
import shutil
import subprocess
import zipfile
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest
from typer.testing import CliRunner

from ich_pipeline.cli import main as cli
from ich_pipeline.cohorts.bring import bring
from ich_pipeline.commands.deidentify import Request, check, deidentify
from ich_pipeline.config import Params, load_params
from ich_pipeline.core.errors import InputError
from ich_pipeline.deidentify.key import new_key
from ich_pipeline.deidentify.options import Options
from ich_pipeline.deidentify.reasons import Outcome
from ich_pipeline.sources.remote import Remote
from ich_pipeline.sources.source import open_source
from tests.sources.s3_server import Proxy, patient_remote

Tree = Callable[[Path], dict[str, bytes]]


@pytest.fixture(scope="module")
def params(project_root: Path) -> Params:
    made = load_params(project_root / "ich_pipeline" / "profiles" / "phantom.yaml")
    return made.model_copy(update={"ingest": made.ingest.model_copy(update={"workers": 1})})


@pytest.fixture(scope="module")
def labels(phantom_export: Path) -> Path:
    return phantom_export.parent / "labels.csv"


@pytest.fixture(scope="module")
def bucket(buckets: Path, phantom_export: Path) -> Path:
    """``s3://bucket/export``: the first files in a zip, the others as they are, and a note."""
    export = buckets / "bucket" / "export"
    export.mkdir()
    files = sorted(path for path in phantom_export.rglob("*") if path.is_file())
    with zipfile.ZipFile(export / "first part.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        for path in files[:10]:
            archive.write(path, path.relative_to(phantom_export))
    for path in files[10:]:
        place = export / path.relative_to(phantom_export)
        place.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, place)
    (export / "note.txt").write_text("no image")
    return export


def ich(*arguments: str | Path) -> tuple[int, str, str]:
    done = CliRunner().invoke(cli.app, [str(a) for a in arguments], env={"COLUMNS": "240"})
    return done.exit_code, done.stdout, done.stderr


def test_the_same_data_as_from_the_folder(proxy: Proxy, bucket, labels, params, tmp_path, tree: Tree):
    said, level = bring("folder", bucket, labels, tmp_path / "local", params)
    proxy.share = 0.3
    remote = patient_remote(proxy, timeout_s=3.0)
    again = bring("folder", "s3://bucket/export", labels, tmp_path / "s3", params, remote=remote)
    assert again == (said, level) and "first part.zip" in {p.name for p in (tmp_path / "s3" / "dicom").iterdir()}
    assert tree(tmp_path / "s3") == tree(tmp_path / "local")
    assert proxy.met
    assert {p.name for p in tmp_path.iterdir()} == {"local", "s3"}  # no scratch is left
    assert {p.stat().st_nlink for p in (tmp_path / "s3" / "dicom").rglob("*") if p.is_file()} == {1}


def test_refused_labels_change_nothing_and_the_next_run_fetches_nothing(
    proxy: Proxy, bucket, labels, params, tmp_path, tree: Tree
):
    table = pd.read_csv(labels, dtype=str)
    table.loc[len(table)] = ["2.25.999", *["0"] * (len(table.columns) - 1)]
    table.to_csv(tmp_path / "wrong.csv", index=False)
    remote = patient_remote(proxy)
    with pytest.raises(InputError, match=r"cannot be used for s3://bucket/export as it is: 1 label without an image"):
        bring("folder", "s3://bucket/export", tmp_path / "wrong.csv", tmp_path / "data", params, remote=remote)
    assert not (tmp_path / "data").exists() and (tmp_path / ".data.fetched").is_dir()
    proxy.fetched = []
    bring("folder", "s3://bucket/export", labels, tmp_path / "data", params, remote=remote)
    assert proxy.fetched == [] and not (tmp_path / ".data.fetched").exists()


def test_a_cache_is_kept_and_copied_from(proxy: Proxy, bucket, labels, params, tmp_path):
    remote = patient_remote(proxy, cache=tmp_path / "cache")
    bring("folder", "s3://bucket/export", labels, tmp_path / "data", params, remote=remote)
    inodes = [{p.stat().st_ino for p in (tmp_path / n).rglob("*") if p.is_file()} for n in ("cache", "data/dicom")]
    assert len(inodes[0]) == len(inodes[1]) and not inodes[0] & inodes[1]
    for cache in (tmp_path / "data" / "cache", tmp_path):
        again = patient_remote(proxy, cache=cache)
        with pytest.raises(InputError, match="contain one another"):
            bring("folder", "s3://bucket/export", labels, tmp_path / "data", params, remote=again, replace=True)


def test_objects_that_are_not_handed_over(proxy: Proxy, bucket, labels, params, tmp_path):
    proxy.share, proxy.faults = 0.2, ("flip",)
    remote = patient_remote(proxy, attempts=1, connections=1)
    with pytest.raises(InputError, match=r"could not be fetched .* or add --lenient to go on without them"):
        bring("folder", "s3://bucket/export", labels, tmp_path / "data", params, remote=remote)
    shutil.rmtree(tmp_path / ".data.fetched")
    said, _ = bring("folder", "s3://bucket/export", labels, tmp_path / "data", params, remote=remote, lenient=True)
    with (tmp_path / "data" / "labels_report.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    lost = [row for row in rows if row["code"] == "not_read"]
    assert lost and all("source_unreachable" in row["detail"] for row in lost)
    there = sum(p.is_file() for p in (tmp_path / "data" / "dicom").rglob("*"))
    assert there + len(lost) == sum(p.is_file() for p in bucket.rglob("*"))
    assert "Left out: " in said and str(len(lost)) in said


def test_the_command_and_its_mistakes(proxy: Proxy, bucket, labels, project):
    arguments = ("cohort", "folder", "s3://bucket/export", "--labels", labels, "--endpoint-url", proxy.url)
    status, out, err = ich(*arguments)
    assert status == 0, err
    assert "make repro" in out and "ich profile laptop" in out
    assert Path("data/cohort.json").is_file() and not Path(".data.fetched").exists()
    status, out, err = ich(*arguments)
    assert (status, out) == (2, "") and "add --replace" in err
    nowhere = ("cohort", "folder", "s3://nobody/x", "--labels", labels, "--replace", "--endpoint-url", proxy.url)
    status, out, err = ich(*nowhere)
    assert (
        (status, out) == (2, "") and "s3://nobody/x cannot be listed (404 NoSuchBucket" in err and err.count("\n") == 1
    )


def test_only_deidentified_copies_enter(proxy: Proxy, bucket, labels, project, phantom_export):
    new_key(Path("../key"))
    arguments = ("cohort", "folder", "s3://bucket/export", "--labels", labels, "--endpoint-url", proxy.url)
    status, out, err = ich(*arguments, "--deidentify", "../key")
    assert status == 0, err
    assert "de-identified" in out and not Path(".data.fetched").exists()
    originals = {p.read_bytes() for p in phantom_export.rglob("*") if p.is_file()}
    copies = [p.read_bytes() for p in Path("data/dicom").rglob("*") if p.is_file()]
    assert copies and not originals & set(copies)
    status, out, err = ich("deidentify", "data/dicom", "--check")
    assert status == 0, out


def test_deidentified_from_the_bucket_as_from_the_folder(proxy: Proxy, bucket, params, tmp_path, tree: Tree):
    new_key(tmp_path / "key")
    local = deidentify(Request(bucket, tmp_path / "local", tmp_path / "key"), Options(), params)
    remote = patient_remote(proxy)
    request = Request("s3://bucket/export", tmp_path / "s3", tmp_path / "key", remote=remote)
    assert deidentify(request, Options(), params).outcomes == local.outcomes
    assert tree(tmp_path / "s3") == tree(tmp_path / "local")
    assert {p.name for p in tmp_path.iterdir()} == {"key", "local", "s3"}
    found = check("s3://bucket/export", params.ingest.archives, remote=remote)
    assert found == check(bucket, params.ingest.archives) and found


def test_deidentified_without_what_the_store_withholds(proxy: Proxy, bucket, params, tmp_path):
    new_key(tmp_path / "key")
    proxy.share, proxy.faults = 0.2, ("flip",)
    remote = patient_remote(proxy, attempts=1, connections=1, accept_missing=True)
    request = Request("s3://bucket/export", tmp_path / "s3", tmp_path / "key", remote=remote)
    result = deidentify(request, Options(), params)
    lost = result.outcomes[Outcome.SOURCE_UNREACHABLE]
    zipped = result.outcomes[Outcome.ARCHIVE]
    assert lost > 0
    assert len(result.rows) == sum(p.is_file() for p in bucket.rglob("*")) + 10 * zipped


def test_what_would_be_replaced_is_refused_before_anything_is_read(proxy: Proxy, bucket, labels, project):
    Path("data").mkdir()
    new_key(Path("data/key"))
    shutil.copy(labels, "data/mine.csv")
    new_key(Path("../key"))
    shutil.rmtree("../cache", ignore_errors=True)
    start = ("cohort", "folder", "s3://bucket/export", "--endpoint-url", proxy.url, "--replace")
    for arguments, sentence in (
        (("--labels", labels, "--deidentify", "data/key"), "data/key lies in data/, which is replaced"),
        (("--labels", "data/mine.csv", "--deidentify", "../key"), "data/mine.csv lies in data/"),
        (("--labels", "data/mine.csv"), "data/mine.csv lies in data/"),
        (("--labels", labels, "--cache", "data/c", "--deidentify", "../key"), "--cache data/c and data contain"),
        (("--labels", labels, "--cache", ".", "--deidentify", "../key"), "--cache . and data contain"),
        (("--labels", labels, "--cache", ".data.partial"), "--cache .data.partial and data contain"),
        (("--labels", labels, "--cache", "../key", "--deidentify", "../key"), "--cache ../key is a file"),
    ):
        proxy.fetched = []
        status, out, err = ich(*start, *arguments)
        assert (status, out) == (2, "") and sentence in err and err.count("\n") == 1, (arguments, out, err)
        assert proxy.fetched == [] and sorted(p.name for p in Path("data").iterdir()) == ["key", "mine.csv"]
    (Path("data") / "other").write_text("mine")
    status, _, err = ich(*(a for a in start if a != "--replace"), "--labels", labels, "--deidentify", "../key")
    assert status == 2 and "add --replace" in err and proxy.fetched == []


def test_a_killed_deidentification_leaves_nothing_after_the_next_run(proxy: Proxy, bucket, labels, project):
    """Its folder has one name, so that the next run finds it; sentences name what the user named."""
    new_key(Path("../key"))
    left = Path(".state/deidentified/export/.members")
    left.mkdir(parents=True)
    (left / "1").write_text("SMITH^JOHN")
    wrong = pd.read_csv(labels, dtype=str).assign(SOPInstanceUID="2.25.9").drop_duplicates("SOPInstanceUID")
    wrong.to_csv("../wrong.csv", index=False)
    start = ("cohort", "folder", "s3://bucket/export", "--endpoint-url", proxy.url, "--deidentify", "../key")
    status, out, err = ich(*start, "--labels", "../wrong.csv", "--lenient")
    assert (status, out) == (2, "") and "../wrong.csv labels nothing that is in s3://bucket/export" in err
    assert not Path(".state/deidentified").exists() and Path(".data.fetched").is_dir() and not Path("data").exists()
    proxy.fetched = []
    status, out, err = ich(*start, "--labels", labels)
    assert status == 0, err
    assert proxy.fetched == [] and not Path(".data.fetched").exists() and not Path(".state/deidentified").exists()
    assert len(list(Path("data").glob("deidentification_*"))) == 3


def test_a_cohort_of_a_folder_leaves_what_was_fetched(proxy: Proxy, bucket, labels, params, tmp_path):
    """It did not put it there; one of a bucket goes on with it and removes it."""
    (tmp_path / ".data.fetched").mkdir()
    (tmp_path / ".data.fetched" / "object").write_text("SMITH^JOHN")
    bring("folder", bucket, labels, tmp_path / "data", params)
    assert {p.name for p in tmp_path.iterdir()} == {"data", ".data.fetched"}
    remote = Remote(endpoint_url=proxy.url)
    bring("folder", "s3://bucket/export", labels, tmp_path / "data", params, replace=True, remote=remote)
    assert {p.name for p in tmp_path.iterdir()} == {"data"}


def test_options_of_a_bucket_with_a_folder_are_refused(bucket, tmp_path):
    with pytest.raises(InputError, match=r"--cache .*c is for s3://bucket/prefix, and .*export is none"):
        open_source(bucket, Remote(cache=tmp_path / "c"))


def test_a_check_keeps_nothing_and_removes_what_a_killed_one_left(proxy: Proxy, bucket, params, tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    dead = subprocess.Popen(["true"])
    dead.wait()
    for pid in (dead.pid, os.getpid()):
        (tmp_path / f"ich-check-{pid}-x").mkdir()
    proxy.share, proxy.faults = 0.2, ("flip",)
    with pytest.raises(InputError, match=r"run it again, with --cache FOLDER it keeps the others; or add"):
        check("s3://bucket/export", params.ingest.archives, remote=patient_remote(proxy, attempts=1, connections=1))
    assert [p.name for p in tmp_path.iterdir() if p.name.startswith("ich-")] == [f"ich-check-{os.getpid()}-x"]


def test_without_links_the_disk_must_hold_a_copy(
    proxy: Proxy, bucket, phantom_export, labels, params, tmp_path, tree: Tree, monkeypatch
):
    def refused(*_: object) -> None:
        raise OSError(errno.EPERM, "no links here")

    monkeypatch.setattr("os.link", refused)
    remote = patient_remote(proxy)
    bring("folder", "s3://bucket/export", labels, tmp_path / "data", params, remote=remote)
    assert tree(tmp_path / "data" / "dicom") == tree(bucket)
    full = shutil.disk_usage(tmp_path)._replace(free=9)
    monkeypatch.setattr("shutil.disk_usage", lambda _: full)
    with pytest.raises(InputError, match=r"needs 0\.0 GB"):
        bring("folder", phantom_export, labels, tmp_path / "data", params, replace=True)
