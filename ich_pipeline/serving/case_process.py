"""Cases read in a process of their own: what crashes, hangs or fills the memory there costs one case, not who asked for it."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from functools import partial

from ich_pipeline.config import IngestParams
from ich_pipeline.core.errors import InputError
from ich_pipeline.core.stopwatch import peak_mib
from ich_pipeline.ingest.scan import NO_MEMORY, without_what_crashes
from ich_pipeline.series.group_volume import Verdicts
from ich_pipeline.serving.load_case import Case, Given, load_case, may_fail
from ich_pipeline.workers.parallel import OneProcess

_Work = tuple[Sequence[Given], Verdicts]


class CaseReader:
    """Reads one case after the other as :func:`~ich_pipeline.serving.load_case.load_case`, in the workers of the ingest and with its limits.

    The process starts as the reader is made, so that its imports go on beside those of who makes it, and stays.
    """

    def __init__(self, ingest: IngestParams, process: OneProcess | None = None) -> None:
        """``process``: one that imports this module already; None starts one."""
        self._ingest = ingest
        self._lock = threading.Lock()  # a server asks from several threads
        self._process = process or OneProcess()
        if process is None:
            self._process.begin(_ready, None)
        self._begun = False

    def read(self, sources: Sequence[Given]) -> Case:
        """Read one study; for arguments and errors see :func:`~ich_pipeline.serving.load_case.load_case`.

        Raises:
            InputError: also where the memory does not suffice.
        """
        task = partial(_load, ingest=self._ingest)
        with self._lock:
            if not self._begun:
                self._process.finish()
                self._begun = True
            try:
                [result] = self._process.run(task, [(sources, {})])
                return without_what_crashes(task, sources, result, self._process, may_fail(sources))
            except MemoryError:
                raise InputError(f"{NO_MEMORY}: read it on a machine with more.") from None

    def peak_mib(self) -> float:
        """Memory that its process has taken at most, MiB; 0 where it has died since."""
        with self._lock:
            if not self._begun:
                self._process.finish()
                self._begun = True
            [found] = self._process.run(_peak, [None])
        return found if isinstance(found, float) else 0.0


def _ready(_: None) -> None:
    """Nothing: the process has imported this module by now."""


def _peak(_: None) -> float:
    return peak_mib()


def _load(task: _Work, ingest: IngestParams) -> Case:
    sources, failed = task
    return load_case(sources, ingest, failed)
