"""The record: whole lines from several processes, through kills and cuts, without an identifier, and only where it is wanted."""

from __future__ import annotations

import os
import signal
import stat
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from ich_pipeline.cli.main import app
from ich_pipeline.dicom.identity import case_id
from ich_pipeline.watch import record
from tests.made.served import line

WRITER = """
import sys
from ich_pipeline.core.files import private_folder
from ich_pipeline.watch import record
from tests.made.served import line
private_folder(record.place())
number = 0
while number < int(sys.argv[2]):
    with record.locked():
        record.append([line(number, case=f"{sys.argv[1]}-{number}"), line(number, case=f"{sys.argv[1]}+{number}")],
                      record.place() / "2026-01.jsonl")
        if number == 0:
            record.key()
            print("begun", flush=True)
    number += 1
"""


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty project, and where its record lies."""
    monkeypatch.chdir(tmp_path)
    return tmp_path / record.place()


def writer(name: str, count: int, root: Path) -> subprocess.Popen[str]:
    """A process that appends ``count`` times two lines."""
    environment = {**os.environ, "PYTHONPATH": str(root)}
    command = [sys.executable, "-c", WRITER, name, str(count)]
    return subprocess.Popen(command, env=environment, text=True, stdout=subprocess.PIPE)


def append(*cases: str) -> None:
    record.place().mkdir(parents=True, exist_ok=True)
    with record.locked():
        record.append([line(0, case=case) for case in cases], record.place() / "2026-01.jsonl")


def test_several_processes_lose_no_line(here: Path, project_root: Path) -> None:
    writers = [writer(name, 60, project_root) for name in "abc"]
    assert [one.wait(60) for one in writers] == [0, 0, 0]
    log = record.read()
    assert log.unread == 0
    wanted = {f"{name}{sign}{number}" for name in "abc" for sign in "-+" for number in range(60)}
    assert len(log.lines) == len(wanted) and {one.case for one in log.lines} == wanted
    for path in (*here.glob("*.jsonl"), here / record.KEY, here / record.LOCK):
        assert stat.S_IMODE(path.stat().st_mode) == 0o600, path
    assert stat.S_IMODE(here.stat().st_mode) == 0o700


def test_a_killed_process_costs_its_last_line_at_most(here: Path, project_root: Path) -> None:
    killed = writer("killed", 10**9, project_root)
    assert killed.stdout is not None and killed.stdout.readline() == "begun\n"
    time.sleep(0.3)
    killed.send_signal(signal.SIGKILL)
    killed.wait()
    append("after")  # the lock is free
    log = record.read()
    assert log.unread <= 1 and log.lines[-1].case == "after"
    found = [one.case for one in log.lines[:-1]]
    assert found == [f"killed{sign}{number}" for number in range(len(found)) for sign in "-+"][: len(found)] and found


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_what_was_cut_off_is_skipped_and_counted(here: Path, data: st.DataObject) -> None:
    file = here / "2026-01.jsonl"
    file.unlink(missing_ok=True)
    append("a", "b", "c")
    whole = file.read_bytes()
    cut = data.draw(st.integers(0, len(whole)))
    file.write_bytes(whole[:cut])
    append("new")
    ends = [k for k, byte in enumerate(whole) if byte == 10]
    kept = sum(end <= cut for end in ends)  # a line that lacks its line end alone is whole
    log = record.read()
    assert [one.case for one in log.lines] == [*"abc"[:kept], "new"]
    assert log.unread == (cut not in (0, *ends, *(end + 1 for end in ends)))


def test_lines_of_another_kind_are_counted(here: Path) -> None:
    append("a")
    with (here / "2026-01.jsonl").open("ab") as file:
        file.write(b'{"schema":"served/0"}\n[]\n\xff\xfe\nnull\n\n')
    log = record.read()
    assert [one.case for one in log.lines] == ["a"] and log.unread == 4


def test_a_patient_counts_once_and_other_versions_not_at_all() -> None:
    every = [line(0, patient="p"), line(1, patient="p"), line(2), line(3, version=2), line(4, model="other")]
    assert record.one_a_patient(every, "ich-ensemble", 1) == [every[0], every[2]]


def ich(*arguments: str | Path) -> tuple[int, str]:
    done = CliRunner().invoke(app, [str(a) for a in arguments], env={"COLUMNS": "240"})
    return done.exit_code, done.output


def test_predict_keeps_a_line_a_case_without_an_identifier(registered: int, studies, tmp_path: Path) -> None:
    assert ich("predict", studies.folder, "--out", tmp_path / "out")[0] == 0
    log = record.read()
    assert len(log.lines) == 2 and log.unread == 0
    known = record.key()
    assert {one.case for one in log.lines} == {known.token("case", case_id(f"2.25.{n}1")) for n in "78"}
    assert len({one.patient for one in log.lines}) == 1  # both are of one
    for one in log.lines:
        assert (one.by, one.model, one.version, one.slices, one.thickness_mm) == (
            "predict",
            "ich-ensemble",
            registered,
            6,
            5,
        )
        assert one.scores is not None and one.called is not None and one.measured is not None
        assert (one.outcome == "suspected") == one.called["any"]
        assert one.reasons == {"used": 6} and (one.kernel, one.manufacturer) == ("soft", "another maker")
        assert one.measured["brain_median"] is not None
    written = b"".join(path.read_bytes() for path in record.place().rglob("*") if path.is_file())
    for planted in (b"4711-PLANTED", b"PLANTED^PATIENT", b"2.25.7", b"2.25.8", case_id("2.25.71").encode()):
        assert planted not in written


def test_what_is_not_wanted_is_not_kept(registered: int, studies, tmp_path: Path) -> None:
    before = len(record.read().lines)
    (one, *_), _ = studies.files
    out = ("--out", tmp_path / "out")
    assert ich("predict", one.parent, *out, "--no-record")[0] == 0
    assert ich("predict", one.parent, *out, "--demonstration")[0] == 0
    text = Path("params.yaml").read_text()
    values = yaml.safe_load(text)
    values["watch"]["record"] = False
    Path("params.yaml").write_text(yaml.safe_dump(values, sort_keys=False))
    try:
        assert ich("predict", one.parent, *out)[0] == 0
    finally:
        Path("params.yaml").write_text(text)
    phantom = tmp_path / "phantom"  # a head of the phantom, which a hospital's version is tried with
    from ich_pipeline.phantom.scanners import SCANNERS
    from tests.made.system import head, write_study

    write_study(phantom, head(4), "9", SCANNERS[0].manufacturer, SCANNERS[0].kernel)
    assert ich("predict", phantom, *out)[0] == 0
    assert len(record.read().lines) == before


def test_a_study_without_a_series_is_kept_as_failed(registered: int, studies, tmp_path: Path) -> None:
    before = len(record.read().lines)
    (one, *_), _ = studies.files
    assert ich("predict", one, "--out", tmp_path / "out")[0] == 2  # one slice
    last = record.read().lines[before:]
    assert [(one.outcome, one.scores, one.measured) for one in last] == [("failed", None, None)]


def test_an_answer_is_worth_more_than_its_line(registered: int, studies, tmp_path: Path) -> None:
    moved = record.place().rename(record.place().with_name("elsewhere"))
    try:
        record.place().write_text("in the way")
        status, said = ich("predict", studies.folder, "--out", tmp_path / "out")
        assert status == 0, said
        assert (tmp_path / "out" / "index.html").is_file()
    finally:
        record.place().unlink()
        moved.rename(record.place())
