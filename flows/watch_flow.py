"""The flow that ``flows.retrain`` serves beside its own; imports Prefect, so only a process that talks to an API loads it."""

from __future__ import annotations

import os
from functools import partial
from pathlib import Path

from prefect import flow
from prefect.client.schemas.objects import State

from flows.engine.boundary import exit_status
from flows.engine.prefect_show import failed
from flows.watch import looked, shown

ROOT = Path(__file__).resolve().parent.parent


def _again(error: Exception) -> None:
    raise error


@flow(name="watch", persist_result=False)
def watch() -> State:
    """Look at what the live version served; an alarm fails the run, and its message says what moved and what to do."""
    os.chdir(ROOT)  # a served run starts where the server chose
    try:
        return shown(looked())
    except Exception as error:  # told where `make schedule` runs
        exit_status("watch", partial(_again, error), stopped="")
        return failed(error)
