"""The stage ingest on a Dask cluster with a Prefect API: its pieces are tasks of prefect-dask, and name no patient."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.made.cluster import PYTHONPATH, local_cluster
from tests.made.ct import ct_slice, save
from tests.prefect_server import AUTH, Server, post, prefect_server

pytestmark = pytest.mark.long
WAIT = 240.0
IDENTIFIERS = ("PAT00", "Secret", "DOE", "2.25.", "IM_")


@pytest.fixture(scope="module")
def prefect(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A Prefect server of its own."""
    with prefect_server(tmp_path_factory.mktemp("prefect")) as server:
        yield server


def _until(condition: Callable[[], object], told: Callable[[], str]) -> None:
    limit = time.monotonic() + WAIT
    while not condition():
        assert time.monotonic() < limit, told()
        time.sleep(0.1)


def asked(server: Server, what: str) -> Any:
    return post(server.api, f"/{what}/filter", auth=AUTH)


@pytest.fixture
def project(tmp_path: Path, project_root: Path) -> Path:
    """A folder with params.yaml and 16 studies in data/dicom, one with a file that kills its reader."""
    folder = tmp_path / "project"
    for study in range(16):
        for number in range(1, 6):
            name = "IM_kills" if (study, number) == (3, 2) else f"IM_slow{number}"
            image = ct_slice(patient=f"PAT{study:03d}", study=f"study {study}", number=number)
            save(image, folder / "data" / "dicom" / f"DOE^{study}" / name)
    shutil.copy(project_root / "ich_pipeline" / "profiles" / "phantom.yaml", folder / "params.yaml")
    return folder


def start(project: Path, **environment: str) -> subprocess.Popen[str]:
    clean = {k: v for k, v in os.environ.items() if not k.startswith(("PREFECT_", "ICH_", "DASK_"))}
    return subprocess.Popen(
        [sys.executable, "-m", "flows.ingest"],
        cwd=project,
        env={**clean, "PYTHONPATH": PYTHONPATH, **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def finished(process: subprocess.Popen[str]) -> str:
    out, err = process.communicate(timeout=WAIT)
    assert process.returncode == 0, out + err
    assert "80 files: 79 used, 0 set aside, 1 rejected; 16 series of 16 patients" in out
    return out + err


def tree(folder: Path) -> dict[str, bytes]:
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def test_pieces_are_tasks_of_prefect_and_a_killed_worker_loses_none(project, prefect, tmp_path):
    with local_cluster(tmp_path / "dask", http_proxy="http://127.0.0.1:9", no_proxy="") as cluster:  # not for 127.0.0.1
        output = finished(start(project, ICH_DASK=cluster.address, **prefect.client))
        assert "do not reach" not in output
        on_dask = tree(project / "work" / "ingest")

        def kill() -> None:
            partial = project / "work" / ".ingest.partial"
            _until(lambda: len([*partial.glob("volumes/*"), *partial.glob(".staging/*.b2nd")]) >= 4, cluster.logs)
            cluster.kill("w1")

        events = project / "events.jsonl"  # as under the pipeline
        killing = threading.Thread(target=kill)
        process = start(project, ICH_DASK=cluster.address, **prefect.client, ICH_EVENTS=str(events))
        killing.start()
        output += finished(process)
        killing.join()
        with_a_killed_worker = tree(project / "work" / "ingest")
        logs = cluster.logs()
    finished(start(project))
    here = tree(project / "work" / "ingest")
    assert on_dask == here
    assert with_a_killed_worker == here

    def states() -> Counter[str]:
        return Counter(run["state_type"] for run in asked(prefect, "task_runs") if run["name"].startswith("piece"))

    # Two runs: 16 studies in pieces of two, and the piece again that had the deadly file.
    _until(lambda: states() == {"COMPLETED": 18}, lambda: str(states()))
    names = Counter(run["name"] for run in asked(prefect, "flow_runs"))
    assert names == {"ingest": 1, "ingest on Dask": 2}
    assert {run["state_type"] for run in asked(prefect, "flow_runs")} == {"COMPLETED"}
    shown = json.dumps([asked(prefect, what) for what in ("flow_runs", "task_runs", "logs", "artifacts")])
    assert "piece" in shown
    for identifier in IDENTIFIERS:
        assert identifier not in logs + shown + output


def test_where_the_workers_do_not_reach_prefect_the_stage_says_so(project, tmp_path):
    own = socket.gethostbyname(socket.gethostname())
    if own.startswith("127."):
        pytest.skip("this machine's name leads to no address but 127.0.0.1, which no proxy stands before")
    nowhere = "http://127.0.0.1:9"
    with (
        prefect_server(tmp_path, own) as prefect,
        local_cluster(tmp_path / "dask", http_proxy=nowhere, no_proxy="") as cluster,
    ):
        output = finished(start(project, ICH_DASK=cluster.address, **prefect.client))
    assert "the Dask workers do not reach the Prefect API" in output


def test_a_mistake_is_one_sentence(project, prefect):
    process = start(project, ICH_DASK="tcp://127.0.0.1:9", **prefect.client)
    _, err = process.communicate(timeout=WAIT)
    assert process.returncode == 2
    assert [
        line for line in err.splitlines() if line.startswith("ingest: no Dask scheduler answers at 'tcp://127.0.0.1:9'")
    ]
