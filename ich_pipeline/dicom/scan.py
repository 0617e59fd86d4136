"""A folder of DICOM in any layout: every file judged, candidates grouped, one series a study read.

:func:`scan` reads headers only and keeps no pixels; :func:`read_studies` decodes study by study in worker processes.
Memory is one volume a worker.
"""

from __future__ import annotations

import contextlib
import os
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TypeVar

from ich_pipeline.config import IngestParams
from ich_pipeline.dicom.decode import PixelError, read_hu
from ich_pipeline.dicom.header import Header, Source
from ich_pipeline.dicom.parallel import Crash, process_count, run_tasks
from ich_pipeline.dicom.reader import read_header
from ich_pipeline.dicom.reasons import Reason
from ich_pipeline.dicom.series import Group, find_mixed_identity, group_series
from ich_pipeline.dicom.study import StudyReading, Verdicts, read_study
from ich_pipeline.progress import Track, quiet

R = TypeVar("R")
CHUNK = 256  # headers a task
PARALLEL_FROM = 16 * CHUNK  # fewer files are read sooner than worker processes start


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
        """The candidate groups of each study that has any."""
        found: dict[str, list[Group]] = defaultdict(list)
        for group in self.groups:
            if group.reason is None:
                found[group.first.study_uid].append(group)
        return [found[uid] for uid in sorted(found)]


def scan(root: Path, ingest: IngestParams, track: Track = quiet) -> ScanResult:
    """Read the header of every file below ``root`` (links are followed to files, not to folders).

    Args:
        root: a folder in any layout.
        ingest: workers, minimum_slices and slice_thickness_mm count.
        track: progress over the files.
    """
    headers = read_headers(list_files(root), ingest, track)
    return settle(
        [h.set(Reason.NO_PATIENT_ID) if h.reason is None and not h.patient_id else h for h in headers], ingest
    )


def settle(headers: Sequence[Header], ingest: IngestParams) -> ScanResult:
    """Judge files against each other: identity, then series."""
    headers = find_mixed_identity(sorted(headers, key=lambda h: h.name))
    groups = group_series(headers, ingest)
    verdicts: Verdicts = {h.name: (h.reason, h.detail) for h in headers if h.reason is not None}
    for group in groups:
        if group.reason is not None:
            for header in group.headers:
                verdicts.setdefault(header.name, (group.reason, group.detail))
    return ScanResult(tuple(headers), tuple(groups), verdicts)


def list_files(root: Path) -> list[tuple[Path, str]]:
    """Every file below ``root`` with its name in the account, sorted by that name."""
    found = []
    for folder, _, names in os.walk(root):
        for name in names:
            path = Path(folder, name)
            relative = path.relative_to(root).as_posix()
            # Names that are not UTF-8 stay distinct and can be written to a table.
            found.append((path, os.fsencode(relative).decode("utf-8", "backslashreplace")))
    return sorted(found, key=lambda item: item[1])


def read_headers(files: Sequence[tuple[Path, str]], ingest: IngestParams, track: Track = quiet) -> list[Header]:
    """Headers of files, in their order; in worker processes where there are many files."""
    workers = process_count(ingest.workers)
    chunks = [files[i : i + CHUNK] for i in range(0, len(files), CHUNK)]
    task = partial(_read_chunk, thickness_range_mm=ingest.slice_thickness_mm)
    results = run_tasks(task, chunks, workers) if workers > 1 and len(files) >= PARALLEL_FROM else map(task, chunks)
    headers: list[Header] = []
    for chunk, result in zip(chunks, track(results, "reading headers", len(chunks)), strict=True):
        if isinstance(result, Crash):
            result = [Header(name, path, Reason.BROKEN_HEADER, "brought the reader down") for path, name in chunk]
        headers.extend(result)
    return headers


def read_studies(
    studies: Sequence[Sequence[Group]],
    ingest: IngestParams,
    finish: Callable[[StudyReading], R],
    track: Track = quiet,
) -> Iterator[R]:
    """Read studies in worker processes and yield ``finish(reading)`` of each, in their order.

    A study whose decoding ends its process is read again without the files that do so.

    Args:
        studies: the candidates of each study (:attr:`ScanResult.studies`).
        ingest: all settings count.
        finish: runs in the worker, so that a volume does not travel between processes; importable by name, or a
            ``functools.partial`` of such.
        track: progress over the studies.
    """
    workers = process_count(ingest.workers)
    task = partial(_read_and_finish, ingest=ingest, finish=finish)
    results = run_tasks(task, [(study, frozenset()) for study in studies], workers)
    for study, result in zip(studies, track(results, "reading studies", len(studies)), strict=True):
        if isinstance(result, Crash):
            headers = [header for group in study for header in group.headers]
            probes = run_tasks(_probe, [h.source for h in headers], 1)
            crashing = frozenset(h.name for h, r in zip(headers, probes, strict=True) if isinstance(r, Crash))
            [result] = run_tasks(task, [(study, crashing)], 1)
            if isinstance(result, Crash):
                raise RuntimeError(
                    f"reading a study ends its process, though none of its {len(headers)} files does alone"
                )
        yield result


def _read_chunk(files: Sequence[tuple[Path, str]], thickness_range_mm: tuple[float, float]) -> list[Header]:
    return [read_header(path, name, thickness_range_mm) for path, name in files]


def _read_and_finish(
    task: tuple[Sequence[Group], frozenset[str]], ingest: IngestParams, finish: Callable[[StudyReading], R]
) -> R:
    study, crashing = task
    return finish(read_study(study, ingest, crashing))


def _probe(source: Source) -> None:
    with contextlib.suppress(PixelError):
        read_hu(source)
