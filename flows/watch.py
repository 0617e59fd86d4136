"""``python -m flows.watch``: one look at what the live version served, as ``ich watch``; in Prefect too, where an API answers.

No stage: it knows dates. ``make schedule`` serves it beside the retraining, on the cron of ``watch.cron``.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from flows.engine import layout
from flows.engine.boundary import exit_status
from flows.engine.prefect_api import api_url, become_client
from ich_pipeline.config import load_params
from ich_pipeline.watch.watched import PAGE, Watched
from ich_pipeline.watch.watched import watch as look

if TYPE_CHECKING:
    from prefect.client.schemas.objects import State


def looked() -> Watched:
    """Look, and write page and JSON into ``reports/``; InputError where there is nothing to look at."""
    found = look(load_params())
    found.publish(layout.REPORTS)
    return found


def shown(found: Watched) -> State:
    """Artifacts of a look, and the state: ``Alarm``, which has failed, where something moved."""
    from prefect.artifacts import create_link_artifact, create_markdown_artifact, create_table_artifact
    from prefect.states import Completed, Failed

    create_markdown_artifact("\n\n".join([found.sentence, *found.cautions]), key="watch", description="what moved")
    create_link_artifact((layout.REPORTS / PAGE).absolute().as_uri(), link_text="the page", key="watch-page")
    for one in found.looks:
        columns = ("words", "reference", "served", "p", "adjusted", "moved")
        rows = [{name: getattr(finding, name) for name in columns} for finding in one.findings]
        create_table_artifact(rows, key=f"watch-{one.cases}", description=f"the last {one.cases} cases")
    return Failed(name="Alarm", message=found.sentence) if found.alarm else Completed(message=found.sentence)


def main() -> int:
    """Entry of ``python -m flows.watch``; exit status 1 where something moved."""
    alarms: list[bool] = []

    def work() -> None:
        found = looked()
        alarms.append(found.alarm)
        print("\n".join([found.sentence, *found.cautions, f"The page: {layout.REPORTS / PAGE}"]))
        if url := api_url():
            become_client(url)
            from prefect import flow

            flow(name="watch", persist_result=False)(lambda: shown(found))(return_state=True)

    return exit_status("watch", work, stopped="run it again") or int(any(alarms))


if __name__ == "__main__":
    sys.exit(main())
