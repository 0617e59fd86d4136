"""The watched folder of ``retrain.incoming``: what is new there is added, once nothing arrives any more."""

from __future__ import annotations

import os
import shutil
import time
from pathlib import Path

import pytest

from flows import arrivals
from ich_pipeline.config import IncomingParams, Params
from tests.made.arriving import WriteExport, contents, export, table


def watching(params: Params, source: Path, labels: Path, minutes: float) -> Params:
    incoming = IncomingParams(source=str(source), labels=str(labels), quiet_minutes=minutes)
    return params.model_copy(update={"retrain": params.retrain.model_copy(update={"incoming": incoming})})


def test_a_watched_folder_is_added_once_it_is_quiet(
    tmp_path: Path, params: Params, write_export: WriteExport, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    source = export(write_export, tmp_path / "second", [3])
    labels = table(tmp_path / "second.csv", params, [3])
    params = watching(params, source, labels, 30)
    before, now = contents(data), time.time()
    with pytest.raises(arrivals.NotYet, match=r"a file came into retrain\.incoming\.source within 30 minutes"):
        arrivals.bring(params, now + 60)
    assert contents(data) == before
    assert arrivals.bring(params, now + 3600).startswith("3 of 3 files copied")
    assert len(contents(data)) == len(before) + 3
    assert arrivals.bring(params, now + 3600) == ""
    unwatched = params.model_copy(update={"retrain": params.retrain.model_copy(update={"incoming": None})})
    assert arrivals.bring(unwatched, now) == ""


def test_what_a_copy_says_of_its_age_is_not_believed(
    tmp_path: Path, params: Params, write_export: WriteExport, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    source = export(write_export, tmp_path / "second", [3])
    params = watching(params, source, table(tmp_path / "second.csv", params, [3]), 30)
    now = time.time()
    (source / "nowhere").symlink_to("none")
    for path in (tmp_path / "second.csv", source, *source.rglob("*")):
        os.utime(path, (0, 0), follow_symlinks=False)
    with pytest.raises(arrivals.NotYet):
        arrivals.bring(params, now + 60)
    assert arrivals.last_change(source / "vanished", now) == now
    (source / "nowhere").unlink()
    for path in (source, *source.rglob("*")):
        os.utime(path, (now + 1e8, now + 1e8))
    assert arrivals.bring(params, now + 3600).startswith("3 of 3 files copied")


@pytest.mark.parametrize("archive", [False, True])
def test_folders_and_an_archive_are_looked_at_too(
    tmp_path: Path,
    params: Params,
    write_export: WriteExport,
    data: Path,
    monkeypatch: pytest.MonkeyPatch,
    archive: bool,
) -> None:
    monkeypatch.chdir(tmp_path)
    source = export(write_export, tmp_path / "second", [3])
    gone = source / "part.tmp"
    gone.touch()
    if archive:
        source = gone = Path(shutil.make_archive(str(tmp_path / "second"), "zip", source))
    params = watching(params, source, table(tmp_path / "second.csv", params, [3]), 0.02)
    time.sleep(1.5)
    if archive:
        gone.touch()
    else:
        gone.unlink()  # a file that vanished changes its folder alone
    with pytest.raises(arrivals.NotYet):
        arrivals.bring(params, time.time())
    time.sleep(1.5)
    assert arrivals.bring(params, time.time())
