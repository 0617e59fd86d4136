"""Kills and signals at any moment: what was there stays or is put back, and the next run gives what no kill would have changed."""

from __future__ import annotations

import hashlib
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from ich_pipeline.commands.cohort import bring, make_phantom
from ich_pipeline.commands.ingest import ingest_source
from ich_pipeline.config import load_params
from ich_pipeline.core.errors import InputError
from ich_pipeline.sources.remote import Remote
from tests.made.ct import ct_slice, save, uid

# Kills itself right before a folder gets this name.
BEFORE_RENAME = """
import os, pathlib, signal
plain = pathlib.Path.rename
def rename(self, target):
    if pathlib.Path(target).name == {name!r}:
        os.kill(os.getpid(), signal.SIGKILL)
    return plain(self, target)
pathlib.Path.rename = rename
"""
INGEST = """
from pathlib import Path
from ich_pipeline.commands.ingest import ingest_source
from ich_pipeline.sources.remote import Remote
ingest_source("in", Path("out"), Remote(), force=True, workers=1)
"""
COHORT = """
from pathlib import Path
from ich_pipeline.commands.cohort import bring
from ich_pipeline.config import load_params
from ich_pipeline.sources.remote import Remote
bring("folder", "in", Path("labels.csv"), load_params(), True, False, Remote())
"""
COMMANDS = {"out": INGEST, "data": COHORT}


def content(folder: Path) -> dict[str, str]:
    """sha256 of every file, hidden ones too."""
    files = [path for path in folder.rglob("*") if path.is_file()]
    return {path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


@pytest.fixture
def here(project: Path) -> Path:
    """A project with an export and its labels."""
    rows = ["SOPInstanceUID,any,epidural,intraparenchymal,intraventricular,subarachnoid,subdural"]
    for number in range(1, 7):
        save(ct_slice(number=number), project / "in" / f"{number}")
        rows.append(f"{uid('P1', 'study', 'series', number)},0,0,0,0,0,0")
    (project / "labels.csv").write_text("\n".join(rows) + "\n")
    return project


def again(name: str, *, replace: bool) -> None:
    """The command that writes the folder of this name."""
    if name == "out":
        ingest_source("in", Path("out"), Remote(), force=replace, workers=1)
    else:
        bring("folder", "in", Path("labels.csv"), load_params(), replace, False, Remote())


def whole(name: str) -> Path:
    """The folder as a run leaves it."""
    again(name, replace=False)
    return Path(name)


@pytest.mark.parametrize("name", COMMANDS)
def test_a_kill_between_two_names_takes_nothing(here: Path, project_root: Path, name: str) -> None:
    folder = whole(name)
    before = content(folder)
    code = BEFORE_RENAME.format(name=name) + COMMANDS[name]
    killed = subprocess.run([sys.executable, "-c", code], env={"PYTHONPATH": str(project_root), "PATH": "/usr/bin"})
    assert killed.returncode == -signal.SIGKILL and not folder.exists(), "the moment is met"
    with pytest.raises(InputError, match=r"--replace|--force"):
        again(name, replace=False)
    assert content(folder) == before
    if name == "data":
        folder.rename(".data.old")
        with pytest.raises(InputError, match="--replace"):
            make_phantom(load_params(), replace=False)
        assert content(folder) == before
    again(name, replace=True)
    assert content(folder) == before
    left = {path.name for path in here.iterdir()} - {"in", "labels.csv", "params.yaml", ".state", name}
    assert not left, "nothing of the killed run is left"


@pytest.mark.long
@pytest.mark.parametrize("name", COMMANDS)
def test_kills_at_random_moments(here: Path, project_root: Path, name: str) -> None:
    folder = whole(name)
    before = content(folder)
    environment = {"PYTHONPATH": str(project_root), "PATH": "/usr/bin"}
    started = time.monotonic()
    subprocess.run([sys.executable, "-c", COMMANDS[name]], env=environment, check=True)
    lasts = time.monotonic() - started
    rng = np.random.default_rng(7)
    for _ in range(20):
        process = subprocess.Popen([sys.executable, "-c", COMMANDS[name]], env=environment)
        time.sleep(rng.uniform(0.3, 1.1) * lasts)
        process.kill()
        process.wait()
        with pytest.raises(InputError, match=r"--replace|--force"):
            again(name, replace=False)
        assert content(folder) == before
    again(name, replace=True)
    assert content(folder) == before


@pytest.mark.parametrize("received", [signal.SIGTERM, pytest.param(signal.SIGHUP, marks=pytest.mark.long)])
def test_a_signal_cleans_up_as_ctrl_c_does(here: Path, project_root: Path, received: signal.Signals) -> None:
    for number in range(7, 400):
        save(ct_slice(study=f"s{number // 8}", number=number), here / "in" / f"{number}")
    before = {path.name for path in here.iterdir()}
    command = [sys.executable, "-m", "ich_pipeline.cli.main", "ingest", "in", "--out", "new", "--workers", "1"]
    environment = {"PYTHONPATH": str(project_root), "PATH": "/usr/bin"}
    process = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    while not Path(".new.partial").exists():
        assert process.poll() is None
        time.sleep(0.01)
    process.send_signal(received)
    _, said = process.communicate(timeout=120)
    assert process.returncode == 130 and "ich: stopped;" in said and "Traceback" not in said
    assert {path.name for path in here.iterdir()} - {".state"} == before
