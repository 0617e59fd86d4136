"""The whole ingest: a source of DICOM in; account, series and slice tables and HU volumes out."""

from __future__ import annotations

import shutil
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import pandas as pd

from ich_pipeline.config import IngestParams
from ich_pipeline.core.errors import InputError
from ich_pipeline.core.files import atomic_dir, real_place, remove_folder, write_table, write_text
from ich_pipeline.core.progress import Track, quiet
from ich_pipeline.dicom.identity import case_id, refuse_shared_names, volume_name
from ich_pipeline.dicom.reasons import Reason
from ich_pipeline.ingest.page import PAGE, write_summary
from ich_pipeline.ingest.scan import read_studies, scan_listing
from ich_pipeline.ingest.tables import (
    VolumeFacts,
    account_table,
    counted,
    reason_counts,
    series_row,
    series_table,
    slice_rows,
    slice_table,
    volume_facts,
)
from ich_pipeline.ingest.volumes import SUFFIX, write_volume
from ich_pipeline.series.archived_twice import second_archives
from ich_pipeline.series.group_volume import Verdicts
from ich_pipeline.series.series import Group
from ich_pipeline.series.study import StudyReading
from ich_pipeline.sources.remote import Remote
from ich_pipeline.sources.source import fetched_beside, is_remote, open_source
from ich_pipeline.sources.unpack import unpack
from ich_pipeline.tables.formulas import table_text
from ich_pipeline.tables.schemas import SERIES_TABLE, SLICES_TABLE
from ich_pipeline.workers.parallel import Processes, Runner

ACCOUNT = "account.csv"


@dataclass(frozen=True)
class IngestReport:
    """The tables that were written."""

    account: pd.DataFrame
    series: pd.DataFrame
    slices: pd.DataFrame

    @property
    def summary(self) -> str:
        """One sentence with the counts."""
        status = self.account["status"].value_counts()
        used, aside, rejected = (int(status.get(s, 0)) for s in ("used", "set_aside", "rejected"))
        chosen = self.series[self.series["chosen"]]
        return (
            f"{counted(len(self.account), 'file')}: {used:,} used, {aside:,} set aside, {rejected:,} rejected; "
            f"{len(chosen):,} series of {counted(chosen['patient_key'].nunique(), 'patient')}"
        )


class _NothingUsable(Exception):
    """No series of the source is usable; the account of its files, and the series that were seen."""

    def __init__(self, account: pd.DataFrame, series: pd.DataFrame):
        super().__init__()
        self.account = account
        self.series = series


@dataclass(frozen=True)
class _Outcome:
    """One study's reading without its voxels, which are in the file ``staged``."""

    facts: VolumeFacts | None
    staged: Path | None
    chosen: int
    groups: tuple[Group, ...] | None  # None for the study's own
    group_reasons: tuple[tuple[Reason, str], ...]
    places: tuple[int, ...]
    verdicts: Verdicts


@dataclass(frozen=True)
class _Read:
    """What is kept of a study that was read, until it is known that no other study shows the same pictures."""

    group: Group
    row: int  # of the series table
    digests: tuple[bytes, ...]
    names: tuple[str, ...]  # of its files that are used
    volume: Path


def ingest(
    source: Path | str,
    target: Path,
    params: IngestParams,
    track: Track = quiet,
    remote: Remote | None = None,
    runner: Runner | None = None,
    account_of_nothing: Path | None = None,
) -> IngestReport:
    """Ingest ``source`` into ``target`` atomically: account.csv, series.parquet, slices.parquet, volumes/ and a
    page about them, index.html.

    The bytes depend on the input and the settings alone, not on the number of workers or where they run. What a run needs beside them lies in
    ``.NAME.partial`` beside the target, which the next run removes, and the objects of S3 in ``.NAME.fetched``, which it
    goes on with; both are gone when it has ended well. Where no series is usable, account.csv and index.html alone are written, and the
    objects of S3 stay.

    Args:
        source: a folder, an archive, a DICOMDIR, a file, or ``s3://bucket/prefix``; archives in it are opened.
        target: replaced.
        params: all settings count.
        track: progress.
        remote: how S3 is reached.
        runner: where headers and studies are read; None for ``params.workers`` processes of this machine.
        account_of_nothing: a folder, replaced by account and page where no series is usable; None for ``target``, or for
            ``NAME.unusable`` beside a target that holds something else, which is then left as it was.

    Raises:
        InputError: the source is missing or cannot be read, and nothing is written; or no series in it is usable.
    """
    try:
        return _ingest(source, target, params, track, remote, runner or Processes(params.workers))
    except _NothingUsable as nothing:
        place = account_of_nothing or _free(target)
        with atomic_dir(place) as partial_place:
            _write_account(partial_place, nothing.account)
            write_summary(partial_place, nothing.account, nothing.series, params, track)
        raise InputError(
            f"{source} holds no usable CT series: {_most_common(nothing.account)}; every file has a row in {place / ACCOUNT}."
        ) from None


def _ingest(
    source: Path | str, target: Path, params: IngestParams, track: Track, remote: Remote | None, runner: Runner
) -> IngestReport:
    opened = open_source(source, remote, track)
    fetched = fetched_beside(target)
    with atomic_dir(target) as partial_target:
        members = partial_target / ".members"
        listing = unpack(opened.collect(fetched, track), members, params.archives, track)
        # The run's own: what a worker of an earlier run that was killed still writes has another name, and stays in here.
        staging = partial_target / ".staging"
        staging.mkdir()
        if listing.files:
            paths = [path for path, _ in listing.files]
            runner.prepare(staging, next((p for p in paths if not p.is_relative_to(partial_target)), paths[0]))
        found = scan_listing(listing, params, track, runner)
        images = [header for header in found.headers if header.is_ct_image]
        refuse_shared_names(
            (h.study_uid for h in images), (h.patient_id for h in images), (h.series_uid for h in images)
        )
        verdicts = dict(found.verdicts)
        rows = [series_row(g, None, g.reason, g.detail, params) for g in found.groups if g.reason and not g.last_resort]
        per_slice: list[dict] = []
        volumes = partial_target / "volumes"
        volumes.mkdir()
        outcomes = (
            read_studies(found.studies, params, partial(_store, staging=staging), track, runner, found.beside)
            if found.studies
            else ()
        )
        read: list[_Read] = []
        for study, outcome in zip(found.studies, outcomes, strict=True):
            verdicts |= outcome.verdicts
            groups, start = outcome.groups or study, len(rows)
            for i, (group, (reason, detail)) in enumerate(zip(groups, outcome.group_reasons, strict=True)):
                facts = outcome.facts if i == outcome.chosen else None
                rows.append(series_row(group, facts, reason, detail, params, outcome.places[i]))
            if (facts := outcome.facts) is not None and outcome.staged is not None:
                per_slice.extend(slice_rows(facts))
                place = volumes / f"{volume_name(facts.volume.series_uid)}{SUFFIX}"
                outcome.staged.rename(place)
                names, i = tuple(h.name for h in facts.volume.headers), outcome.chosen
                read.append(_Read(groups[i], start + i, facts.digests, names, place))
        twice = _second_archives(read, rows, verdicts, params)
        per_slice = [row for row in per_slice if row["StudyInstanceUID"] not in twice]
        account = account_table(found.headers, verdicts)
        if not per_slice:
            raise _NothingUsable(account, series_table(rows))
        report = IngestReport(account, series_table(rows), slice_table(per_slice))
        _write_account(partial_target, account)
        write_table(partial_target / "series.parquet", report.series, SERIES_TABLE)
        write_table(partial_target / "slices.parquet", report.slices, SLICES_TABLE)
        write_summary(partial_target, report.account, report.series, params, track)
        remove_folder(staging)
        # Before the folder gets its name: a kill from then on leaves nothing behind. What else lies there is not this run's.
        for scratch in (members, fetched) if is_remote(source) else (members,):
            shutil.rmtree(scratch, ignore_errors=True)
    return report


def _second_archives(
    read: Sequence[_Read], rows: list[dict], verdicts: Verdicts, params: IngestParams
) -> frozenset[str]:
    """Give up the studies whose pictures another study of the patient shows too; their StudyInstanceUIDs."""
    known = [(one.group.first.patient_id, one.group.first.study_uid, one.digests) for one in read]
    twice = second_archives(known)
    for copy, kept in twice.items():
        one = read[copy]
        why = (Reason.DUPLICATE_STUDY, f"its pictures are those of {case_id(known[kept][1])}")
        rows[one.row] = series_row(one.group, None, *why, params)
        verdicts |= dict.fromkeys(one.names, why)
        one.volume.unlink()
    return frozenset(known[copy][1] for copy in twice)


def unusable_beside(target: Path) -> Path:
    """``NAME.unusable``: where an account goes whose run found nothing, while the target holds an earlier ingest."""
    target = real_place(target)
    return target.with_name(f"{target.name}.unusable")


def _free(target: Path) -> Path:
    """Where an account without an ingest may go: an earlier ingest is not given up for it."""
    if target.is_dir() and not {path.name for path in target.iterdir()} <= {ACCOUNT, PAGE}:
        return unusable_beside(target)
    return target


def _write_account(folder: Path, account: pd.DataFrame) -> None:
    write_text(folder / ACCOUNT, table_text(account))


def _store(reading: StudyReading, staging: Path) -> _Outcome:
    """Runs in the worker: voxels to disk, facts back.

    Under a name of its own each time, which the run changes to the volume's: a study may be read twice, where a cluster
    takes a worker for dead that is not.
    """
    facts = staged = None
    if reading.volume is not None:
        staged = staging / f"{uuid.uuid4().hex}{SUFFIX}"
        write_volume(staged, reading.volume.hu)
        facts = volume_facts(reading.volume)
    groups = reading.groups if reading.parted else None
    return _Outcome(facts, staged, reading.chosen, groups, reading.group_reasons, reading.places, reading.verdicts)


def _most_common(account: pd.DataFrame) -> str:
    counts = reason_counts(account).sort_values("files", ascending=False, kind="stable").head(3).to_dict("records")
    return "; ".join(f"{counted(row['files'], 'file')} {row['reason']} ({row['meaning']})" for row in counts)
