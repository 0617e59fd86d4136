"""The servers of ``make ui``, the pipeline as a flow, and the served retraining: all real, on 127.0.0.1, stopped by pid."""

from __future__ import annotations

import json
import os
import shutil
import stat
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest
import yaml

from tests.prefect_server import WAIT, authorization, get, post, stop

from .conftest import Project, without_pictures

pytestmark = pytest.mark.timeout(1500)  # the first test of a file waits for the whole chain


def start(project: Project, module: str, log: Path, **environment: str) -> subprocess.Popen[bytes]:
    clean = {k: v for k, v in os.environ.items() if not k.startswith(("PREFECT_", "MLFLOW_", "ICH_"))}
    path = os.pathsep.join([str(Path(sys.executable).parent), clean.get("PATH", "")])
    with log.open("wb") as file:
        return subprocess.Popen(
            [sys.executable, "-m", module],
            cwd=project.root,
            env={**clean, "PATH": path, "MLFLOW_DISABLE_TELEMETRY": "true", **environment},
            stdout=file,
            stderr=subprocess.STDOUT,
        )


NO_PROXY_THERE = {
    "http_proxy": "http://127.0.0.1:9",
    "HTTP_PROXY": "http://127.0.0.1:9",
    "no_proxy": "",
    "NO_PROXY": "",
}


def pages_of(project: Project, ui: subprocess.Popen[bytes], log: Path) -> dict[str, str]:
    """What `make ui` says of itself once it runs."""
    pages = project.root / ".state" / "ui.json"
    deadline = time.monotonic() + WAIT
    while not pages.is_file():
        assert ui.poll() is None and time.monotonic() < deadline, log.read_text()
        time.sleep(0.5)
    return json.loads(pages.read_text())


def login_of(project: Project) -> str:
    """What the user pastes into the page."""
    return (project.root / ".state" / "prefect-login").read_text().strip()


@pytest.fixture(scope="module")
def served(chain: Project, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Project, dict[str, str]]]:
    """A copy of the project with its Prefect and MLflow servers running, where a proxy is named that is not there."""
    project = chain.copy(tmp_path_factory.mktemp("served") / "project")
    log = project.root / ".state" / "ui.log"
    ui = start(project, "flows.ui", log, **NO_PROXY_THERE)
    try:
        yield project, {**pages_of(project, ui, log), "auth": login_of(project)}
    finally:
        stop(ui)
        assert not (project.root / ".state" / "ui.json").exists()


def test_pipeline_shows_every_stage_as_a_task_with_log_and_artifacts(served: tuple[Project, dict[str, str]]) -> None:
    project, pages = served
    api, auth = pages["prefect_api"], pages["auth"]
    project.params(lambda v: v["explain"].update(atlas_per_label=3))
    done = project.run("flows.pipeline", **NO_PROXY_THERE)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    runs = [r for r in post(api, "/flow_runs/filter", auth=auth) if r["name"] and r["state_name"] == "Completed"]
    assert len(runs) == 1, "stages under the pipeline are its tasks, not flows of their own"
    found = post(api, "/task_runs/filter", {"flow_runs": {"id": {"any_": [runs[0]["id"]]}}}, auth)
    tasks = {task["name"]: task["state_name"] for task in found}
    stages = set(project.run("dvc", "stage", "list", "--name-only").stdout.split())
    assert stages <= set(tasks)
    # The atlas alone is another: no process is started for what does not depend on it.
    unchanged = ("ingest", "train@vgg16", "baselines", "calibrate", "evaluate@test_retrospective")
    assert {tasks[name] for name in unchanged} == {"Unchanged"}
    assert {tasks[name] for name in ("atlas", "report", "register")} == {"Completed"}
    logs = " ".join(entry["message"] for entry in post(api, "/logs/filter", {"limit": 200}, auth))
    assert "Running stage 'atlas'" in logs
    artifacts = post(api, "/artifacts/filter", {"limit": 200}, auth)
    kinds = {a["type"] for a in artifacts}
    assert {"progress", "table", "image", "markdown"} <= kinds, kinds
    text = without_pictures(json.dumps(artifacts).encode()).decode()
    assert "PHANTOM^" not in text and "PH00" not in text


def _refused(url: str, method: str = "GET", **headers: str) -> int:
    """The status of an answer, whatever it is."""
    body = b"{}" if method == "POST" else None
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    request = urllib.request.Request(url, body, {"Content-Type": "application/json", **named}, method=method)
    try:
        with urllib.request.urlopen(request, timeout=60) as answer:
            assert "access-control-allow-origin" not in answer.headers, "a foreign page may read it"
            return answer.status
    except urllib.error.HTTPError as error:
        return error.code


def test_other_pages_and_other_users_get_nothing_from_prefect(served: tuple[Project, dict[str, str]]) -> None:
    project, pages = served
    api, auth = pages["prefect_api"], pages["auth"]
    runs = f"{api}/flow_runs/filter"
    assert _refused(f"{api}/admin/version") == 401
    assert _refused(f"{api}/admin/version", **authorization("ich:guessed")) == 401
    assert _refused(runs, "POST") == 403
    assert _refused(runs, "POST", **authorization(auth)) == 403, "a login alone does not show that our own page asks"
    assert (
        _refused(f"{api}/admin/version", Origin="http://evil.example", **authorization(auth)) == 200
    )  # unreadable there
    assert post(api, "/flow_runs/filter", auth=auth) is not None
    state = project.root / ".state"
    for name in ("prefect-login", "ui.json", "prefect-server.log", "prefect/prefect.db"):
        assert stat.S_IMODE((state / name).stat().st_mode) == 0o600, name
    said = (state / "ui.log").read_text() + (state / "prefect-server.log").read_text()
    assert "cat .state/prefect-login" in said and auth.partition(":")[2] not in said
    for process in psutil.Process(int(pages["pid"])).children(recursive=True):
        assert auth.partition(":")[2] not in " ".join(process.cmdline())


def test_other_machines_pages_change_nothing_in_mlflow(served: tuple[Project, dict[str, str]]) -> None:
    _, pages = served
    search = f"{pages['mlflow_ui']}/api/2.0/mlflow/experiments/search"
    assert _refused(search, "POST", Origin="http://evil.example") == 403
    assert _refused(f"{search}?max_results=1", Host="evil.example") == 403


def test_a_copy_of_the_folder_does_not_use_this_folders_server(
    served: tuple[Project, dict[str, str]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from flows.engine.prefect_api import UI_FILE, api_url, running_ui

    monkeypatch.delenv("PREFECT_API_URL", raising=False)
    project, pages = served
    monkeypatch.chdir(project.root)
    assert api_url() == pages["prefect_api"]
    monkeypatch.chdir(tmp_path)
    (tmp_path / UI_FILE).parent.mkdir()
    shutil.copy(project.root / UI_FILE, tmp_path / UI_FILE)
    assert running_ui() == {} and api_url() is None


@pytest.mark.long
def test_a_killed_ui_leaves_nothing_behind(fresh: Callable[[str], Project]) -> None:
    project = fresh("killed")
    (project.root / ".state").mkdir()
    log = project.root / ".state" / "ui.log"
    ui = start(project, "flows.ui", log)
    pages_of(project, ui, log)
    family = psutil.Process(ui.pid).children(recursive=True)
    assert len(family) >= 4
    ui.kill()
    ui.wait()
    _, alive = psutil.wait_procs(family, timeout=60)
    assert not alive
    done = subprocess.run(
        [
            sys.executable,
            "-c",
            "from flows.engine.prefect_api import api_url, running_ui; print(running_ui(), api_url())",
        ],
        cwd=project.root,
        capture_output=True,
        text=True,
    )
    assert (project.root / ".state" / "ui.json").is_file() and done.stdout.split() == ["{}", "None"]


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
    assert get(pages["mlflow_ui"] + alias)["model_version"]["version"]


def _experiments(url: str) -> list[str]:
    found = post(url, "/api/2.0/mlflow/experiments/search", {"max_results": 50})
    return [e["experiment_id"] for e in found["experiments"]]


@pytest.mark.long
def test_with_two_gpus_trainings_run_side_by_side_to_the_same_bytes(served: tuple[Project, dict[str, str]]) -> None:
    """No GPU is here: two are named, the trainings see none of them, and run at the same time all the same."""
    project, pages = served
    api, auth = pages["prefect_api"], pages["auth"]
    before = yaml.safe_load((project.root / "dvc.lock").read_text())
    trainings = [name for name in before["stages"] if name.startswith(("train@", "ablate@"))]
    assert len(trainings) == 3
    kept = {name: entry for name, entry in before["stages"].items() if name not in trainings}
    (project.root / "dvc.lock").write_text(yaml.safe_dump({**before, "stages": kept}))
    for name in trainings:
        for out in before["stages"][name]["outs"]:
            shutil.rmtree(project.root / out["path"])
    shutil.rmtree(project.root / ".dvc" / "cache" / "runs")
    known = {t["id"] for t in post(api, "/task_runs/filter", {"limit": 200}, auth)}
    done = project.run("flows.pipeline", CUDA_VISIBLE_DEVICES="0,1")
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    after = yaml.safe_load((project.root / "dvc.lock").read_text())
    assert {name: after["stages"][name]["outs"] for name in trainings} == {
        name: before["stages"][name]["outs"] for name in trainings
    }
    tasks = [t for t in post(api, "/task_runs/filter", {"limit": 200}, auth) if t["id"] not in known]
    spans = sorted((t["start_time"], t["end_time"]) for t in tasks if t["name"] in trainings)
    assert len(spans) == 3 and spans[1][0] < spans[0][1], "the second began before the first had ended"
    logs = " ".join(
        entry["message"] for entry in post(api, "/logs/filter", {"limit": 200, "sort": "TIMESTAMP_DESC"}, auth)
    )
    assert "runs on GPU 0" in logs and "runs on GPU 1" in logs
    limit = get(f"{api}/v2/concurrency_limits/ich-gpu", auth)
    assert (limit["limit"], limit["active_slots"]) == (2, 0)


def test_retraining_is_scheduled_and_a_run_from_the_ui_registers_only_what_is_new(
    served: tuple[Project, dict[str, str]],
) -> None:
    project, pages = served
    api, auth = pages["prefect_api"], pages["auth"]
    log = project.root / ".state" / "schedule.log"
    runner = start(project, "flows.retrain", log)
    try:
        deadline = time.monotonic() + WAIT
        planned: list[dict] = []
        while not planned:
            assert runner.poll() is None and time.monotonic() < deadline, log.read_text()
            planned = post(api, "/flow_runs/filter", {"flow_runs": {"state": {"type": {"any_": ["SCHEDULED"]}}}}, auth)
            time.sleep(1)
        assert planned[0]["expected_start_time"]
        deployment = post(api, "/deployments/filter", auth=auth)[0]
        before = _versions(pages["mlflow_ui"])
        _run_from_ui(api, auth, deployment["id"], log)
        assert _versions(pages["mlflow_ui"]) == before, "nothing changed, so nothing is registered"
        project.params(lambda v: v["explain"].update(atlas_per_label=2))
        project.params(lambda v: v["retrain"].update(minimum_new_patients=2))
        seen = project.root / ".state" / "patients.json"
        everyone = seen.read_text()
        seen.write_text(json.dumps(json.loads(everyone)[1:]))  # one is new, and a retraining waits for two
        assert _run_from_ui(api, auth, deployment["id"], log) == "Skipped"
        assert _versions(pages["mlflow_ui"]) == before
        seen.write_text(everyone)
        _run_from_ui(api, auth, deployment["id"], log)
        after = _versions(pages["mlflow_ui"])
        assert len(after) == len(before) + 1
        # So few patients decide nothing: the gate says it in Prefect and beside the version, and nobody is promoted.
        gates = post(api, "/artifacts/filter", {"artifacts": {"key": {"any_": ["gate"]}}}, auth)
        newest = max(after, key=int)
        assert sorted(gate["description"] for gate in gates) == [f"version {v}: cannot decide" for v in after[-2:]]
        assert "patients, 20 of each are needed" in gates[-1]["data"]
        found = get(f"{pages['mlflow_ui']}/api/2.0/mlflow/model-versions/get?name=ich-ensemble&version={newest}")
        tags = {tag["key"]: tag["value"] for tag in found["model_version"]["tags"]}
        assert tags["ich.gate"] == "cannot decide (the floors, test_prospective)"
    finally:
        stop(runner)
    text = json.dumps(post(api, "/logs/filter", {"limit": 200}, auth)) + json.dumps(
        post(api, "/task_runs/filter", auth=auth)
    )
    assert "PH00" not in text and "2.25." not in text


def _run_from_ui(api: str, auth: str, deployment: str, log: Path) -> str:
    """Start a run of the deployment as its button in the UI does, wait until it has completed; the name of its state."""
    run = post(api, f"/deployments/{deployment}/create_flow_run", {}, auth)
    deadline, state, found = time.monotonic() + 2 * WAIT, "", {}  # stages atlas, report and register may run
    while state not in ("COMPLETED", "FAILED", "CRASHED", "CANCELLED"):
        assert time.monotonic() < deadline, log.read_text()[-3000:]
        time.sleep(1)
        found = get(f"{api}/flow_runs/{run['id']}", auth)
        state = found["state_type"]
    assert state == "COMPLETED", log.read_text()[-3000:]
    return found["state_name"]


def _versions(url: str) -> list[str]:
    found = get(f"{url}/api/2.0/mlflow/model-versions/search?filter=name%3D%27ich-ensemble%27")
    return sorted(v["version"] for v in found.get("model_versions", []))
