"""Runs: one for a pipeline, nested under it one a stage (and matrix item), with metrics while the work goes on.

The parent is the run that ICH_RUN_ID names; a stage run alone finds or creates the one with the hash of its inputs.
Nothing flows back: a stage's outputs never hold a run's id.
"""

from __future__ import annotations

import contextlib
import math
import os
import re
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from ich_pipeline.config import Params
from ich_pipeline.core.errors import InputError
from ich_pipeline.registry import provenance, store
from ich_pipeline.tables.cohort_mark import data_words

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run

RUN_ID = "ICH_RUN_ID"
STAGE = "ich.stage"
ITEM = "ich.item"
INPUTS = "ich.inputs"
PARENT = "mlflow.parentRunId"
BATCH = 100  # MLflow takes at most so many params in one call
Status = Literal["FINISHED", "FAILED", "KILLED"]


@dataclass(frozen=True)
class Recorder:
    """What a stage's body records into: its run in MLflow. Give it no identifier of a patient."""

    client: MlflowClient
    run_id: str

    def params(self, values: Mapping[str, Any]) -> None:
        """Record settings; nested mappings become ``outer.inner``."""
        from mlflow.entities import Param

        flat = [Param(key, str(value)) for key, value in _flatten(values, ".").items()]
        for start in range(0, len(flat), BATCH):
            self.client.log_batch(self.run_id, params=flat[start : start + BATCH])

    def metrics(self, values: Mapping[str, Any], step: int | None = None) -> None:
        """Record numbers, at once visible in the UI; nested mappings become ``outer/inner``.

        What is no finite number (a metric that the data cannot give, its reason) is left out: MLflow has no null.
        """
        from mlflow.entities import Metric

        now = int(time.time() * 1000)
        numbers = {k: float(v) for k, v in _flatten(values, "/").items() if _is_number(v)}
        batch = [Metric(key, value, now, step or 0) for key, value in numbers.items()]
        for start in range(0, len(batch), 1000):
            self.client.log_batch(self.run_id, metrics=batch[start : start + 1000])

    def figure(self, path: Path) -> None:
        """Keep a picture under ``figures/``."""
        self.client.log_artifact(self.run_id, str(path), "figures")

    def artifact(self, path: Path) -> None:
        """Keep a file, or a folder with what is in it."""
        path = Path(path)
        if path.is_dir():
            self.client.log_artifacts(self.run_id, str(path), path.name)
        else:
            self.client.log_artifact(self.run_id, str(path))

    def tags(self, values: Mapping[str, str]) -> None:
        """Tag the run."""
        for key, value in values.items():
            self.client.set_tag(self.run_id, key, value)


@contextlib.contextmanager
def open_run(stage: str, item: str | None, params: Params, *, replace: bool = True) -> Iterator[Recorder]:
    """A run of a stage, nested under the pipeline's; FAILED when the body raises, KILLED when it is interrupted.

    Args:
        stage: name in dvc.yaml.
        item: matrix item (architecture, test), or None.
        params: all parameters; they and the data's hash name the parent.
        replace: an earlier run of the same stage and item under the same parent goes to MLflow's bin.

    Raises:
        InputError: ICH_RUN_ID names a run that the store does not have.
    """
    client = store.client()
    parent, named = _parent(client, params)
    if replace:
        for earlier in _children(client, parent, stage, item):
            client.delete_run(earlier.info.run_id)
    tags = {STAGE: stage, PARENT: parent, **({ITEM: item} if item else {}), **_origin(params)}
    run = client.create_run(store.experiment_id(client), tags=tags, run_name=f"{stage}@{item}" if item else stage)
    status: Status = "FAILED"
    try:
        yield Recorder(client, run.info.run_id)
        status = "FINISHED"
    except (KeyboardInterrupt, SystemExit):
        status = "KILLED"
        raise
    finally:
        client.set_terminated(run.info.run_id, status)
        if not named:
            client.set_terminated(parent, status)


def start_pipeline_run(params: Params) -> str:
    """The pipeline's own run, for ICH_RUN_ID: the one of these inputs and this commit, or a new one."""
    client = store.client()
    with store.locked():
        found = _of_inputs(client, params, same_commit=True)
        run_id = found.info.run_id if found else _create_parent(client, params)
    client.update_run(run_id, status="RUNNING")
    return run_id


def close_abandoned_runs() -> None:
    """End as KILLED what a killed process left RUNNING in the project's own store; its caller runs alone there."""
    if not store.is_own():
        return
    client = store.client()
    experiment = store.experiment_id(client)
    for run in client.search_runs([experiment], "attributes.status = 'RUNNING'"):
        client.set_terminated(run.info.run_id, "KILLED")


def end_pipeline_run(run_id: str, status: Status) -> None:
    """Close the pipeline's run."""
    store.client().set_terminated(run_id, status)


def _parent(client: MlflowClient, params: Params) -> tuple[str, bool]:
    """The parent's run id, and whether ICH_RUN_ID named it (then its owner closes it)."""
    from mlflow.exceptions import MlflowException

    named = os.environ.get(RUN_ID)
    if named:
        try:
            return client.get_run(named).info.run_id, True
        except MlflowException:
            raise InputError(
                f"{RUN_ID} is {named!r}, a run that MLflow at {store.shown_uri()} does not have: unset it, or set "
                "MLFLOW_TRACKING_URI to the store that has it."
            ) from None
    with store.locked():
        found = _of_inputs(client, params, same_commit=False)
        return (found.info.run_id if found else _create_parent(client, params)), False


def _create_parent(client: MlflowClient, params: Params) -> str:
    tags = {STAGE: "pipeline", **_origin(params)}
    run = client.create_run(store.experiment_id(client), tags=tags, run_name="pipeline")
    Recorder(client, run.info.run_id).params(params.model_dump(mode="json", by_alias=True))
    return run.info.run_id


def _of_inputs(client: MlflowClient, params: Params, *, same_commit: bool) -> Run | None:
    query = f"tags.`{STAGE}` = 'pipeline' and tags.`{INPUTS}` = '{provenance.inputs_hash(params)}'"
    if same_commit:
        query += "".join(f" and tags.`{key}` = '{value}'" for key, value in provenance.git_tags().items())
    newest = ["attributes.start_time DESC"]
    found = client.search_runs([store.experiment_id(client)], query, order_by=newest, max_results=1)
    return found[0] if found else None


def _children(client: MlflowClient, parent: str, stage: str, item: str | None) -> list[Run]:
    query = f"tags.`{PARENT}` = '{parent}' and tags.`{STAGE}` = '{stage}'"
    found = client.search_runs([store.experiment_id(client)], query)
    return [run for run in found if run.data.tags.get(ITEM) == item]


def _origin(params: Params) -> dict[str, str]:
    return {
        INPUTS: provenance.inputs_hash(params),
        "ich.data": provenance.data_hash(),
        "ich.cohort": data_words(Path("data")),
        "ich.profile": params.profile,
        **provenance.git_tags(),
    }


def _flatten(values: Mapping[str, Any], separator: str) -> dict[str, Any]:
    """Nested mappings as one, with names that MLflow takes (it knows no ``@``)."""
    flat: dict[str, Any] = {}
    for key, value in values.items():
        name = re.sub(r"[^\w.\-/ :]", "_", str(key).replace("@", " at "))
        if isinstance(value, Mapping):
            flat |= {f"{name}{separator}{inner}": v for inner, v in _flatten(value, separator).items()}
        else:
            flat[name] = value
    return flat


def _is_number(value: Any) -> bool:
    try:
        return value is not None and not isinstance(value, str) and math.isfinite(value)
    except TypeError:
        return False
