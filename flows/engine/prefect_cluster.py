"""The tasks of a stage on a Dask cluster as tasks of a Prefect flow, by prefect-dask. Imported where an API answers only.

What travels and what the workers do is :mod:`ich_pipeline.workers.cluster_piece`'s; Prefect sees sealed arguments and
results, and no exception of the work, so that neither its logs nor its pages can name a patient.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

from prefect import flow, task
from prefect.cache_policies import NO_CACHE
from prefect.client.schemas.objects import State
from prefect.states import Failed
from prefect_dask.task_runners import DaskTaskRunner

from ich_pipeline.workers.cluster import LOOK_SECONDS, Cluster
from ich_pipeline.workers.cluster_piece import Sealed, ingest_piece
from ich_pipeline.workers.parallel import Runner

if TYPE_CHECKING:
    from distributed import Client, Future

T = TypeVar("T")
PIECE_TASKS = 8  # a task of Prefect costs some 10 ms and a row of its database: studies share one
PIECES_A_THREAD = 4  # at least, so that the threads end together


@task(name="piece", persist_result=False, cache_policy=NO_CACHE)
def piece_task(piece: Sealed) -> Sealed:
    """Runs on a Dask worker."""
    return ingest_piece(piece)


class PrefectCluster(Cluster):
    """Submits pieces as Prefect tasks to the DaskTaskRunner of the flow that it is used in."""

    def _piece_size(self, tasks: int) -> int:
        return max(1, min(PIECE_TASKS, tasks // (PIECES_A_THREAD * max(1, self._threads))))

    def _submit(self, piece: Sealed) -> Any:
        return piece_task.submit(piece)

    def _future(self, submitted: Any) -> Future:
        return submitted.wrapped_future

    def _result(self, submitted: Any) -> Sealed:
        return submitted.result(timeout=LOOK_SECONDS)


_doing: list[Callable[[], None]] = []  # what the flow that runs is to do; the flow itself travels to the workers


def _do() -> None:
    _doing[-1]()


@flow(persist_result=False)
def on_dask() -> State | None:
    """The flow around the pieces."""
    try:
        _do()
    except Exception as error:  # told to the caller by as_flow; the message may name a file
        return Failed(message=f"{type(error).__name__}: see the stage's own message")
    return None


def as_flow(title: str, client: Client, address: str, work: Callable[[Runner], T]) -> T:
    """``work(runner)`` within a flow whose tasks run on the cluster; its exceptions are raised here, not told to Prefect."""
    results: list[T] = []
    errors: list[BaseException] = []

    def do() -> None:
        try:
            results.append(work(PrefectCluster(client, address)))
        except BaseException as error:
            errors.append(error)
            raise

    name = f"{title} on Dask"
    runner: Any = DaskTaskRunner(address=address)  # Prefect's annotation of the argument knows none of its own runners
    _doing.append(do)
    try:
        on_dask.with_options(name=name, flow_run_name=name, task_runner=runner)(return_state=True)
    finally:
        _doing.pop()
    if errors:
        raise errors[0]
    return results[0]
