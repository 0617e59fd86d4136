"""Where a stage's tasks run: on the Dask cluster that ICH_DASK names, else in processes of this machine.

On a cluster, the tasks are Prefect's as well where every worker reaches the Prefect API (:mod:`flows.engine.prefect_cluster`). No
Prefect is needed for a cluster, and none is imported without an API.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable
from typing import Any, TypeVar

from flows.engine.prefect_api import api_url, become_client, reaches
from ich_pipeline.workers.cluster import VARIABLE, Cluster, connected
from ich_pipeline.workers.parallel import Runner

T = TypeVar("T")


def with_runner(title: str, work: Callable[[Runner | None], T], log: logging.Logger) -> T:
    """``work(runner)``; the runner is None where no cluster is named.

    Args:
        title: of the stage; the flow on the cluster is named after it.
        work: may raise; an exception is handed on as it is.
        log: told where the tasks cannot be shown in Prefect.

    Raises:
        InputError: no scheduler answers at the address.
    """
    address = os.environ.get(VARIABLE)
    if not address:
        return work(None)
    url = api_url()
    with connected(address) as client:
        if url is None:
            return work(Cluster(client, address))
        reached: Any = client.run(reaches, url, on_error="return")  # worker → answer; the client is no asynchronous one
        if not reached or any(value is not True for value in reached.values()):
            log.warning(
                "%s: the Dask workers do not reach the Prefect API at %s, so the tasks on them are not shown there.",
                title,
                url,
            )
            return work(Cluster(client, address))
        become_client(url)
        from flows.engine.prefect_cluster import as_flow

        return as_flow(title, client, address, work)
