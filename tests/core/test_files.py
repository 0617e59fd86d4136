"""Atomic writing: an error or a kill leaves the target as it was; tables refuse another schema."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pandas as pd
import pytest

from ich_pipeline.core.errors import InputError
from ich_pipeline.core.files import (
    atomic_dir,
    atomic_file,
    close_to_others,
    read_json,
    read_table,
    write_json,
    write_table,
    write_text,
)


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.rglob("*"))


def test_directory_replaces_the_old_one_whole(tmp_path: Path) -> None:
    target = tmp_path / "out"
    for name in ("old", "new"):
        with atomic_dir(target) as partial:
            (partial / name).write_text(name)
            assert names(target) == ([] if name == "old" else ["old"])
    assert names(tmp_path) == ["new", "out"]


def test_failed_directory_leaves_the_old_one(tmp_path: Path) -> None:
    target = tmp_path / "out"
    with atomic_dir(target) as partial:
        (partial / "old").touch()
    with pytest.raises(RuntimeError, match="stop"), atomic_dir(target) as partial:
        (partial / "new").touch()
        raise RuntimeError("stop")
    assert names(tmp_path) == ["old", "out"]


def test_failed_file_leaves_the_old_one(tmp_path: Path) -> None:
    target = tmp_path / "table.csv"
    write_text(target, "old\n")
    with pytest.raises(RuntimeError, match="stop"), atomic_file(target) as partial:
        assert partial.suffix == ".csv"
        partial.write_text("half")
        raise RuntimeError("stop")
    assert target.read_text() == "old\n"
    assert names(tmp_path) == ["table.csv"]


KILLED = """
import sys, time
from pathlib import Path
from ich_pipeline.core.files import atomic_dir
with atomic_dir(Path(sys.argv[1])) as partial:
    (partial / "half").touch()
    print("writing", flush=True)
    time.sleep(60)
"""


def test_kill_leaves_the_old_one_and_the_next_try_cleans_up(tmp_path: Path) -> None:
    target = tmp_path / "out"
    with atomic_dir(target) as partial:
        (partial / "old").touch()
    process = subprocess.Popen([sys.executable, "-c", KILLED, str(target)], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "writing\n"
    process.kill()
    process.communicate()
    assert names(target) == ["old"]
    assert (tmp_path / ".out.partial" / "half").exists()
    with atomic_dir(target) as partial:
        (partial / "new").touch()
    assert names(tmp_path) == ["new", "out"]


def test_json_is_sorted_and_refuses_nan(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    write_json(path, {"b": 1, "a": "é"})
    assert path.read_bytes() == '{\n "a": "é",\n "b": 1\n}\n'.encode()
    with pytest.raises(ValueError, match="JSON"):
        write_json(path, {"a": float("nan")})
    assert read_json(path) == {"a": "é", "b": 1}
    assert names(tmp_path) == ["a.json"]


def test_json_faults_are_sentences(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"a\.json is missing: run `make repro`"):
        read_json(tmp_path / "a.json")
    (tmp_path / "a.json").write_text("{")
    with pytest.raises(InputError, match=r"a\.json is not JSON \(.*\): remove it and run its stage again"):
        read_json(tmp_path / "a.json")


def test_table_round_trip_is_the_same_bytes_each_time(tmp_path: Path) -> None:
    table = pd.DataFrame({"case_id": ["C1", "C2"], "position_mm": [1.5, -2.0], "index": [0, 1]})
    bytes_of = []
    for _ in range(2):
        write_table(tmp_path / "t.parquet", table, "slices/1")
        bytes_of.append((tmp_path / "t.parquet").read_bytes())
        time.sleep(0.01)
    assert bytes_of[0] == bytes_of[1]
    pd.testing.assert_frame_equal(read_table(tmp_path / "t.parquet", "slices/1"), table, check_dtype=False)


def test_table_of_another_schema_is_refused(tmp_path: Path) -> None:
    write_table(tmp_path / "t.parquet", pd.DataFrame({"a": [1]}), "slices/1")
    with pytest.raises(InputError) as caught:
        read_table(tmp_path / "t.parquet", "slices/2")
    assert str(caught.value) == (
        f"{tmp_path / 't.parquet'} has table schema 'slices/1' where this version reads 'slices/2': run its stage again with "
        "`dvc repro -f`."
    )
    pd.DataFrame({"a": [1]}).to_parquet(tmp_path / "plain.parquet")
    with pytest.raises(InputError, match="has table schema 'none'"):
        read_table(tmp_path / "plain.parquet", "slices/1")
    with pytest.raises(InputError, match="is missing"):
        read_table(tmp_path / "nowhere.parquet", "slices/1")


@pytest.fixture
def open_handed() -> Iterator[None]:
    """The umask that hides nothing."""
    before = os.umask(0)
    yield
    os.umask(before)


def modes(*paths: Path) -> set[int]:
    return {stat.S_IMODE(path.stat().st_mode) for path in paths}


def test_what_is_written_is_its_owners_alone_whatever_the_umask(tmp_path: Path, open_handed: None) -> None:
    target = tmp_path / "new" / "out"
    with atomic_dir(target) as partial:
        (partial / "sub").mkdir()
        (partial / "sub" / "plain").write_text("x")
        child = "import sys; open(sys.argv[1], 'w').close()"
        subprocess.run([sys.executable, "-c", child, str(partial / "by a child")], check=True)
        write_json(partial / "a.json", {})
    assert modes(target.parent, target, target / "sub") == {0o700}
    assert modes(*(path for path in target.rglob("*") if path.is_file())) == {0o600}
    assert os.umask(0) == 0, "the caller's own is as before"
    write_text(tmp_path / "deep" / "er" / "a.txt", "x")
    write_table(tmp_path / "t.parquet", pd.DataFrame({"a": [1]}), "t/1")
    assert modes(tmp_path / "deep", tmp_path / "deep" / "er") == {0o700}
    assert modes(tmp_path / "deep" / "er" / "a.txt", tmp_path / "t.parquet") == {0o600}


def test_planted_links_are_not_followed(tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.mkdir()
    (victim / "kept").write_text("mine")
    out = tmp_path / "out"
    out.mkdir()
    for name in ("a.txt", ".partial.a.txt"):
        (out / name).symlink_to(victim / "kept")
    write_text(out / "a.txt", "new")
    assert (out / "a.txt").read_text() == "new" and not (out / "a.txt").is_symlink()
    for kind in ("partial", "old"):
        (tmp_path / f".b.{kind}").symlink_to(victim)
    with atomic_dir(tmp_path / "b") as partial:
        (partial / "kept").write_text("new")
    assert (tmp_path / "b" / "kept").read_text() == "new"
    assert (victim / "kept").read_text() == "mine" and list(victim.iterdir()) == [victim / "kept"]


def test_folders_left_open_are_closed_but_not_those_shared_on_purpose(tmp_path: Path) -> None:
    for name, before, after in (("a", 0o755, 0o700), ("b", 0o777, 0o700), ("c", 0o2770, 0o2770), ("d", 0o500, 0o500)):
        (tmp_path / name).mkdir()
        (tmp_path / name).chmod(before)
        close_to_others(tmp_path / name)
        assert modes(tmp_path / name) == {after}, name
    (tmp_path / "elsewhere").mkdir(mode=0o755)
    (tmp_path / "link").symlink_to(tmp_path / "elsewhere")
    before = modes(tmp_path / "elsewhere")
    close_to_others(tmp_path / "link")
    close_to_others(tmp_path / "absent")
    assert modes(tmp_path / "elsewhere") == before
