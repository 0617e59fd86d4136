"""A folder of DICOM in any layout: every file judged, candidates grouped, one series a study read.

:func:`scan` reads headers only and keeps no pixels; :func:`read_studies` decodes study by study in worker processes.
Memory is one volume a worker.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Hashable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TypeVar

from ich_pipeline.config import IngestParams
from ich_pipeline.core.progress import Track, quiet
from ich_pipeline.dicom.header import Header
from ich_pipeline.dicom.opening import Limits
from ich_pipeline.dicom.reader import read_slice_headers
from ich_pipeline.dicom.reasons import Reason
from ich_pipeline.series.group_volume import Verdicts
from ich_pipeline.series.grouping import group_series
from ich_pipeline.series.mixed_identity import find_mixed_identity
from ich_pipeline.series.series import Group
from ich_pipeline.series.study import StudyReading, read_study
from ich_pipeline.sources.directory import Presence
from ich_pipeline.sources.folder import list_files as list_files
from ich_pipeline.sources.folder import list_folder
from ich_pipeline.sources.listing import Listing
from ich_pipeline.workers.child import Crash, watching
from ich_pipeline.workers.parallel import Processes, Runner

NO_MEMORY = "the memory does not suffice for this study"
R = TypeVar("R")
T = TypeVar("T")
CHUNK = 256  # headers a task
CRASHES_A_STUDY = 8  # then the rest of its files is given up unread: each one costs a new process, or the time limit
PARALLEL_FROM = 16 * CHUNK  # fewer files are read sooner than worker processes start

# Work, and the verdicts of files in it that are known to end the process.
_Chunk = tuple[Sequence[tuple[Path, str]], Verdicts]
# A study's groups that may be read, and those set aside.
_Study = tuple[Sequence[Group], Sequence[Group]]


@dataclass(frozen=True)
class ScanResult:
    """Headers and groups of a folder; nothing decoded yet.

    Attributes:
        headers: one for every file, sorted by name.
        groups: every CT series seen, split by geometry and verdict.
        verdicts: file name → reason and detail for every file that is out; candidates are not in it.
    """

    headers: tuple[Header, ...]
    groups: tuple[Group, ...]
    verdicts: Verdicts

    @property
    def studies(self) -> list[list[Group]]:
        """The groups of each study that may be read, candidates and last resorts; of those that have any."""
        found = self._by_study(lambda group: group.may_be_read)
        return [found[uid] for uid in sorted(found)]

    @property
    def beside(self) -> list[list[Group]]:
        """The groups set aside of each of :attr:`studies`, in the same order."""
        rest = self._by_study(lambda group: not group.may_be_read)
        return [rest.get(study[0].first.study_uid, []) for study in self.studies]

    def _by_study(self, wanted: Callable[[Group], bool]) -> dict[str, list[Group]]:
        found: dict[str, list[Group]] = defaultdict(list)
        for group in self.groups:
            if wanted(group):
                found[group.first.study_uid].append(group)
        return found


def scan(root: Path, ingest: IngestParams, track: Track = quiet) -> ScanResult:
    """Read the header of every file below ``root``; archives among them are not opened.

    Args:
        root: a folder in any layout.
        ingest: workers, minimum_slices and slice_thickness_mm count.
        track: progress over the files.
    """
    return scan_listing(list_folder(root), ingest, track)


def scan_listing(
    listing: Listing, ingest: IngestParams, track: Track = quiet, runner: Runner | None = None
) -> ScanResult:
    """Read the header of every file of a listing and judge the files against each other.

    ``runner`` None: processes of this machine, ``ingest.workers`` of them.
    """
    headers = read_headers(listing.files, ingest, track, runner)
    headers += [Header(judged.name, b"", judged.reason, judged.detail) for judged in listing.judged]
    presence: Presence | None = None
    for i, header in enumerate(headers):
        if header.last_resort and not header.patient_id:
            headers[i] = replace(header, last_resort=False)
        elif header.reason is None and not header.patient_id:
            headers[i] = header.set(Reason.NO_PATIENT_ID)
        elif header.reason is Reason.MEDIA_DIRECTORY and isinstance(header.source, Path):
            if presence is None:  # of files, while one of several frames has a header for each
                presence = Presence([*(name for _, name in listing.files), *(judged.name for judged in listing.judged)])
            headers[i] = header.set(Reason.MEDIA_DIRECTORY, presence.describe(header.source, header.name))
    return settle(headers, ingest)


def settle(headers: Sequence[Header], ingest: IngestParams) -> ScanResult:
    """Judge files against each other: identity, then series."""
    headers, deviating = find_mixed_identity(sorted(headers, key=lambda h: h.name))
    groups = group_series(headers, ingest)
    verdicts: Verdicts = {h.name: (h.reason, deviating.get(h.name, h.detail)) for h in headers if h.reason is not None}
    for group in groups:
        if group.reason is not None:
            for header in group.headers:
                verdicts.setdefault(header.name, (group.reason, group.detail))
    return ScanResult(tuple(headers), tuple(groups), verdicts)


def read_headers(
    files: Sequence[tuple[Path, str]], ingest: IngestParams, track: Track = quiet, runner: Runner | None = None
) -> list[Header]:
    """Headers of files, in their order; in worker processes where there are many files."""
    runner = runner or Processes(ingest.workers)
    chunks = [files[i : i + CHUNK] for i in range(0, len(files), CHUNK)]
    task = partial(_read_chunk, ingest=ingest)
    tasks: list[_Chunk] = [(chunk, {}) for chunk in chunks]
    results = runner.run(task, tasks) if runner.parallel and len(files) >= PARALLEL_FROM else map(task, tasks)
    headers: list[Header] = []
    seen: dict[Hashable, object] = {}
    for chunk, result in zip(chunks, track(results, "reading headers", len(chunks)), strict=True):
        headers.extend(header.sharing(seen) for header in without_what_crashes(task, chunk, result, runner))
    return headers


def read_studies(
    studies: Sequence[Sequence[Group]],
    ingest: IngestParams,
    finish: Callable[[StudyReading], R],
    track: Track = quiet,
    runner: Runner | None = None,
    beside: Sequence[Sequence[Group]] | None = None,
) -> Iterator[R]:
    """Read studies in worker processes and yield ``finish(reading)`` of each, in their order.

    A study whose decoding ends its process is read again without the files that do so.

    Args:
        studies: the candidates of each study (:attr:`ScanResult.studies`).
        ingest: all settings count.
        finish: runs in the worker, so that a volume does not travel between processes; importable by name, or a
            ``functools.partial`` of such.
        track: progress over the studies.
        runner: None for processes of this machine, ``ingest.workers`` of them.
        beside: the groups set aside of each study (:attr:`ScanResult.beside`); None for none.
    """
    runner = runner or Processes(ingest.workers)
    task = partial(_read_and_finish, ingest=ingest, finish=finish)
    works: list[_Study] = list(zip(studies, beside or [()] * len(studies), strict=True))
    tasks: list[tuple[_Study, Verdicts]] = [(work, {}) for work in works]
    results = runner.run(task, tasks)
    for work, result in zip(works, track(results, "reading studies", len(studies)), strict=True):
        yield without_what_crashes(task, work, result, runner, [header.name for header in _headers_of(work)])


def limits_of(ingest: IngestParams) -> Limits:
    """What reading one file may take."""
    return Limits(ingest.pixels.seconds_per_file, ingest.pixels.inflated_mib)


def without_what_crashes(
    task: Callable[[tuple[T, Verdicts]], R], work: T, result: R | Crash, runner: Runner, together: Sequence[str] = ()
) -> R:
    """The result; where the task ended its process, that of the work without the files that did so, found one by one.

    Args:
        task: takes the work, and verdicts of files that it leaves unread.
        work: what it was given.
        result: what it gave.
        runner: where it runs again.
        together: files that are given up together after :data:`CRASHES_A_STUDY` crashes, or where the process ends at none
            of them (the system may end it for its memory); none for files that have nothing to do with each other.

    Raises:
        RuntimeError: the process ends at no file, and there is nothing to give up.
    """
    failed: Verdicts = {}
    tried_again = False
    while isinstance(result, Crash):
        crash = (Reason.DECODER_CRASHED, f"exit code {result.exitcode}")
        why = (Reason.TIMED_OUT, "stopped while it was read") if result.timed_out else crash
        alone = result.at is not None and result.at not in failed
        if result.at is None and not tried_again:
            tried_again = (
                True  # a process that waited for work may have been ended for its memory, which is nobody's fault
            )
        elif alone and (len(failed) < CRASHES_A_STUDY or not together):
            failed[str(result.at)] = why
        elif set(together) <= failed.keys():
            raise RuntimeError(f"a task of the ingest ends its process (exit code {result.exitcode}) at no file")
        else:
            failed = dict.fromkeys(together, (why[0], f"{why[1]}, with others of the study")) | failed
        [result] = runner.run(task, [(work, dict(failed))])
    return result


def _read_chunk(task: _Chunk, ingest: IngestParams) -> list[Header]:
    files, failed = task
    headers: list[Header] = []
    for path, name in files:
        if name in failed:
            headers.append(Header(name, path).set(*failed[name]))
            continue
        # The reader ends by itself when time is up, with a reason; the worker's end is for what it cannot notice.
        with watching(name, 2 * ingest.pixels.seconds_per_file):
            headers.extend(read_slice_headers(path, name, ingest.slice_thickness_mm, limits_of(ingest)))
    return headers


def _headers_of(work: _Study) -> Iterator[Header]:
    """Of all files whose pixels may be looked at."""
    return (header for groups in work for group in groups for header in group.headers)


def _read_and_finish(task: tuple[_Study, Verdicts], ingest: IngestParams, finish: Callable[[StudyReading], R]) -> R:
    work, failed = task
    study, others = work
    try:
        return finish(read_study(study, ingest, failed, others))
    except MemoryError:
        everything = {header.name: (Reason.TOO_LARGE, NO_MEMORY) for header in _headers_of(work)}
        return finish(read_study(study, ingest, everything | failed, others))
