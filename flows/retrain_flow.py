"""The flow that ``flows.retrain`` serves; imports Prefect, so only a process that talks to an API loads it."""

from __future__ import annotations

import os
import time
from functools import partial
from pathlib import Path

from prefect import flow, task
from prefect.artifacts import create_markdown_artifact, create_table_artifact
from prefect.client.schemas.objects import State
from prefect.states import Completed

from flows.arrivals import Arrivals, NotYet, bring, look
from flows.engine.boundary import exit_status
from flows.engine.prefect_show import failed
from flows.pipeline import closing, run_inside_flow
from ich_pipeline.config import Params, load_params
from ich_pipeline.core.lock import Busy, project_locked
from ich_pipeline.gate.judge import Judgement
from ich_pipeline.registry import promotion

ROOT = Path(__file__).resolve().parent.parent


def _again(error: Exception) -> None:
    raise error


def gate(params: Params, version: int) -> Judgement:
    """The gate's verdict on what the retraining ended with, as a task with a table, and in a tag of the version.

    Raises:
        InputError: the version's files are not those that were registered.
    """
    found: list[Judgement] = []
    errors: list[Exception] = []

    @task(name="gate", persist_result=False)
    def gate_task() -> State:
        try:
            judged = promotion.judged(params, version, note=True)
        except Exception as error:  # its words stay here: the state shows no more than its type
            errors.append(error)
            return failed(error)
        found.append(judged)
        rows = [{"check": one.name, "verdict": one.verdict, "figures": one.sentence} for one in judged.checks]
        create_table_artifact(rows, key="gate", description=f"version {version}: {judged.verdict}")
        return Completed(message=f"version {version}: {judged.verdict}")

    state = gate_task(return_state=True)
    if errors:
        raise errors[0]
    if not found:
        raise RuntimeError(f"gate: {state.message}")
    return found[0]


@flow(name="retrain", persist_result=False)
def retrain() -> State:
    """Run the graph on the data as it is; the state's message names the registered version or what went wrong."""
    os.chdir(ROOT)  # a served run starts where the server chose; every stage reads relative to the project
    try:
        params = load_params()
        brought = bring(params, time.time())
        arrived: list[Arrivals] = []
        with project_locked():
            outcome = run_inside_flow(params, lambda: arrived.append(look(params)))
            judged = gate(params, int(outcome.version))
    except (NotYet, Busy) as reason:
        create_markdown_artifact(str(reason), key="retrain", description="what the retraining ended with")
        return Completed(name="Skipped", message=str(reason))
    except Exception as error:  # told where `make schedule` runs, which shows what its runs print
        exit_status("retrain", partial(_again, error), stopped="")
        return failed(error)
    text = (
        f"New version {outcome.version} of {params.registry.model_name}, alias challenger."
        if outcome.new_version
        else f"Nothing new: version {outcome.version} of {params.registry.model_name} holds this content already."
    )
    text += f" Gate: {judged.sentence}. {brought}".rstrip()
    for one in arrived:
        text += f" {one.sentence}" * bool(one.sentence)
        if one.drift is not None and len(one.drift):
            rows = [{str(name): value for name, value in row.items()} for row in one.drift.round(4).to_dict("records")]
            create_table_artifact(rows, key="drift", description=f"{one.new} new patients beside those before")
    create_markdown_artifact(
        f"{text}\n\n{closing(outcome, params)}", key="retrain", description="what the retraining ended with"
    )
    return Completed(message=text)
