"""What lies in a folder beside plain files."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from ich_pipeline.core.errors import InputError
from ich_pipeline.core.progress import quiet
from ich_pipeline.sources.folder import LEADS_OUT, list_files, list_folder
from ich_pipeline.sources.opened import list_several
from ich_pipeline.sources.source import open_source


def test_pipes_and_linked_folders_have_rows_and_are_not_opened(tmp_path: Path) -> None:
    root = tmp_path / "root"
    (root / "a").mkdir(parents=True)
    (root / "a" / "IM1").write_bytes(b"x")
    os.mkfifo(root / "pipe")
    (root / "loop").symlink_to(root)
    (root / "link").symlink_to(root / "a" / "IM1")
    (root / "dangling").symlink_to(root / "nowhere")
    listing = list_folder(root)
    assert [name for _, name in listing.files] == ["a/IM1", "dangling", "link"]
    assert {judged.name: judged.reason.value for judged in listing.judged} == {
        "pipe": "unreadable",
        "loop": "unreadable",
    }
    assert list_files(root) == list(listing.files)


def test_links_out_of_a_folder_are_named_and_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root, elsewhere = tmp_path / "root", tmp_path / "elsewhere"
    (root / "a").mkdir(parents=True)
    elsewhere.mkdir()
    (elsewhere / "IM").write_bytes(b"another patient")
    (root / "a" / "IM").write_bytes(b"x")
    (root / "inside").symlink_to(Path("a", "IM"))
    (root / "absolute").symlink_to(elsewhere / "IM")
    (root / "a" / "upwards").symlink_to(Path("..", "..", "elsewhere", "IM"))
    (root / "a" / "twice").symlink_to(root / "absolute")
    (root / "folder").symlink_to(elsewhere)
    (root / "loop").symlink_to("loop")
    (root / "dangling").symlink_to(tmp_path / "nowhere")
    (tmp_path / "named").symlink_to(root)  # the user's own name for the export
    for named in (root, tmp_path / "named"):
        listing = list_folder(named)
        assert [name for _, name in listing.files] == ["a/IM", "inside"]
        judged = {one.name: (one.reason.value, one.detail) for one in listing.judged}
        assert {name for name, (_, said) in judged.items() if said == LEADS_OUT} == {
            "absolute",
            "a/upwards",
            "a/twice",
            "dangling",
        }
        assert set(judged) == {"absolute", "a/upwards", "a/twice", "dangling", "folder", "loop"}
        assert {reason for reason, _ in judged.values()} == {"unreadable"}
    with pytest.raises(InputError, match=r"a/twice is a link that leads out of the folder.*put the file itself there"):
        list_files(root)
    project = tmp_path / "project"  # with DVC's cache of type symlink
    (project / ".dvc" / "cache").mkdir(parents=True)
    (project / ".dvc" / "cache" / "ab").write_bytes(b"mine")
    (project / "data" / "dicom").mkdir(parents=True)
    (project / "data" / "dicom" / "IM").symlink_to(project / ".dvc" / "cache" / "ab")
    (project / "data" / "dicom" / "other").symlink_to(elsewhere / "IM")
    monkeypatch.chdir(project)
    listing = list_folder(Path("data/dicom"))
    assert [name for _, name in listing.files] == ["IM"] and [one.name for one in listing.judged] == ["other"]


def test_names_that_no_table_can_hold_stay_apart(tmp_path: Path) -> None:
    for name in (b"x\xff", b"x\\xff", b"line\nbreak", "ü".encode()):
        Path(os.fsdecode(os.fsencode(tmp_path) + b"/" + name)).write_bytes(name)
    found = list_files(tmp_path)
    assert sorted(name for _, name in found) == ["line\\x0abreak", "x\\xff", "x\\xff#2", "ü"]
    assert {path.read_bytes() for path, _ in found} == {b"x\xff", b"x\\xff", b"line\nbreak", "ü".encode()}


def test_a_single_file_and_nothing(tmp_path: Path) -> None:
    (tmp_path / "one.dcm").write_bytes(b"x")
    assert len(open_source(tmp_path / "one.dcm").collect(tmp_path, quiet)) == 1
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="holds no files"):
        open_source(tmp_path / "empty")
    with pytest.raises(InputError, match="is missing"):
        open_source("s3:/one/slash")
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(InputError, match="neither a file nor a folder"):
        open_source(tmp_path / "pipe")


def test_several_sources_are_one_listing_without_repeats(tmp_path: Path) -> None:
    for name in ("a/IM1", "a/IM2", "b/IM1"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(name.encode())
    os.mkfifo(tmp_path / "b" / "pipe")
    a, b = tmp_path / "a", tmp_path / "b"
    listing = list_several([a, b, a / "IM2", b / "IM1", a], tmp_path / "fetched")
    assert [path for path, _ in listing.files] == [a / "IM1", a / "IM2", b / "IM1"]
    assert [name for _, name in listing.files] == [f"{a}/IM1", f"{a}/IM2", f"{b}/IM1"]
    assert [one.name for one in listing.judged] == [f"{b}/pipe"]
    assert [name for _, name in list_several([a], tmp_path / "fetched").files] == ["IM1", "IM2"]
    with pytest.raises(InputError, match="nowhere is missing"):
        list_several([a, tmp_path / "nowhere"], tmp_path / "fetched")
