"""One stage as a Prefect flow of its own, for a stage run by hand while an API answers."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from flows.engine.prefect_api import api_url, become_client
from flows.engine.stage import Body, Stage, StageResult

if TYPE_CHECKING:
    from ich_pipeline.config import Params


def run_as_flow(name: str, item: str | None, params: Params, body: Body) -> StageResult:
    """Run ``body`` as a task of a flow named after the stage; its log, progress and result show in the UI."""
    url = api_url()
    assert url is not None
    become_client(url)
    from prefect import flow, task
    from prefect.client.schemas.objects import State
    from prefect.logging import get_run_logger

    from flows.engine.prefect_show import failed, progress_artifact, publish, redacted

    title = f"{name}@{item}" if item else name

    errors: list[Exception] = []
    results: list[StageResult] = []

    @task(name=title, persist_result=False)
    def work() -> State | None:
        logger = get_run_logger()
        handler = _Forward(logger)
        log = logging.getLogger(f"ich.{name}")
        log.addHandler(handler)
        try:
            result = body(Stage(name, item, params, log, progress_artifact(title, "starting")))
            publish(title, result.to_json())
            logger.info(redacted(result.summary))
            results.append(result)
        except Exception as error:
            errors.append(error)
            return failed(error)
        finally:
            log.removeHandler(handler)
        return None

    @flow(name=name, flow_run_name=title, persist_result=False)
    def stage_flow() -> State:
        return work(return_state=True)

    state = stage_flow(return_state=True)
    if errors:
        raise errors[0]
    if not results:
        raise RuntimeError(state.message or "the flow did not finish")
    return results[0]


class _Forward(logging.Handler):
    """Hands the stage's log lines to the run's logger."""

    def __init__(self, target: logging.Logger | logging.LoggerAdapter) -> None:
        super().__init__()
        self._target = target

    def emit(self, record: logging.LogRecord) -> None:
        from flows.engine.prefect_show import redacted

        self._target.log(record.levelno, redacted(record.getMessage()))
