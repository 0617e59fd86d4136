"""A folder of files in any layout: de-identified copies under new names, and an account of every file."""

from __future__ import annotations

import os
import shutil
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from ich_pipeline.core.progress import Track, quiet
from ich_pipeline.deidentify.file import Cleaned, deidentify_bytes
from ich_pipeline.deidentify.header import Tally
from ich_pipeline.deidentify.key import Key
from ich_pipeline.deidentify.options import Options
from ich_pipeline.deidentify.reasons import Outcome
from ich_pipeline.ingest.tables import counted
from ich_pipeline.sources.listing import Judged
from ich_pipeline.workers.child import Crash, watching
from ich_pipeline.workers.parallel import process_count, run_tasks

CHUNK = 16  # files a task
SECONDS_A_FILE = 120.0  # a decoder that hangs must not hold up all; a large enhanced object takes a while
STAGING = ".staging"
Files = Sequence[tuple[Path, str]]  # path, and name below the source
Job = tuple[Path, Path]  # what is read, and where its copy waits for its name


@dataclass(frozen=True)
class Row:
    """One file in the account: nothing in it tells whose it is.

    Attributes:
        source: a keyed hash of its name below the source.
        cleaned: what became of it, without its bytes.
        path: of the copy, below the output folder; empty where it is set aside.
    """

    source: str
    cleaned: Cleaned
    path: str


@dataclass(frozen=True)
class Result:
    """All files, in the order in which they were given, then what was judged before."""

    rows: tuple[Row, ...]
    names: tuple[str, ...]  # below the source, row by row; never to be shown
    key: Key
    options: Options

    @property
    def tally(self) -> Tally:
        """What was removed and replaced in all files."""
        total: Tally = Counter()
        for row in self.rows:
            total += row.cleaned.tally
        return total

    @property
    def outcomes(self) -> Counter[Outcome]:
        """Files by outcome."""
        return Counter(row.cleaned.outcome for row in self.rows)

    @property
    def copied(self) -> int:
        """Files that were de-identified."""
        return self.outcomes[Outcome.DEIDENTIFIED]

    @property
    def summary(self) -> str:
        """One sentence with the counts."""
        done = self.copied
        patients = {row.cleaned.uids[0] for row in self.rows if row.cleaned.uids}
        return f"{counted(len(self.rows), 'file')}: {done:,} de-identified, {len(self.rows) - done:,} set aside; {counted(len(patients), 'patient')}"


def deidentify_files(
    files: Files,
    target: Path,
    key: Key,
    options: Options,
    workers: int = 0,
    track: Track = quiet,
    judged: Sequence[Judged] = (),
    seconds: float = SECONDS_A_FILE,
) -> Result:
    """Write de-identified copies of ``files`` below ``target``: PatientID/study/series/instance.dcm, all of keyed hashes.

    What a file becomes depends on it, the key and the options alone. Two files with one SOPInstanceUID become
    ``name.dcm`` and ``name_2.dcm`` in the order of ``files``.

    Args:
        files: paths, and their names below the source.
        target: an existing folder; the caller makes the whole atomic (:func:`ich_pipeline.core.files.atomic_dir`).
        key: of all replacements.
        options: what may stay.
        workers: processes; 0 is one a core.
        track: progress over tasks of 16 files.
        judged: what cannot be read or is an archive that was opened; what was seen of it stays out, for it may name someone.
        seconds: that one file may take; beyond it is ``process_ended``.
    """
    staging = target / STAGING
    staging.mkdir()
    jobs = [(path, staging / str(i)) for i, (path, _) in enumerate(files)]
    chunks = [jobs[start : start + CHUNK] for start in range(0, len(jobs), CHUNK)]
    task = partial(_work, key=key, options=options, seconds=seconds)
    results = run_tasks(task, chunks, process_count(workers))  # one worker too: what ends it must not end the command
    rows: list[Row] = []
    taken: Counter[str] = Counter()
    for chunk, done in zip(chunks, track(results, "de-identifying", len(chunks)), strict=True):
        cleaned_files = _one_by_one(task, chunk) if isinstance(done, Crash) else done
        for (_, staged), cleaned in zip(chunk, cleaned_files, strict=True):
            _, name = files[len(rows)]
            path = ""
            if cleaned.uids:
                path = _place(key, cleaned, taken)
                (target / path).parent.mkdir(parents=True, exist_ok=True)
                staged.rename(target / path)
            rows.append(Row(_source(key, name), cleaned, path))
    shutil.rmtree(staging)
    rows += [Row(_source(key, one.name), Cleaned(Outcome(one.reason.value)), "") for one in judged]
    names = (*(name for _, name in files), *(one.name for one in judged))
    return Result(tuple(rows), names, key, options)


def _source(key: Key, name: str) -> str:
    return f"F{key.token('file', name)}"


def _place(key: Key, cleaned: Cleaned, taken: Counter[str]) -> str:
    assert cleaned.uids
    patient, study, series, instance = cleaned.uids
    parts = (patient or "no_patient_id", *(key.token("name", uid) for uid in (study, series, instance)))
    path = "/".join(parts)
    taken[path] += 1
    return f"{path}.dcm" if taken[path] == 1 else f"{path}_{taken[path]}.dcm"


def _work(chunk: Sequence[Job], key: Key, options: Options, seconds: float) -> list[Cleaned]:
    """Runs in the worker: bytes to disk, the account back."""
    done = []
    for path, staged in chunk:
        with watching("", seconds):
            done.append(_one(path, staged, key, options))
    return done


def _one(path: Path, staged: Path, key: Key, options: Options) -> Cleaned:
    try:
        data = path.read_bytes()
    except OSError as error:
        return Cleaned(Outcome.UNREADABLE, os.strerror(error.errno) if error.errno else "")
    cleaned = deidentify_bytes(data, key, options)
    if cleaned.data is not None:
        staged.write_bytes(cleaned.data)
    return replace(cleaned, data=None)


def _one_by_one(task: Callable[[Sequence[Job]], list[Cleaned]], chunk: Sequence[Job]) -> list[Cleaned]:
    """A file of the chunk ended its process: only that one is lost."""
    results = run_tasks(task, [[item] for item in chunk], 1)
    return [Cleaned(Outcome.PROCESS_ENDED) if isinstance(r, Crash) else r[0] for r in results]
