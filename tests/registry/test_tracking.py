"""Runs in a real SQLite store: nesting, replacement, status, names, provenance."""

from __future__ import annotations

import multiprocessing
import os
import subprocess
from pathlib import Path

import pytest

from ich_pipeline.config import Params
from ich_pipeline.core.errors import InputError
from ich_pipeline.registry import provenance, store
from ich_pipeline.registry.tracking import close_abandoned_runs, end_pipeline_run, open_run, start_pipeline_run


@pytest.fixture(autouse=True)
def in_project(project: Path) -> None:
    """All tests here run in the empty project."""


def test_a_run_is_nested_under_the_pipelines(params: Params, monkeypatch: pytest.MonkeyPatch) -> None:
    parent = start_pipeline_run(params)
    monkeypatch.setenv("ICH_RUN_ID", parent)
    with open_run("train", "vgg16", params) as recorder:
        recorder.params({"network": {"image_size": 64}})
        for epoch in (1, 2):
            recorder.metrics({"val_loss": 1.0 / epoch}, step=epoch)
        seen = recorder.client.get_run(recorder.run_id)
        assert seen.info.status == "RUNNING"
        assert seen.data.metrics["val_loss"] == 0.5  # there while training goes on
    run = recorder.client.get_run(recorder.run_id)
    assert run.info.status == "FINISHED"
    assert run.info.run_name == "train@vgg16"
    assert run.data.tags["mlflow.parentRunId"] == parent
    assert run.data.params["network.image_size"] == "64"
    assert [m.value for m in recorder.client.get_metric_history(recorder.run_id, "val_loss")] == [1.0, 0.5]
    assert recorder.client.get_run(parent).info.status == "RUNNING"  # its owner closes it
    end_pipeline_run(parent, "FINISHED")
    assert recorder.client.get_run(parent).info.status == "FINISHED"


def test_the_same_stage_and_item_is_replaced(params: Params) -> None:
    with open_run("train", "resnet50", params) as first:
        pass
    with open_run("train", "vgg16", params) as other:
        pass
    with open_run("train", "resnet50", params) as second:
        pass
    client = second.client
    assert client.get_run(first.run_id).info.lifecycle_stage == "deleted"
    assert client.get_run(other.run_id).info.lifecycle_stage == "active"
    parents = {client.get_run(r).data.tags["mlflow.parentRunId"] for r in (first.run_id, other.run_id, second.run_id)}
    assert len(parents) == 1  # a stage alone finds the run of its inputs


def test_other_params_are_another_parent(params: Params) -> None:
    with open_run("calibrate", None, params) as one:
        pass
    with open_run("calibrate", None, params.model_copy(update={"seed": params.seed + 1})) as two:
        pass
    tags = [one.client.get_run(r.run_id).data.tags for r in (one, two)]
    assert tags[0]["mlflow.parentRunId"] != tags[1]["mlflow.parentRunId"]


def test_a_failing_body_marks_its_run_and_parent_failed(params: Params) -> None:
    opened = []
    with pytest.raises(ZeroDivisionError), open_run("evaluate", "test_prospective", params) as recorder:
        opened.append(recorder)
        raise ZeroDivisionError
    (recorder,) = opened
    run = recorder.client.get_run(recorder.run_id)
    assert run.info.status == "FAILED"
    assert recorder.client.get_run(run.data.tags["mlflow.parentRunId"]).info.status == "FAILED"


def test_an_interrupted_body_is_killed(params: Params) -> None:
    opened = []
    with pytest.raises(KeyboardInterrupt), open_run("train", "vgg16", params) as recorder:
        opened.append(recorder)
        raise KeyboardInterrupt
    (recorder,) = opened
    assert recorder.client.get_run(recorder.run_id).info.status == "KILLED"


def test_a_run_id_of_another_store_is_one_sentence(params: Params, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ICH_RUN_ID", "0" * 32)
    with pytest.raises(InputError, match="ICH_RUN_ID"), open_run("train", "vgg16", params):
        pass


def test_metric_names_and_nulls(params: Params) -> None:
    with open_run("evaluate", "test_retrospective", params) as recorder:
        recorder.metrics(
            {
                "slice": {
                    "any": {"sensitivity@balanced": {"value": 0.8, "low": None, "reason": "why"}, "auc": float("nan")}
                }
            }
        )
    found = recorder.client.get_run(recorder.run_id).data.metrics
    assert found == {"slice/any/sensitivity at balanced/value": 0.8}


def test_files_are_kept_below_mlruns(params: Params, project: Path, tmp_path: Path) -> None:
    picture = tmp_path / "roc.png"
    picture.write_bytes(b"png")
    with open_run("report", None, params) as recorder:
        recorder.figure(picture)
        recorder.artifact(tmp_path)
    found = {p.relative_to(project / "mlruns" / "artifacts").parts[1:] for p in (project / "mlruns").rglob("roc.png")}
    assert ("artifacts", "figures", "roc.png") in found
    assert ("artifacts", tmp_path.name, "roc.png") in found


def test_telemetry_is_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MLFLOW_DISABLE_TELEMETRY", raising=False)
    store.client()
    assert os.environ["MLFLOW_DISABLE_TELEMETRY"] == "true"


def test_the_same_inputs_and_commit_are_one_pipeline_run(params: Params) -> None:
    subprocess.run(["git", "init", "-q"], check=True)
    git = ["git", "-c", "user.name=t", "-c", "user.email=t@example.org", "-c", "commit.gpgsign=false"]
    Path("params.yaml").write_text("seed: 1\n")
    Path("data.dvc").write_text("outs:\n- md5: abc123.dir\n  path: data\n")
    subprocess.run(["git", "add", "params.yaml", "data.dvc"], check=True)
    subprocess.run([*git, "commit", "-qm", "one"], check=True)
    first = start_pipeline_run(params)
    assert start_pipeline_run(params) == first
    tags = store.client().get_run(first).data.tags
    head = subprocess.run(["git", "rev-parse", "HEAD"], capture_output=True, text=True, check=True).stdout.strip()
    assert tags["mlflow.source.git.commit"] == head
    assert tags["ich.git_dirty"] == "false"
    assert tags["ich.data"] == "abc123.dir"
    Path("params.yaml").write_text("seed: 2\n")
    assert provenance.git_tags()["ich.git_dirty"] == "true"
    subprocess.run([*git, "commit", "-qam", "two"], check=True)
    assert start_pipeline_run(params) != first


def test_data_hash_tells_data_apart(params: Params) -> None:
    before = provenance.inputs_hash(params)
    Path("data.dvc").write_text("outs:\n- md5: other.dir\n  path: data\n")
    assert provenance.inputs_hash(params) != before


def _record(folder: Path, params: Params, number: int) -> None:
    os.chdir(folder)
    with open_run("train", f"network_{number}", params) as recorder:
        recorder.metrics({"loss": float(number)})


def test_two_stages_that_start_at_once_share_one_database_and_parent(params: Params, tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    processes = [context.Process(target=_record, args=(tmp_path, params, number)) for number in (1, 2)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(120)
    assert [process.exitcode for process in processes] == [0, 0]
    from mlflow import MlflowClient

    client = MlflowClient(f"sqlite:///{tmp_path / 'mlruns' / 'mlflow.db'}")
    runs = client.search_runs([e.experiment_id for e in client.search_experiments()])
    parents = [run for run in runs if run.data.tags["ich.stage"] == "pipeline"]
    assert len(parents) == 1
    assert sorted(r.data.metrics["loss"] for r in runs if r.data.tags["ich.stage"] == "train") == [1.0, 2.0]


def test_what_a_killed_process_left_running_is_ended(params: Params, monkeypatch: pytest.MonkeyPatch) -> None:
    left = start_pipeline_run(params)
    close_abandoned_runs()
    assert store.client().get_run(left).info.status == "KILLED"
    again = start_pipeline_run(params)
    monkeypatch.setattr(store, "is_own", lambda: False)  # in a store that others use, their runs may be alive
    close_abandoned_runs()
    assert store.client().get_run(again).info.status == "RUNNING"
