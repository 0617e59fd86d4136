"""``ich ingest`` as a user runs it."""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pandas as pd
import pytest
from typer.testing import CliRunner

from ich_pipeline.cli import main as cli
from ich_pipeline.ingest.ingest import ingest
from tests.sources.s3_server import KEY, SECRET, Proxy, rclone


@pytest.fixture(scope="module")
def archive(phantom_export: Path, tmp_path_factory: pytest.TempPathFactory, make_zip, make_tar) -> Path:
    """The export as a zip: one patient loose, the others in a tar within."""
    files = {
        p.relative_to(phantom_export).as_posix(): p.read_bytes()
        for p in sorted(phantom_export.rglob("*"))
        if p.is_file()
    }
    first = min(files).split("/")[0]
    inner = make_tar({name: data for name, data in files.items() if not name.startswith(first)}, "w:gz")
    path = tmp_path_factory.mktemp("archive") / "export.zip"
    loose = {name: data for name, data in files.items() if name.startswith(first)}
    path.write_bytes(make_zip({**loose, "rest.tar.gz": inner, "../evil": b"x", "note.txt": b"no image"}))
    return path


@pytest.fixture
def here(project: Path) -> Path:
    return project


def ich(*arguments: str | Path) -> tuple[int, str, str]:
    done = CliRunner().invoke(cli.app, [str(a) for a in arguments], env={"COLUMNS": "240"})
    return done.exit_code, done.stdout, done.stderr


def test_an_archive_becomes_tables_volumes_and_a_table_of_reasons(here, archive, phantom_export):
    status, out, err = ich("ingest", archive, "--out", "out", "--workers", "1")
    assert (status, err) == (0, "")
    account = pd.read_csv(here / "out" / "account.csv", keep_default_na=False)
    files = [p for p in phantom_export.rglob("*") if p.is_file()]
    assert len(account) == len(files) + 4 == account["path"].nunique()  # two archives, what escapes, the note
    reasons = dict(zip(account["path"], account["reason"], strict=True))
    assert (reasons["export.zip"], reasons["export.zip/rest.tar.gz"]) == ("archive", "archive")
    assert reasons["export.zip/../evil"] == "archive_member_unsafe"
    assert reasons["export.zip/note.txt"] == "not_dicom"
    assert any(path.startswith("export.zip/rest.tar.gz/") for path in account["path"])
    for reason, count in account["reason"].value_counts().items():
        assert [line.split()[2] for line in out.splitlines() if line.split()[1:2] == [reason]] == [f"{count:,}"]
    assert f"{len(account)} files: " in out and "Settings: params.yaml." in out
    for name in ("account.csv", "series.parquet", "slices.parquet", "volumes"):
        assert str(Path("out") / name) in out and (here / "out" / name).exists()
    assert sorted(p.name for p in here.iterdir()) == ["out", "params.yaml"]

    before = {p: p.stat().st_mtime_ns for p in (here / "out").rglob("*")}
    assert ich("ingest", archive, "--out", "out")[0] == 2
    assert {p: p.stat().st_mtime_ns for p in (here / "out").rglob("*")} == before


def test_a_folder_of_archives_gives_the_volumes_of_the_folder(archive, phantom_export, tmp_path, ingest_params):
    shutil.copytree(archive.parent, tmp_path / "data" / "dicom")
    packed = ingest(tmp_path / "data" / "dicom", tmp_path / "packed", ingest_params)
    plain = ingest(phantom_export, tmp_path / "plain", ingest_params)
    pd.testing.assert_frame_equal(packed.series, plain.series)
    pd.testing.assert_frame_equal(packed.slices.drop(columns="path"), plain.slices.drop(columns="path"))
    for path in (tmp_path / "plain" / "volumes").iterdir():
        assert (tmp_path / "packed" / "volumes" / path.name).read_bytes() == path.read_bytes()


def test_mistakes_are_one_sentence_with_status_2(here, archive):
    (here / "mine").mkdir()
    (here / "mine" / "thesis.txt").write_text("precious")
    (here / "file").write_text("x")
    (here / "noise").mkdir()
    (here / "noise" / "a").write_text("not an image, but long enough to be looked at")
    for arguments, words in [
        (("nowhere", "--out", "out"), "nowhere is missing"),
        ((archive, "--out", "mine"), "not empty and holds no ingest"),
        ((archive, "--out", "mine", "--force"), "not empty and holds no ingest"),
        ((archive, "--out", "file"), "is a file"),
        (("noise", "--out", "noise/out"), "contain one another"),
        (("mine", "--out", "."), "no name of its own"),
        (("s3:///x", "--out", "out"), "names no bucket"),
        (("s3://bucket/x", "--out", "out", "--endpoint-url", "nonsense"), "nonsense"),
    ]:
        status, out, err = ich("ingest", *arguments)
        assert (status, out) == (2, ""), arguments
        assert words in err and err.count("\n") == 1, err
    assert (here / "mine" / "thesis.txt").read_text() == "precious"
    assert sorted(p.name for p in here.iterdir()) == ["file", "mine", "noise", "params.yaml"]


def test_an_account_of_nothing_is_an_ingest_that_force_replaces(here, archive):
    (here / "noise").mkdir()
    (here / "noise" / "a").write_text("not an image, but long enough to be looked at")
    status, out, err = ich("ingest", "noise", "--out", "out")
    assert (status, out) == (2, "") and err.count("\n") == 1
    assert "noise holds no usable CT series: 1 file not_dicom (" in err and "a row in out/account.csv" in err
    assert pd.read_csv(here / "out" / "account.csv")["path"].tolist() == ["a"]
    status, _, err = ich("ingest", archive, "--out", "out")
    assert status == 2 and "holds an ingest: add --force" in err
    (here / "out" / "thesis.txt").write_text("precious")
    status, _, err = ich("ingest", archive, "--out", "out", "--force")
    assert status == 2 and "not empty and holds no ingest" in err
    (here / "out" / "thesis.txt").unlink()
    assert ich("ingest", archive, "--out", "out", "--force", "--workers", "1")[0] == 0
    before = (here / "out" / "slices.parquet").read_bytes()
    status, _, err = ich("ingest", "noise", "--out", "out", "--force")
    assert status == 2 and "a row in out.unusable/account.csv" in err
    assert (here / "out" / "slices.parquet").read_bytes() == before, "a good ingest is not given up for it"
    (here / "mine").mkdir()
    for name in ("account.csv", "index.html"):
        (here / "mine" / name).write_text("of something else")
    status, _, err = ich("ingest", archive, "--out", "mine", "--force")
    assert status == 2 and "not empty and holds no ingest" in err


def test_without_params_the_settings_are_a_profile_s(here, archive):
    (here / "params.yaml").unlink()
    status, _, err = ich("ingest", archive.parent / "gone", "--out", "out")
    assert status == 2 and "gone is missing" in err
    from ich_pipeline.commands.ingest import ingest_settings

    params, where = ingest_settings()
    assert params.archives.depth >= 2 and where == "profile paper, as there is no params.yaml here"


def test_a_bucket_by_the_environment_s_endpoint(here, archive, monkeypatch, tmp_path):
    (tmp_path / "s3" / "bucket").mkdir(parents=True)
    shutil.copy(archive, tmp_path / "s3" / "bucket")
    with rclone(tmp_path / "s3") as port:
        for name, value in {
            "AWS_ENDPOINT_URL": f"http://127.0.0.1:{port}",
            "AWS_ACCESS_KEY_ID": KEY,
            "AWS_SECRET_ACCESS_KEY": SECRET,
            "AWS_DEFAULT_REGION": "us-east-1",
        }.items():
            monkeypatch.setenv(name, value)
        status, out, err = ich("ingest", "s3://bucket/export.zip", "--out", "out", "--workers", "1")
    assert (status, err) == (0, "") and "archive_member_unsafe" in out
    assert sorted(p.name for p in here.iterdir()) == ["out", "params.yaml"]


def start(*arguments: str | Path, **environment: str) -> subprocess.Popen:
    command = [sys.executable, "-m", "ich_pipeline.cli.main", "ingest", *map(str, arguments)]
    return subprocess.Popen(
        command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, env=os.environ | environment, start_new_session=True
    )


def killed_and_started_again(arguments: tuple[str | Path, ...], out: Path, kills: int, **environment: str) -> float:
    """Run once to the end for the time it takes; then kill −9 at random moments; then run to the end again."""
    began = time.monotonic()
    assert start(*arguments, "--out", out.with_name("whole"), **environment).wait() == 0
    whole = time.monotonic() - began
    rng = random.Random(11)
    for _ in range(kills):
        process = start(*arguments, "--out", out, "--force", **environment)
        try:
            process.wait(rng.uniform(0.3, 1.0) * whole)
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGKILL)
            process.wait()
        if out.exists():  # whole, or not there
            assert {p.name for p in out.iterdir()} >= {"account.csv", "series.parquet", "slices.parquet", "volumes"}
    last = start(*arguments, "--out", out, "--force", **environment)
    _, err = last.communicate()
    assert last.returncode == 0, err
    return whole


@pytest.mark.parametrize("kills", [1, pytest.param(8, marks=pytest.mark.long)])
def test_killed_at_random_moments_it_ends_with_the_same_bytes(here, archive, tree, kills):
    killed_and_started_again((archive, "--workers", "2"), here / "out", kills)
    assert tree(here / "out") == tree(here / "whole")
    assert sorted(p.name for p in here.iterdir()) == ["out", "params.yaml", "whole"]


@pytest.mark.long
def test_killed_while_it_fetches(here, archive, phantom_export, tree, tmp_path):
    export = tmp_path / "s3" / "bucket" / "export"
    shutil.copytree(phantom_export, export)
    shutil.copy(archive, export)
    with rclone(tmp_path / "s3") as port, Proxy(port, tmp_path / "s3").serving() as proxy:
        proxy.share, proxy.faults = 0.2, ("cut", "reset", "busy", "dribble")
        environment = {
            "AWS_ACCESS_KEY_ID": KEY,
            "AWS_SECRET_ACCESS_KEY": SECRET,
            "AWS_DEFAULT_REGION": "us-east-1",
            "AWS_ENDPOINT_URL": proxy.url,
        }
        killed_and_started_again(("s3://bucket/export", "--workers", "2"), here / "out", kills=8, **environment)
    assert tree(here / "out") == tree(here / "whole")
    assert sorted(p.name for p in here.iterdir()) == ["out", "params.yaml", "whole"]
