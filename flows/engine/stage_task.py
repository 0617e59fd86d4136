"""One DVC stage inside a Prefect task: its lines in the task's log, its progress and result as artifacts."""

from __future__ import annotations

import json
import tempfile
import threading
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, TextIO

from flows.engine.dvc import dvc, lines


def run_stage(stage: str, environment: Mapping[str, str], stopping: threading.Event) -> None:
    """Run one stage through DVC.

    Args:
        stage: as dvc.yaml names it.
        environment: variables for the stage, the MLflow parent run among them.
        stopping: once set, the stage is stopped: signals reach the main thread alone, and stages also run in others.

    Raises:
        DvcError: the stage failed.
        KeyboardInterrupt: it was stopped.
    """
    from prefect.logging import get_run_logger

    from flows.engine.prefect_show import progress_artifact, publish, redacted, says_what_went_wrong

    logger = get_run_logger()
    report: Callable[[float, str], None] | None = None
    with tempfile.TemporaryDirectory() as folder:
        events = Path(folder) / "events.jsonl"
        events.touch()
        with events.open(encoding="utf-8") as arriving:

            def show() -> None:
                nonlocal report
                for event in whole_events(arriving):
                    if "progress" in event:
                        report = report or progress_artifact(stage, event["text"])
                        report(event["progress"], event["text"])
                    else:
                        publish(stage, event["result"])
                        logger.info(redacted(event["result"]["summary"]))

            # Another stage may be ending at this moment, and DVC by itself waits three seconds for it.
            command = dvc("--wait-for-lock", "repro", "-s", stage)
            arrived = lines(command, {**environment, "ICH_EVENTS": str(events)}, 1.0)
            for line in arrived:
                if stopping.is_set():
                    arrived.throw(KeyboardInterrupt())
                if line.strip() and not says_what_went_wrong(line, stage):
                    logger.info(redacted(line))
                show()
            show()


def whole_events(arriving: TextIO) -> Iterator[dict[str, Any]]:
    """The events written since the last call; a line that is still being written waits for the next."""
    while True:
        place = arriving.tell()
        line = arriving.readline()
        if not line.endswith("\n"):
            arriving.seek(place)
            return
        yield json.loads(line)
