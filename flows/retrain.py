"""Scheduled retraining: the whole graph on the data as it is, a new registered version only when something changed.

``make schedule`` serves it on the cron of ``params.yaml`` (``retrain.cron``), and the watch over served cases beside it
(``watch.cron``): the Prefect UI then shows the next run, and a run started there does the same. One at a time: a second waits.
"""

from __future__ import annotations

import sys

from flows.engine.prefect_api import api_url, become_client
from ich_pipeline.config import load_params
from ich_pipeline.core.errors import InputError
from ich_pipeline.core.files import keep_private


def serve() -> int:
    """Serve the retraining and the watch until Ctrl-C; exit status 2 where there is no Prefect API."""
    try:
        params = load_params()
        url = api_url()
        if url is None:
            raise InputError("no Prefect API answers: run `make ui` in another terminal first, or set PREFECT_API_URL.")
    except InputError as error:
        print(f"schedule: {error}", file=sys.stderr)
        return 2
    become_client(url)
    keep_private()  # the runs are children of this process
    from prefect import serve as serve_all
    from prefect.deployments.runner import RunnerDeployment
    from prefect.schedules import Cron

    from flows.retrain_flow import retrain
    from flows.watch_flow import watch

    flows = (
        (
            retrain,
            params.retrain.cron,
            "The whole graph with dvc; ends in a new registered version only when something changed.",
        ),
        (watch, params.watch.cron, "What the live version served, against what it was validated on."),
    )
    deployments = [
        RunnerDeployment.from_flow(
            one, name="scheduled", description=said, schedules=[Cron(cron, timezone=params.retrain.timezone)]
        )
        for one, cron, said in flows
    ]
    serve_all(*deployments, limit=1)
    return 0


if __name__ == "__main__":
    sys.exit(serve())
