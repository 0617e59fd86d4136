"""The flow that ``flows.retrain`` serves; imports Prefect, so only a process that talks to an API loads it."""

from __future__ import annotations

import os
from functools import partial
from pathlib import Path

from prefect import flow
from prefect.artifacts import create_markdown_artifact
from prefect.client.schemas.objects import State
from prefect.states import Completed

from flows.engine.boundary import exit_status
from flows.engine.prefect_show import failed
from flows.pipeline import closing, run_inside_flow
from ich_pipeline.config import load_params
from ich_pipeline.core.lock import project_locked

ROOT = Path(__file__).resolve().parent.parent


def _again(error: Exception) -> None:
    raise error


@flow(name="retrain", persist_result=False)
def retrain() -> State:
    """Run the graph on the data as it is; the state's message names the registered version or what went wrong."""
    os.chdir(ROOT)  # a served run starts where the server chose; every stage reads relative to the project
    try:
        params = load_params()
        with project_locked():
            outcome = run_inside_flow(params)
    except Exception as error:  # told where `make schedule` runs, which shows what its runs print
        exit_status("retrain", partial(_again, error), stopped="")
        return failed(error)
    text = (
        f"New version {outcome.version} of {params.registry.model_name}, alias challenger."
        if outcome.new_version
        else f"Nothing new: version {outcome.version} of {params.registry.model_name} holds this content already."
    )
    create_markdown_artifact(
        f"{text}\n\n{closing(outcome, params)}", key="retrain", description="what the retraining ended with"
    )
    return Completed(message=text)
