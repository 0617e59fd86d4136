"""One version in a process of its own, which reads one request at a time by the functions of ``ich predict``.

What crashes there, hangs or fills the memory costs one request. A version that is used no longer gives its memory back, and the
process that speaks HTTP loads neither pydicom nor ONNX Runtime.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ich_pipeline.config import ArchiveParams
from ich_pipeline.core.errors import InputError
from ich_pipeline.registry.opened import Opened
from ich_pipeline.registry.remembered import Version
from ich_pipeline.workers.child import Crash
from ich_pipeline.workers.parallel import OneProcess

if TYPE_CHECKING:
    from ich_pipeline.serving.system import System

LOAD_SECONDS = 300.0  # to fetch a version, to load it and to read its example
EXAMPLE = "input_example.json"  # in an MLflow model, as registered
RESULT = "predictions.json"


class TooLarge(InputError):
    """The request goes beyond a limit of the server; the sentence says which."""


class Interrupted(Exception):
    """A request that has no answer, though nothing is known to be wrong with it.

    Attributes:
        timed_out: it took longer than it may.
    """

    def __init__(self, sentence: str, timed_out: bool) -> None:
        super().__init__(sentence)
        self.timed_out = timed_out


@dataclass(frozen=True)
class Work:
    """What a request asks for.

    Attributes:
        files: path and name in sentences of each, sorted by name; archives among them are opened.
        folder: of nobody else: for members of archives, and for the result.
        archives: how far archives may expand.
        page: the page, not JSON.
        demonstration: as of :meth:`~ich_pipeline.serving.system.System.read_case`.
        record: keep a line of each case (:mod:`ich_pipeline.watch.record`).
    """

    files: tuple[tuple[Path, str], ...]
    folder: Path
    archives: ArchiveParams
    page: bool
    demonstration: bool
    record: bool


@dataclass(frozen=True)
class Done:
    """Where the result lies, the ids of the cases that were read, and memory of the engine's processes at most, MiB."""

    result: Path
    cases: tuple[str, ...]
    peak_mib: float


class Timed(OneProcess):
    """A process whose tasks have a time limit. Not in :mod:`ich_pipeline.workers`: every training depends on that code."""

    def finish(self, seconds: float = LOAD_SECONDS) -> Any:
        """As of every process; one that takes longer is ended, which is a crash too."""
        end = time.monotonic() + seconds
        try:
            while self._child.line.poll(max(end - time.monotonic(), 0.0)):
                if (answer := self._child.answer()) is not None:
                    return answer[0]
        except BaseException as error:
            if not isinstance(error, Exception):  # interrupted: its answer would be taken for that of the next task
                self.stop()
            raise
        self.stop()
        return Crash(timed_out=True)

    def stop(self) -> None:
        """End the process, whatever it is at; the next task starts another."""
        self._child.stop()
        self._child._at = None  # a file of this request, which the next one's sentence must not name


class Engine:
    """The server's side of one process. Not for several threads at a time."""

    def __init__(self) -> None:
        self._process = Timed()
        self._process.begin(_ready, None)  # meanwhile the version is looked up
        self._opened: Opened | None = None
        self._loaded = False

    def load(self, opened: Opened) -> None:
        """Load a version, and let it read its example.

        Raises:
            InputError: it cannot be loaded, or fails the test.
        """
        if self._opened is None:
            self._process.finish()
        self._opened = opened
        self._process.begin(_load, opened)
        found = self._process.finish()
        if isinstance(found, Crash):
            raise InputError(f"its process ended while it read its example ({_ended(found, LOAD_SECONDS)})")
        self._loaded = True

    def read(self, work: Work, seconds: float) -> Done:
        """Answer a request.

        Raises:
            InputError: what was sent cannot be read, or its reading ends the process at one of the files.
            Interrupted: it takes longer than ``seconds``, or the process was ended and cannot be started again.
        """
        assert self._opened is not None
        try:
            if not self._loaded:
                self.load(self._opened)
        except InputError as error:
            raise Interrupted(f"the engine cannot be started again ({error})", timed_out=False) from None
        self._process.begin(_read, work)
        found = self._process.finish(seconds)
        if not isinstance(found, Crash):
            return found
        self._loaded = False
        if found.at is not None:
            raise InputError(f"{found.at}: its reading ends the process ({_ended(found)}): leave that file out.")
        raise Interrupted(f"the reading of this request was ended ({_ended(found, seconds)})", found.timed_out)

    def stop(self) -> None:
        """End the process."""
        self._process.stop()
        self._loaded = False


def _ended(crash: Crash, seconds: float | None = None) -> str:
    limit = "its time limit" if seconds is None else f"{seconds:g} s"
    return f"it took longer than {limit}" if crash.timed_out else f"exit code {crash.exitcode}"


# What follows runs in the process.
_version: tuple[System, Version, str, tuple[str, str]] | None = None


def _ready(_: None) -> None:
    import ich_pipeline.serving.system  # noqa: F401


def _load(opened: Opened) -> None:
    global _version
    from ich_pipeline.commands.predict import called_and_cautions
    from ich_pipeline.serving.code import BUNDLE
    from ich_pipeline.serving.system import System

    system = System.load(opened.folder / BUNDLE, opened.version.content)
    self_test(system, opened.folder)
    _version = (system, opened.version, *called_and_cautions(opened.version, opened.folder / BUNDLE))


def _read(work: Work) -> Done:
    from ich_pipeline.commands.predict import Studies, document, none_read
    from ich_pipeline.core.files import write_json
    from ich_pipeline.dicom.reasons import Reason
    from ich_pipeline.serving.load_case import find_studies
    from ich_pipeline.sources.listing import Listing
    from ich_pipeline.sources.opened import in_words, not_read, opened
    from ich_pipeline.watch.record import Recorder

    assert _version is not None
    system, version, called, cautions = _version
    recorder = Recorder(version, system.origin, "serve") if work.record and not work.demonstration else None
    with opened(Listing(work.files), work.folder / "members", work.archives) as listing:
        unread = not_read(listing)
        beyond = [one for one in unread if one.reason is Reason.ARCHIVE_BOMB]
        if beyond:
            raise TooLarge(f"an archive expands too far ({in_words(beyond)}): send fewer files.")
        ingest = system.params.ingest.model_copy(
            update={"workers": 1}
        )  # a request starts no more processes than its engine
        studies, skipped = find_studies(listing, "the request", ingest, remedy="send one study's files")
        if work.page and len(studies) > 1:
            raise InputError(
                f"the files belong to {len(studies)} studies, and a page is of one: send one, or take JSON."
            )
        about = (cautions, called, version.tests, recorder)
        read = Studies(system, work.folder, False, work.demonstration, *about, home=None, pages=work.page)
        for study, headers in studies.items():
            read.study(study, headers)
    outcome = read.outcome(studies, skipped, unread)
    if recorder:
        recorder.write()
    if read.fault is not None:
        raise read.fault
    if not outcome.answers:
        raise InputError(f"{none_read(outcome)}.")
    cases = tuple(one["case_id"] for one in outcome.answers)
    if work.page:
        return Done(work.folder / f"{cases[0]}.html", cases, outcome.peak_mib)
    write_json(work.folder / RESULT, document(outcome))
    return Done(work.folder / RESULT, cases, outcome.peak_mib)


def self_test(system: System, folder: Path) -> None:
    """Let a version read the example that it was registered with, twice, and draw its page; its libraries are warm then.

    Args:
        system: loaded.
        folder: the MLflow model, which holds the example and what the version answered to it when it was registered.

    Raises:
        InputError: there is no such example, a score is no probability, the second answer is another, or the answer is not
            the one of then (:mod:`ich_pipeline.serving.golden`).
    """
    import numpy as np

    from ich_pipeline.core.files import json_text
    from ich_pipeline.report.case_page import case_page
    from ich_pipeline.serving.answer import answer
    from ich_pipeline.serving.golden import FILE, check_golden

    hu, positions_mm, spacing_mm = _example(folder / EXAMPLE)
    said = set()
    for _ in range(2):
        case = system.read_hu(hu, positions_mm, "example", spacing_mm, demonstration=True)
        scores = np.concatenate([case.final.ravel(), case.case_scores])
        if len(case.final) != len(hu) or not ((scores >= 0) & (scores <= 1)).all():
            raise InputError("it gives its example scores that are no probabilities")
        said.add(json_text(answer(case, uids=False, thumbnails=False)))
    if len(said) > 1:
        raise InputError("it answers its example otherwise the second time")
    check_golden(case, folder / "artifacts" / FILE)
    case_page(case)


def _example(path: Path) -> tuple[Any, Any, tuple[float, float]]:
    """HU (n, rows, columns), positions and PixelSpacing; without pandas, which the engine need not load."""
    import base64
    import io
    import json

    import numpy as np

    try:
        table = json.loads(path.read_text(encoding="utf-8"))
        rows = [dict(zip(table["columns"], row, strict=True)) for row in table["data"]]
        hu = np.stack([np.load(io.BytesIO(base64.b64decode(row["hu"])), allow_pickle=False) for row in rows])
        positions_mm = np.array([row["position_mm"] for row in rows], np.float64)
        return hu, positions_mm, (float(rows[0]["row_spacing_mm"]), float(rows[0]["column_spacing_mm"]))
    except (OSError, ValueError, KeyError, TypeError, IndexError):
        raise InputError(f"it has no example to be tried by ({path.name})") from None
