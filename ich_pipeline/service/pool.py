"""The version that answers, and its replacement by the one that the alias names now."""

from __future__ import annotations

import contextlib
import logging
import queue
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Any, TypeVar

from ich_pipeline.core.errors import InputError
from ich_pipeline.registry import remembered, store, versions
from ich_pipeline.registry.opened import Opened, open_version
from ich_pipeline.registry.remembered import Version
from ich_pipeline.service.engine import Done, Engine, Timed, Work
from ich_pipeline.workers.child import Crash

T = TypeVar("T")
log = logging.getLogger(__name__)


class Record:
    """The registry, asked in another process: MLflow takes more memory than the rest of the server."""

    def __init__(self, name: str, model: str | None) -> None:
        """``name``: of the model; ``model``: what ``--model`` says, None for the champion, else the challenger."""
        self._name, self._model = name, model
        self._process = Timed()

    def live(self) -> Version:
        """The version that is to answer.

        Raises:
            InputError: there is none.
        """
        task = (self._name, self._model)
        # The project's own record is looked at without MLflow while nobody writes it.
        found = _live(task) if remembered.recall(self._name) is not None else self._ask(_live, task)
        return replace(found, aliases=(), metrics={})  # what moves without making it another one

    def open(self, version: Version) -> Opened:
        """See :func:`ich_pipeline.registry.opened.open_version`."""
        return self._ask(open_version, version)

    def _ask(self, function: Callable[[Any], T], task: Any) -> T:
        self._process.begin(function, task)
        try:
            found = self._process.finish()
        finally:
            if store.is_own():  # another one is asked each time, and starting MLflow each time takes longer
                self._process.stop()
        if isinstance(found, Crash):
            raise RuntimeError("the process that asks the registry ended")
        return found


def _live(task: tuple[str, str | None]) -> Version:
    name, model = task
    return versions.resolve(model, name) if model else versions.live(name)


@dataclass(frozen=True)
class Served:
    """One loaded version, and what every answer says of it."""

    opened: Opened
    about: dict[str, Any]
    headers: dict[str, str]
    idle: queue.SimpleQueue[Engine]

    @classmethod
    def load(cls, record: Record, version: Version, engines: int) -> Served:
        """Check a version and start its engines.

        Raises:
            InputError: its files are not what was registered, or it fails its test.
        """
        started = [Engine() for _ in range(engines)]
        try:
            opened = record.open(version)
            for engine in started:
                engine.load(opened)
        except BaseException:
            for engine in started:
                engine.stop()
            raise
        data = opened.training_data
        about = {
            "name": version.name,
            "version": version.number,
            "digest": version.content,
            "training_data": data,
            "tests": version.tests,
            "caution": version.caution,
        }
        headers = {
            "ICH-Version": f"{version.name}/{version.number}",
            "ICH-Digest": version.content,
            "ICH-Training-Data": f"{data['data']}; cohort={data['cohort']}; patients={data['patients']}; dvc={data['dvc']}",
            "ICH-Tests": "; ".join(f"{test}={labels}" for test, labels in version.tests.items()) or "none",
        }
        idle: queue.SimpleQueue[Engine] = queue.SimpleQueue()
        for engine in started:
            idle.put(engine)
        return cls(opened, about, headers, idle)

    @property
    def called(self) -> str:
        """For sentences."""
        return f"{self.opened.version.name} version {self.opened.version.number}"


class Pool:
    """Requests wait in order; each is read by the version that answers when its turn comes."""

    def __init__(self, record: Record, engines: int, seconds: float) -> None:
        """Load the first version.

        Args:
            record: the registry.
            engines: requests that are read at a time, each in processes of its own.
            seconds: that one may take.

        Raises:
            InputError: there is no version, or it is refused.
        """
        self.refused: tuple[Version, str] | None = None  # what the alias names and is not served, and why
        self._lasting = False  # it is the version's fault, and will not go by itself
        self.silent = ""  # why the registry says nothing
        self._record, self._engines, self._seconds = record, engines, seconds
        self._threads = ThreadPoolExecutor(engines, thread_name_prefix="case")
        self._lock = threading.Lock()
        version = record.live()
        try:
            self.current = Served.load(record, version, engines)
        except InputError as error:
            raise InputError(f"{version.name} version {version.number} is refused: {_sentence(error)}.") from None

    def submit(self, work: Work) -> Future[tuple[Served, Done]]:
        """Have a request read; the result says by which version. For errors see :meth:`~.engine.Engine.read`."""
        return self._threads.submit(self._read, work)

    def look(self) -> None:
        """Where the registry names another version: load it, try it, let it answer from now on; or refuse it.

        Requests that are being read end on the version that began them, which then is let go.
        """
        try:
            version = self._record.live()
        except Exception as error:
            self._say_silent(_sentence(error) if isinstance(error, InputError) else type(error).__name__)
            return
        self._say_silent("")
        if version == self.current.opened.version:
            self.refused = None
            return
        if self.refused and self.refused[0] == version and self._lasting:
            return
        try:
            served = Served.load(self._record, version, self._engines)
        except Exception as error:  # whatever it is, the version that answers goes on
            lasting = isinstance(error, InputError)
            why = _sentence(error) if lasting else f"a fault ({type(error).__name__}); it is tried again"
            if self.refused != (version, why):
                log.error("%s version %d is refused: %s", version.name, version.number, why)
            self.refused, self._lasting = (version, why), lasting
            return
        with self._lock:
            old, self.current = self.current, served
        self.refused = None
        log.info("%s answers now, in place of %s", served.called, old.called)
        self._let_go(old)

    def close(self) -> None:
        """End all processes; nothing is being read any more."""
        self._threads.shutdown(cancel_futures=True)
        self._let_go(self.current)

    def _read(self, work: Work) -> tuple[Served, Done]:
        with self._engine() as (served, engine):
            return served, engine.read(work, self._seconds)

    @contextlib.contextmanager
    def _engine(self) -> Iterator[tuple[Served, Engine]]:
        with self._lock:  # there are as many threads as engines of each version, so one of them is idle
            served = self.current
            engine = served.idle.get_nowait()
        try:
            yield served, engine
        finally:
            served.idle.put(engine)

    def _let_go(self, served: Served) -> None:
        for _ in range(self._engines):
            served.idle.get().stop()  # waits for what it reads

    def _say_silent(self, why: str) -> None:
        if why != self.silent:
            log.warning("the registry does not say which version answers: %s", why) if why else log.info(
                "the registry answers again"
            )
        self.silent = why


def _sentence(error: Exception) -> str:
    return str(error).removesuffix(".")
