"""Where commands may write: nothing of the user's own is removed, a wrong place is told before any work, one run at a time."""

from __future__ import annotations

import errno
import fcntl
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest
from typer.testing import CliRunner

from ich_pipeline.cli import main as cli
from ich_pipeline.core.errors import InputError, refusal
from ich_pipeline.core.files import atomic_dir, real_place
from ich_pipeline.core.lock import LOCK, Busy, output_locked, project_locked
from ich_pipeline.core.outputs import check_new_file, check_output
from ich_pipeline.deidentify.key import new_key

Arguments = Sequence[str | Path]


def ich(*arguments: str | Path) -> tuple[int, str, str]:
    done = CliRunner().invoke(cli.app, [str(a) for a in arguments], env={"COLUMNS": "240"})
    return done.exit_code, done.stdout, done.stderr


def refused(words: str, *arguments: str | Path) -> None:
    """Status 2 and one sentence with these words."""
    status, out, err = ich(*arguments)
    assert (status, out) == (2, ""), (arguments, out, err)
    assert words in err and err.count("\n") == 1, (arguments, err)


def everything(folder: Path) -> dict[str, bytes]:
    found = {str(p.relative_to(folder)): p.read_bytes() if p.is_file() else b"" for p in folder.rglob("*")}
    return {name: data for name, data in found.items() if not name.startswith(".state")}  # the project's own lock


@pytest.fixture
def here(project: Path) -> Path:
    """The current directory, with an export that holds no image, a key and a label table."""
    (project / "base").mkdir()
    (project / "base" / "a").write_text("not an image, but long enough to be looked at")
    new_key(project / "k")
    (project / "labels.csv").write_text("SOPInstanceUID,any\n1.2,0\n")
    (project / "empty").mkdir()
    return project


def commands(source: str | Path, out: str | Path) -> list[Arguments]:
    """Every command that takes a source and a folder to write."""
    return [
        ("ingest", source, "--out", out),
        ("deidentify", source, "--out", out, "--key", "k"),
        ("predict", source, "--out", out),
    ]


COHORTS: list[Arguments] = [
    ("cohort", "folder"),
    ("cohort", "folder", "--deidentify", "k"),
]


@pytest.mark.parametrize("kind", ["partial", "fetched", "old"])
def test_no_source_in_a_place_that_a_run_removes(here: Path, kind: str) -> None:
    for name in (f".o.{kind}", f".data.{kind}"):
        (here / name / "deep").mkdir(parents=True)
        (here / name / "deep" / "slice").write_text("the only copy of the export")
    before = everything(here)
    for arguments in commands(f".o.{kind}/deep", "o")[: 3 if kind == "fetched" else 2]:
        refused(f"SOURCE .o.{kind}/deep lies in .o.{kind}, which a run that writes --out o removes", *arguments)
    for name, *more in COHORTS:
        for source in (f".data.{kind}", f".data.{kind}/deep/slice"):
            refused(f"{source} lies in .data.{kind}, which", name, more[0], source, *more[1:], "--labels", "labels.csv")
    assert everything(here) == before


def test_no_source_that_is_a_link_or_an_account_in_such_a_place(here: Path) -> None:
    (here / ".o.partial").symlink_to("base")
    for arguments in commands(".o.partial", "o")[:2]:
        refused("lies in .o.partial", *arguments)
    for name in ("o.unusable", ".o.unusable.partial"):
        (here / name).mkdir()
        (here / name / "a").write_text("an export")
        refused("o.unusable", "ingest", name, "--out", "o")
    (here / "o" / ".members").mkdir(parents=True)
    (here / "o" / ".members" / "a").write_text("an export")
    (here / "o" / ".unfinished").mkdir()
    refused("SOURCE o/.members lies in .members", "predict", "o/.members", "--out", "o")
    refused("SOURCE o/.unfinished lies in .unfinished", "predict", "o/.unfinished", "--out", "o")
    (here / ".state" / "deidentified").mkdir(parents=True)
    (here / ".state" / "deidentified" / "a").write_text("an export")
    refused(
        "lies in deidentified, which",
        *("cohort", "folder", ".state/deidentified", "--labels", "labels.csv", "--deidentify", "k"),
    )
    assert (here / ".o.partial").is_symlink()
    for left in ("o.unusable/a", ".o.unusable.partial/a", "o/.members/a", ".state/deidentified/a"):
        assert (here / left).read_text() == "an export"


def test_no_key_table_or_linkage_in_such_a_place(here: Path) -> None:
    for folder in (".o.partial", ".o.fetched", ".data.partial"):
        (here / folder).mkdir()
        new_key(here / folder / "k")
        (here / folder / "l.csv").write_text("SOPInstanceUID,any\n1.2,0\n")
    before = everything(here)
    start = ("deidentify", "base", "--out", "o")
    for place in (".o.partial", ".o.fetched"):
        refused(f"--key {place}/k lies in {place}", *start, "--key", f"{place}/k")
        refused(f"--labels {place}/l.csv lies in {place}", *start, "--key", "k", "--labels", f"{place}/l.csv")
        refused(f"--linkage {place}/new lies in {place}", *start, "--key", "k", "--linkage", f"{place}/new")
    refused("--linkage base/l lies in SOURCE base", *start, "--key", "k", "--linkage", "base/l")
    cohort = ("cohort", "folder", "base")
    refused(".data.partial/l.csv lies in .data.partial", *cohort, "--labels", ".data.partial/l.csv")
    refused(
        ".data.partial/k lies in .data.partial",
        *(*cohort, "--labels", "labels.csv", "--deidentify", ".data.partial/k"),
    )
    refused(
        "PREDICTIONS .e.old/p.csv lies in .e.old",
        *("evaluate", ".e.old/p.csv", "--labels", "labels.csv", "--out", "e"),
    )
    assert everything(here) == before


def test_what_was_fetched_stays_where_the_source_is_local(here: Path) -> None:
    (here / ".o.fetched").mkdir()
    (here / ".o.fetched" / "object").write_text("hours of a slow line")
    for arguments in commands("base", "o"):
        assert ich(*arguments)[0] == 2
    assert (here / ".o.fetched" / "object").read_text() == "hours of a slow line"


def test_an_empty_source_is_not_the_current_folder(here: Path) -> None:
    for empty in ("", " "):
        for arguments in commands(empty, "../o"):
            refused("SOURCE is empty: name a folder", *arguments)
        for name, *more in COHORTS:
            refused("SOURCE is empty", name, more[0], empty, *more[1:], "--labels", "labels.csv")
        refused("SOURCE is empty", "deidentify", empty, "--check")
    refused("SOURCE is empty", "predict", "base", "", "--out", "../o")


def test_places_that_cannot_be_written_are_told_before_any_work(here: Path) -> None:
    (here / "file").write_text("x")
    (here / "loop").symlink_to("loop")
    before = everything(here)
    for out, words in [
        (".", "has no name of its own"),
        ("", "has no name of its own"),
        ("..", "has no name of its own"),
        ("/", "has no name of its own"),
        ("o" * 250, "the name is longer than 237 bytes"),
        ("o\udcff", "o\\udcff is no valid UTF-8"),
        ("file", "is a file: name a folder"),
        ("file/x", "--out file/x"),
        ("loop", "leads back to itself"),
        ("/proc/x", "--out /proc/x cannot be written"),
        ("/proc/x/y", "--out /proc/x/y cannot be written"),
    ]:
        for arguments in commands("base", out):
            if arguments[0] == "predict" and words.startswith("--out"):
                continue  # there is no model here, which is told first
            refused(words, *arguments)
        refused(words, "evaluate", "nowhere.csv", "--labels", "labels.csv", "--out", out)
    for linkage in ("/proc/x", "file/x", "/proc/x/y", "l" * 250, ".", "base"):
        refused("--linkage", "deidentify", "base", "--out", "o", "--key", "k", "--linkage", linkage)
    assert everything(here) == before


def test_folders_that_were_made_to_look_are_gone(tmp_path: Path) -> None:
    check_new_file(tmp_path / "a" / "b" / "l.csv", "--linkage")
    with output_locked(tmp_path / "c" / "d" / "o", "--out"):
        assert (tmp_path / "c" / "d" / ".o.lock").read_text() == str(os.getpid())
    assert not list(tmp_path.iterdir())


def test_a_link_stays_one_and_what_it_leads_to_is_replaced(here: Path, tmp_path: Path) -> None:
    target = tmp_path / "big" / "data"
    target.mkdir(parents=True)
    (here / "data").symlink_to(target)
    assert ich("ingest", "base", "--out", "data")[0] == 2  # no usable series: the account is in it
    assert (here / "data").is_symlink() and (target / "account.csv").is_file()
    for name in ("old", "new"):
        with atomic_dir(here / "data") as partial:
            (partial / name).touch()
        assert (here / "data").is_symlink() and [p.name for p in target.iterdir()] == [name]
    assert [p.name for p in target.parent.iterdir()] == ["data"]
    assert not list(here.glob(".data*"))


def test_leftovers_that_are_links_are_unlinked(tmp_path: Path) -> None:
    kept = tmp_path / "kept"
    kept.mkdir()
    (kept / "a").touch()
    for kind in ("old", "partial"):
        (tmp_path / f".o.{kind}").symlink_to(kept)
    (tmp_path / "o").mkdir()
    with atomic_dir(tmp_path / "o") as partial:
        (partial / "new").touch()
    assert sorted(p.name for p in tmp_path.iterdir()) == ["kept", "o"]
    assert [p.name for p in kept.iterdir()] == ["a"] and [p.name for p in (tmp_path / "o").iterdir()] == ["new"]
    assert real_place(tmp_path / "o") == tmp_path / "o"


def test_a_mount_point_is_refused(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("o p", "data"):
        (here / name).mkdir()
    mounted = {str(here / "o p"), str(here / "data")}
    monkeypatch.setattr("ich_pipeline.core.files._mounts", lambda: mounted)
    for arguments in commands("base", "o p")[:2]:
        refused("o p is a mount point", *arguments)
    refused("o p is a mount point", "evaluate", "p.csv", "--labels", "labels.csv", "--out", "o p")
    for name, *more in COHORTS:
        refused("data is a mount point", name, more[0], "base", *more[1:], "--labels", "labels.csv")
    refused("data is a mount point", "cohort", "phantom")
    with pytest.raises(InputError, match="mount point"), atomic_dir(here / "data"):
        pass
    check_output(here / "o p", "--out", replaced=False)


def test_mounts_are_read_with_their_escapes(monkeypatch: pytest.MonkeyPatch) -> None:
    from ich_pipeline.core import files

    line = "36 35 98:0 /mnt1 /mnt/my\\040disk rw,noatime master:1 - ext3 /dev/root rw\n"
    monkeypatch.setattr(Path, "read_text", lambda *a, **k: line)
    assert files._mounts() == {"/mnt/my disk"}


HOLDS = """
import sys, time
from pathlib import Path
from ich_pipeline.core.lock import output_locked
with output_locked(Path(sys.argv[1]), "--out"):
    print("held", flush=True)
    time.sleep(60)
"""


def test_a_second_run_of_one_output_is_refused_and_a_killed_one_holds_nobody_up(here: Path) -> None:
    process = subprocess.Popen([sys.executable, "-c", HOLDS, "o"], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None and process.stdout.readline() == "held\n"
    try:
        for arguments in commands("base", "o")[:2]:
            refused(f"another run (process {process.pid}) writes --out o: wait for it, or stop it", *arguments)
        with output_locked(here / "another", "--out"):
            pass
    finally:
        process.kill()
        process.communicate()
    assert (here / ".o.lock").exists()
    assert ich("ingest", "base", "--out", "o")[0] == 2
    assert (here / "o" / "account.csv").is_file() and not (here / ".o.lock").exists()


def test_a_lock_that_was_removed_while_it_was_waited_for_is_taken_anew(tmp_path: Path, monkeypatch) -> None:
    """Its holder ends between the opening of its file and the locking of it."""
    lock, flock, tries = tmp_path / ".o.lock", fcntl.flock, []

    def late(file, flags):
        if not tries:
            lock.unlink()
        tries.append(1)
        flock(file, flags)

    monkeypatch.setattr(fcntl, "flock", late)
    with output_locked(tmp_path / "o", "--out") as held:
        assert held == lock and lock.read_text() == str(os.getpid()) and len(tries) == 2
    assert not list(tmp_path.iterdir())


def test_what_is_no_lock_of_ours_is_not_written(tmp_path: Path) -> None:
    notes = tmp_path / "notes"
    notes.write_text("mine")
    (tmp_path / ".o.lock").symlink_to(notes)
    with pytest.raises(InputError, match=r"--out .* cannot be written"), output_locked(tmp_path / "o", "--out"):
        pass
    (tmp_path / ".p.lock").write_text("mine too")
    with pytest.raises(InputError, match=r"\.p\.lock is no lock of a run"), output_locked(tmp_path / "p", "--out"):
        pass
    assert notes.read_text() == "mine" and (tmp_path / ".p.lock").read_text() == "mine too"
    (tmp_path / ".q.lock").write_text("4711")  # of a run that was killed
    with output_locked(tmp_path / "q", "--out"):
        pass


def test_what_is_not_replaced_is_locked_inside(tmp_path: Path) -> None:
    with output_locked(tmp_path / "o", "--out", inside=True) as lock:
        assert lock == tmp_path / "o" / ".lock" and [p.name for p in tmp_path.iterdir()] == ["o"]
    assert not list(tmp_path.iterdir())


def test_a_folder_of_the_user_s_own_where_an_account_would_go(here: Path) -> None:
    (here / "o").mkdir()
    for name in ("account.csv", "series.parquet", "slices.parquet"):
        (here / "o" / name).write_text("an ingest")
    (here / "o.unusable").mkdir()
    (here / "o.unusable" / "precious").write_text("mine")
    before = everything(here)
    refused("o.unusable is not from a run of this command", "ingest", "base", "--out", "o", "--force")
    assert everything(here) == before
    (here / "real").mkdir()
    (here / "l").symlink_to(here / "real")
    for name in ("account.csv", "series.parquet", "slices.parquet"):
        (here / "real" / name).write_text("an ingest")
    assert ich("ingest", "base", "--out", "l", "--force")[0] == 2
    assert (here / "real.unusable" / "account.csv").is_file() and not (here / "l.unusable").exists()


def test_a_disk_without_locks_is_written_all_the_same(tmp_path: Path, monkeypatch) -> None:
    def none(file, flags):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", none)
    with output_locked(tmp_path / "o", "--out"):
        pass
    assert not list(tmp_path.iterdir())


def test_an_export_of_which_nothing_is_deidentified_ends_with_status_2(here: Path) -> None:
    (here / "labels.csv").write_text(
        "SOPInstanceUID,any,epidural,intraparenchymal,intraventricular,subarachnoid,subdural\n1.2" + ",0" * 6
    )
    table = ("--labels", "labels.csv")  # what it labels is not asked then
    status, out, err = ich("deidentify", "base", "--out", "o", "--key", "k", "--linkage", "l.csv", *table)
    assert (status, out) == (2, "") and err.count("\n") == 1
    assert "base holds no file that could be de-identified (1 file not_dicom (" in err
    assert "every file has a row in o/account.csv" in err
    assert (
        "not_dicom" in (here / "o" / "account.csv").read_text()
        and "base" not in (here / "o" / "account.csv").read_text()
    )
    assert (here / "l.csv").is_file()
    status, out, err = ich("cohort", "folder", "base", "--labels", "labels.csv", "--deidentify", "k")
    assert (status, out) == (2, "") and "nothing enters data/" in err and not (here / "data").exists()


def test_an_encoding_without_our_signs_ends_no_command(here: Path) -> None:
    code = "import sys; from ich_pipeline.cli import main as cli; import typer; cli.app = lambda: typer.echo('\\u2713 done'); cli.main()"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, env=os.environ | {"PYTHONIOENCODING": "latin-1"}
    )
    assert (done.returncode, done.stdout) == (0, b"? done\n"), done.stderr


def test_a_place_that_is_busy_is_a_sentence() -> None:
    said = refusal(OSError(errno.EBUSY, "Device or resource busy", "m/o"))
    assert said and said.startswith("m/o is in use (Device or resource busy): it is a mount point")


def test_an_empty_file_of_the_users_own_is_held_as_a_lock_and_stays(tmp_path: Path) -> None:
    (tmp_path / ".o.lock").touch()
    with output_locked(tmp_path / "o", "--out"), pytest.raises(InputError, match="another run"):
        output_locked(tmp_path / "o", "--out").__enter__()
    assert (tmp_path / ".o.lock").read_text() == ""


def test_a_busy_project_is_told_from_what_a_user_did_wrong(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with project_locked(), pytest.raises(Busy, match="is at work in this folder: wait for it"), project_locked():
        pass
    LOCK.write_text("no lock")
    with pytest.raises(InputError, match="is no lock of a run") as error, project_locked():
        pass
    assert not isinstance(error.value, Busy)
