"""How a stage runs: plainly, or as a Prefect flow where an API answers; errors become one sentence and an exit status.

Three ways, one body:

* ``python -m flows.<stage>`` with no Prefect API: the body runs plainly (so ``dvc repro`` starts no server).
* the same with an API (``make ui`` running, or PREFECT_API_URL set): the body runs as a flow of its own.
* under ``flows.pipeline`` (ICH_EVENTS names a file): the body runs plainly and writes its progress and result there; the
  pipeline's task for the stage shows them.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path

from flows.engine import layout
from flows.engine.boundary import exit_status
from flows.engine.prefect_api import api_url, become_client
from flows.engine.stage import Body, Stage, StageResult
from ich_pipeline.config import Params, load_params
from ich_pipeline.core.errors import InputError
from ich_pipeline.core.lock import stage_locked
from ich_pipeline.core.stopping import stop_on_signals


def main(name: str, body: Body, item_name: str | None = None, arguments: list[str] | None = None) -> None:
    """Run a stage from the command line and leave with its exit status.

    Args:
        name: the stage's name in dvc.yaml.
        body: does the work; raises :class:`InputError` for what the user can mend.
        item_name: what the matrix item is called (``"architecture"``), None for a stage without one.
        arguments: instead of ``sys.argv[1:]``.
    """
    parser = argparse.ArgumentParser(prog=f"python -m flows.{name}", description=(sys.modules[body.__module__].__doc__))
    if item_name:
        parser.add_argument(item_name)
    parsed = parser.parse_args(arguments)
    item = getattr(parsed, item_name) if item_name else None
    stop_on_signals()
    sys.exit(run(name, body, item))


def run(name: str, body: Body, item: str | None = None) -> int:
    """Run a stage; returns the exit status (:func:`flows.engine.boundary.exit_status`)."""
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr)
    title = f"{name}@{item}" if item else name

    def work() -> None:
        params = load_params()
        if not layout.DATA.is_dir():
            raise InputError(
                "data/ is missing: `ich cohort phantom` makes the synthetic one, `ich cohort folder SOURCE --labels CSV` brings yours."
            )
        began = time.monotonic()
        with stage_locked(title):
            result = _run_where_it_shows(name, item, params, body)
        print(f"{title}: {result.summary} [{time.monotonic() - began:.0f} s]")

    return exit_status(title, work, stopped="it leaves no result, and a training goes on from its last state")


def _run_where_it_shows(name: str, item: str | None, params: Params, body: Body) -> StageResult:
    log = logging.getLogger(f"ich.{name}")
    events = os.environ.get("ICH_EVENTS")
    if events:
        return _run_for_pipeline(Path(events), Stage(name, item, params, log, _progress_writer(Path(events))), body)
    if api_url() is None:
        return body(Stage(name, item, params, log, lambda fraction, text: None))

    return run_as_flow(name, item, params, body)


def _progress_writer(events: Path) -> Callable[[float, str], None]:
    def write(fraction: float, text: str) -> None:
        with events.open("a", encoding="utf-8") as file:
            file.write(json.dumps({"progress": fraction, "text": text}) + "\n")

    return write


def _run_for_pipeline(events: Path, stage: Stage, body: Body) -> StageResult:
    result = body(stage)
    with events.open("a", encoding="utf-8") as file:
        file.write(json.dumps({"result": result.to_json()}) + "\n")
    return result


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
