"""The servers of ``make ui``, the pipeline as a flow, and the served retraining: all real, on 127.0.0.1, stopped by pid."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.prefect_server import WAIT, stop

from .conftest import Project


def post(api: str, path: str, body: dict | None = None) -> Any:
    return _answer(
        urllib.request.Request(
            f"{api}{path}", json.dumps(body or {}).encode(), {"Content-Type": "application/json"}, method="POST"
        )
    )


def _answer(request: urllib.request.Request | str) -> Any:
    """JSON answer; 503 is asked again, as Prefect's client and its pages do: the server sends it while SQLite is busy."""
    deadline = time.monotonic() + WAIT
    while True:
        try:
            with urllib.request.urlopen(request, timeout=30) as answer:
                return json.loads(answer.read())
        except urllib.error.HTTPError as error:
            if error.code != 503 or time.monotonic() > deadline:
                raise
        time.sleep(1)


def start(project: Project, module: str, log: Path) -> subprocess.Popen[bytes]:
    clean = {k: v for k, v in os.environ.items() if not k.startswith(("PREFECT_", "MLFLOW_", "ICH_"))}
    path = os.pathsep.join([str(Path(sys.executable).parent), clean.get("PATH", "")])
    with log.open("wb") as file:
        return subprocess.Popen(
            [sys.executable, "-m", module],
            cwd=project.root,
            env={**clean, "PATH": path, "MLFLOW_DISABLE_TELEMETRY": "true"},
            stdout=file,
            stderr=subprocess.STDOUT,
        )


@pytest.fixture(scope="module")
def served(chain: Project, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Project, dict[str, str]]]:
    """A copy of the project with its Prefect and MLflow servers running."""
    project = chain.copy(tmp_path_factory.mktemp("served") / "project")
    log = project.root / ".state" / "ui.log"
    ui = start(project, "flows.ui", log)
    try:
        pages = project.root / ".state" / "ui.json"
        deadline = time.monotonic() + WAIT
        while not pages.is_file():
            assert ui.poll() is None and time.monotonic() < deadline, log.read_text()
            time.sleep(0.5)
        yield project, json.loads(pages.read_text())
    finally:
        stop(ui)
        assert not (project.root / ".state" / "ui.json").exists()


def test_pipeline_shows_every_stage_as_a_task_with_log_and_artifacts(served: tuple[Project, dict[str, str]]) -> None:
    project, pages = served
    api = pages["prefect_api"]
    project.params(lambda v: v["evaluation"].update(bootstrap=120))
    done = project.run("flows.pipeline")
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    runs = [r for r in post(api, "/flow_runs/filter") if r["name"] and r["state_name"] == "Completed"]
    assert len(runs) == 1, "stages under the pipeline are its tasks, not flows of their own"
    tasks = {t["name"] for t in post(api, "/task_runs/filter", {"flow_runs": {"id": {"any_": [runs[0]["id"]]}}})}
    stages = set(project.run("dvc", "stage", "list", "--name-only").stdout.split())
    assert stages <= tasks
    logs = " ".join(entry["message"] for entry in post(api, "/logs/filter", {"limit": 200}))
    assert "Running stage 'evaluate@test_retrospective'" in logs
    artifacts = post(api, "/artifacts/filter", {"limit": 200})
    kinds = {a["type"] for a in artifacts}
    assert {"progress", "table", "image", "markdown"} <= kinds, kinds
    text = json.dumps(artifacts)
    assert "PHANTOM^" not in text and "PH00" not in text


def test_mlflow_pages_show_the_nested_runs_and_the_model(served: tuple[Project, dict[str, str]]) -> None:
    _, pages = served
    found = post(
        pages["mlflow_ui"],
        "/api/2.0/mlflow/runs/search",
        {"experiment_ids": _experiments(pages["mlflow_ui"]), "max_results": 200},
    )
    names = [r["info"]["run_name"] for r in found["runs"]]
    for part in ("vgg16", "resnet50", "calibrate", "test_prospective"):
        assert any(part in name for name in names), names
    training = next(r for r in found["runs"] if "vgg16" in r["info"]["run_name"])
    assert any(t["key"] == "mlflow.parentRunId" for t in training["data"]["tags"])
    alias = "/api/2.0/mlflow/registered-models/alias?name=ich-ensemble&alias=challenger"
    assert _answer(pages["mlflow_ui"] + alias)["model_version"]["version"]


def _experiments(url: str) -> list[str]:
    found = post(url, "/api/2.0/mlflow/experiments/search", {"max_results": 50})
    return [e["experiment_id"] for e in found["experiments"]]


@pytest.mark.long
def test_with_two_gpus_trainings_run_side_by_side_to_the_same_bytes(served: tuple[Project, dict[str, str]]) -> None:
    """No GPU is here: two are named, the trainings see none of them, and run at the same time all the same."""
    project, pages = served
    api = pages["prefect_api"]
    before = yaml.safe_load((project.root / "dvc.lock").read_text())
    trainings = [name for name in before["stages"] if name.startswith(("train@", "ablate@"))]
    assert len(trainings) == 3
    kept = {name: entry for name, entry in before["stages"].items() if name not in trainings}
    (project.root / "dvc.lock").write_text(yaml.safe_dump({**before, "stages": kept}))
    for name in trainings:
        for out in before["stages"][name]["outs"]:
            shutil.rmtree(project.root / out["path"])
    shutil.rmtree(project.root / ".dvc" / "cache" / "runs")
    known = {t["id"] for t in post(api, "/task_runs/filter", {"limit": 200})}
    done = project.run("flows.pipeline", CUDA_VISIBLE_DEVICES="0,1")
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    after = yaml.safe_load((project.root / "dvc.lock").read_text())
    assert {name: after["stages"][name]["outs"] for name in trainings} == {
        name: before["stages"][name]["outs"] for name in trainings
    }
    tasks = [t for t in post(api, "/task_runs/filter", {"limit": 200}) if t["id"] not in known]
    spans = sorted((t["start_time"], t["end_time"]) for t in tasks if t["name"] in trainings)
    assert len(spans) == 3 and spans[1][0] < spans[0][1], "the second began before the first had ended"
    logs = " ".join(entry["message"] for entry in post(api, "/logs/filter", {"limit": 200, "sort": "TIMESTAMP_DESC"}))
    assert "runs on GPU 0" in logs and "runs on GPU 1" in logs
    limit = _answer(f"{api}/v2/concurrency_limits/ich-gpu")
    assert (limit["limit"], limit["active_slots"]) == (2, 0)


def test_retraining_is_scheduled_and_a_run_from_the_ui_registers_only_what_is_new(
    served: tuple[Project, dict[str, str]],
) -> None:
    project, pages = served
    api = pages["prefect_api"]
    log = project.root / ".state" / "schedule.log"
    runner = start(project, "flows.retrain", log)
    try:
        deadline = time.monotonic() + WAIT
        planned: list[dict] = []
        while not planned:
            assert runner.poll() is None and time.monotonic() < deadline, log.read_text()
            planned = post(api, "/flow_runs/filter", {"flow_runs": {"state": {"type": {"any_": ["SCHEDULED"]}}}})
            time.sleep(1)
        assert planned[0]["expected_start_time"]
        deployment = post(api, "/deployments/filter")[0]
        before = _versions(pages["mlflow_ui"])
        _run_from_ui(api, deployment["id"], log)
        assert _versions(pages["mlflow_ui"]) == before, "nothing changed, so nothing is registered"
        project.params(lambda v: v["explain"].update(atlas_per_label=3))
        _run_from_ui(api, deployment["id"], log)
        assert len(_versions(pages["mlflow_ui"])) == len(before) + 1
    finally:
        stop(runner)
    text = json.dumps(post(api, "/logs/filter", {"limit": 200})) + json.dumps(post(api, "/task_runs/filter"))
    assert "PH00" not in text and "2.25." not in text


def _run_from_ui(api: str, deployment: str, log: Path) -> None:
    """Start a run of the deployment as its button in the UI does, and wait until it has completed."""
    run = post(api, f"/deployments/{deployment}/create_flow_run", {})
    deadline, state = time.monotonic() + WAIT, ""
    while state not in ("COMPLETED", "FAILED", "CRASHED", "CANCELLED"):
        assert time.monotonic() < deadline, log.read_text()[-3000:]
        time.sleep(1)
        state = _answer(f"{api}/flow_runs/{run['id']}")["state_type"]
    assert state == "COMPLETED", log.read_text()[-3000:]


def _versions(url: str) -> list[str]:
    found = _answer(f"{url}/api/2.0/mlflow/model-versions/search?filter=name%3D%27ich-ensemble%27")
    return sorted(v["version"] for v in found.get("model_versions", []))
