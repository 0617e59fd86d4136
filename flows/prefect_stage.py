"""One stage as a Prefect flow of its own, for a stage run by hand while an API answers."""

from __future__ import annotations

import logging
import os
from typing import TYPE_CHECKING

from flows.prefect_api import api_url, client_environment

if TYPE_CHECKING:
    from flows._stage import Body, StageResult
    from ich_pipeline.config import Params


def run_as_flow(name: str, item: str | None, params: Params, body: Body) -> StageResult:
    """Run ``body`` as a task of a flow named after the stage; its log, progress and result show in the UI."""
    url = api_url()
    assert url is not None
    os.environ.update(client_environment(url))
    from prefect import flow, task
    from prefect.logging import get_run_logger

    from flows._stage import Stage
    from flows.prefect_show import progress_artifact, publish

    title = f"{name}@{item}" if item else name

    @task(name=title, persist_result=False)
    def work() -> StageResult:
        logger = get_run_logger()
        handler = _Forward(logger)
        log = logging.getLogger(f"ich.{name}")
        log.addHandler(handler)
        try:
            result = body(Stage(name, item, params, log, progress_artifact(title, "starting")))
        finally:
            log.removeHandler(handler)
        publish(title, result.to_json())
        logger.info(result.summary)
        return result

    @flow(name=name, flow_run_name=title, persist_result=False)
    def stage_flow() -> StageResult:
        return work()

    return stage_flow()


class _Forward(logging.Handler):
    """Hands the stage's log lines to the run's logger."""

    def __init__(self, target: logging.Logger | logging.LoggerAdapter) -> None:
        super().__init__()
        self._target = target

    def emit(self, record: logging.LogRecord) -> None:
        self._target.log(record.levelno, record.getMessage())
