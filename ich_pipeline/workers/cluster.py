"""The ingest's tasks on a Dask cluster: same results as on this machine, whatever becomes of workers on the way.

The workers need this project's environment and see the source and the output under the same paths as the run; both are
checked on every worker and before every piece. Memory is bounded by the size of the cluster, not by the number of tasks.
"""

from __future__ import annotations

import contextlib
import pickle
import queue
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from ich_pipeline.core.errors import Fault, InputError
from ich_pipeline.workers.child import Crash
from ich_pipeline.workers.cluster_piece import Answer, Piece, Place, Sealed, environment, ingest_piece, look_at, size_of

if TYPE_CHECKING:
    from distributed import Client, Future

T = TypeVar("T")
R = TypeVar("R")

VARIABLE = "ICH_DASK"  # address of the scheduler
CONNECT_SECONDS = 10.0
LOOK_SECONDS = 2.0  # between two looks at the workers while nothing is done
NO_WORKER_SECONDS = 120.0  # a cluster that grows on demand needs a while for its first worker
SHOWN_SECONDS = 65.0  # in which a network file system shows a new file: NFS keeps what it knows of a folder for 60 s
AHEAD = 2  # pieces a thread of the cluster may be in front of the oldest open one


@contextlib.contextmanager
def connected(address: str) -> Iterator[Client]:
    """Yield a client of the Dask scheduler at ``address`` (``tcp://host:8786``).

    Raises:
        InputError: Dask is not installed, the address is none, or no scheduler answers there.
    """
    try:
        from distributed import Client
    except ImportError:
        raise InputError(
            f"a Dask cluster is named ({address}), but Dask is not installed: `pip install 'ich-pipeline[dask]'`."
        ) from None
    try:
        client = Client(address, timeout=CONNECT_SECONDS, set_as_default=False)
    except (OSError, TimeoutError, ValueError, TypeError):
        raise InputError(
            f"no Dask scheduler answers at {address!r}: start one (`dask scheduler`), or name its address as "
            f"tcp://HOST:8786 in --dask or {VARIABLE}."
        ) from None
    try:
        yield client
    finally:
        client.close()


class Cluster:
    """Runs tasks on a Dask cluster (:class:`ich_pipeline.workers.parallel.Runner`)."""

    parallel = True

    def __init__(self, client: Client, address: str, shown_seconds: float = SHOWN_SECONDS) -> None:
        """
        Args:
            client: of the scheduler.
            address: as the user named it, for sentences.
            shown_seconds: how long a worker may take to see the run's folder.
        """
        self._client = client
        self._address = address
        self._shown_seconds = shown_seconds
        self._place: Place | None = None
        self._threads = 0
        self._worker_seen = time.monotonic()

    def prepare(self, folder: Path, sample: Path) -> None:
        """Mark ``folder`` as a run's own and look whether every worker has what it needs.

        Raises:
            InputError: a worker has another environment, or does not see the folder or the sample; it is named.
        """
        token = folder.absolute() / f"run-{uuid.uuid4().hex}"
        token.touch()
        self._place = Place(
            environment(),
            str(Path.cwd()),
            str(token),
            str(sample.absolute()),
            size_of(sample),
            self._shown_seconds,
        )
        self._look()
        answers: Any = self._client.run(look_at, Sealed(self._place), on_error="return") if self._threads else {}
        for worker, answer in answers.items():
            if isinstance(answer, ImportError):
                raise self._unfit(f"{worker} has no ich_pipeline")
            if isinstance(answer, Sealed) and (lacking := answer.open()):
                raise self._unfit(f"{worker} {lacking}")

    def run(self, function: Callable[[T], R], tasks: Sequence[T]) -> Iterator[R | Crash]:
        """See :meth:`ich_pipeline.workers.parallel.Runner.run`.

        Raises:
            InputError: a worker that joined later is unfit.
            Fault: the cluster is gone, has no workers left, or its workers die one after the other over one piece.
        """
        assert self._place is not None, "prepare() comes first"
        packed = pickle.dumps(function)
        self._look()
        size = self._piece_size(len(tasks))
        pieces = range(0, len(tasks), size)
        done: queue.SimpleQueue[int] = queue.SimpleQueue()
        futures: dict[int, Any] = {}
        results: dict[int, tuple[R | Crash, ...]] = {}
        given = yielded = 0
        try:
            while yielded < len(pieces):
                while given < min(len(pieces), yielded + AHEAD * max(1, self._threads)):
                    some = tasks[pieces[given] : pieces[given] + size]
                    piece = Piece(self._place, packed, tuple(pickle.dumps(task) for task in some))
                    futures[given] = self._submit(Sealed(piece))
                    self._future(futures[given]).add_done_callback(partial(_note, done, given))
                    given += 1
                number = self._next(done)
                if number is None:
                    continue
                answer = self._answer(futures[number])
                if answer is None:  # its worker died with it: Dask has it done again
                    done.put(number)
                    continue
                del futures[number]
                results[number] = self._results(answer)
                while yielded in results:
                    yield from results.pop(yielded)
                    yielded += 1
        finally:
            for submitted in futures.values():
                with contextlib.suppress(Exception):  # what ended the loop says more
                    self._future(submitted).cancel(force=True)

    # Prefect's runner (flows) submits the same pieces as its tasks.

    def _piece_size(self, tasks: int) -> int:
        """Tasks a piece."""
        return 1

    def _submit(self, piece: Sealed) -> Any:
        return self._client.submit(ingest_piece, piece, key=f"ingest_piece-{uuid.uuid4().hex}", pure=False)

    def _future(self, submitted: Any) -> Future:
        return submitted

    def _result(self, submitted: Any) -> Sealed:
        return submitted.result(timeout=LOOK_SECONDS)

    def _next(self, done: queue.SimpleQueue[int]) -> int | None:
        try:
            return done.get(timeout=LOOK_SECONDS)
        except queue.Empty:
            self._look()
            return None

    def _answer(self, submitted: Any) -> Answer | None:
        from distributed.scheduler import KilledWorker

        try:
            return self._result(submitted).open()
        except TimeoutError:
            self._look()
            return None
        except KilledWorker as error:
            raise Fault(
                f"{error.allowed_failures + 1} workers of the Dask cluster at {self._address} died over the same piece: see "
                "their logs (memory is the usual cause), and run again; nothing was written."
            ) from None
        except ImportError:
            raise self._unfit("a worker that joined later has no ich_pipeline") from None
        except Exception as error:
            raise self._gone(error) from error

    def _results(self, answer: Answer) -> tuple[Any, ...]:
        if answer.lacks:
            raise self._unfit(f"a worker {answer.lacks}")
        if answer.error is not None:
            raise answer.error
        return tuple(r if isinstance(r, Crash) else pickle.loads(r) for r in answer.results)

    def _look(self) -> None:
        """Count the cluster's threads; it may grow and shrink."""
        try:
            threads: Any = self._client.nthreads()  # worker → its threads; the client is no asynchronous one
            self._threads = sum(threads.values())
        except Exception as error:
            raise self._gone(error) from error
        if self._threads:
            self._worker_seen = time.monotonic()
        elif time.monotonic() - self._worker_seen > NO_WORKER_SECONDS:
            raise Fault(
                f"the Dask cluster at {self._address} has had no worker for {NO_WORKER_SECONDS:.0f} seconds: start some "
                f"(`dask worker {self._address}`), and run again; nothing was written."
            )

    def _unfit(self, what: str) -> InputError:
        return InputError(
            f"Dask cluster {self._address}: {what}: give all workers this project's environment, and the source and the "
            "output under the same paths as here, and restart them."
        )

    def _gone(self, error: Exception) -> Fault:
        return Fault(
            f"the Dask cluster at {self._address} failed ({type(error).__name__}): see the logs of its scheduler and "
            "workers, and run again; nothing was written."
        )


def _note(done: queue.SimpleQueue[int], number: int, future: Future) -> None:
    done.put(number)
