"""The serving entry: the studies among DICOM files, and of one study's files one ordered HU volume, by the functions of the ingest."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ich_pipeline.config import IngestParams
from ich_pipeline.core.errors import InputError
from ich_pipeline.core.progress import Track, quiet
from ich_pipeline.dicom.header import Header, Source
from ich_pipeline.dicom.identity import case_id, patient_key, refuse_shared_names
from ich_pipeline.dicom.orientation import Turn
from ich_pipeline.dicom.reader import read_slice_headers
from ich_pipeline.dicom.reasons import Reason
from ich_pipeline.explain.scan import Scan
from ich_pipeline.ingest.scan import ScanResult, limits_of, list_files, read_headers, settle
from ich_pipeline.ingest.tables import (
    AccountRow,
    account_of,
    account_rows,
    account_table,
    counted,
    reason_counts,
    series_row,
    volume_facts,
)
from ich_pipeline.phantom.scanners import is_synthetic
from ich_pipeline.series.archived_twice import homes
from ich_pipeline.series.group_volume import Volume
from ich_pipeline.series.study import StudyReading, read_study
from ich_pipeline.sources.listing import Listing
from ich_pipeline.sources.opened import in_words, not_read
from ich_pipeline.workers.child import watching

if TYPE_CHECKING:
    import pandas as pd

Given = bytes | Path | Header  # of a study: a file's bytes, a file or folder, or the header of a file read before


@dataclass(frozen=True)
class Facts:
    """What of a study the record of served cases keeps (:mod:`ich_pipeline.watch`), beside the answer.

    Attributes:
        patient_key: see :mod:`ich_pipeline.dicom.identity`.
        synthetic: whether the series is known to be a synthetic head.
        thickness_mm: SliceThickness; NaN where not stated.
        kernel: soft, bone or unknown.
        manufacturer: as the header says.
        reasons: how many files met each reason code, those that were used too.
    """

    patient_key: str
    synthetic: bool
    thickness_mm: float
    kernel: str
    manufacturer: str
    reasons: Mapping[str, int]


@dataclass(frozen=True)
class Case:
    """One study, read.

    Attributes:
        case_id: see :mod:`ich_pipeline.dicom.identity`.
        patient_key: likewise.
        SOPInstanceUIDs: one a slice, towards the head.
        hu: int16 of shape (slices, rows, columns), Hounsfield units, in the standard view: rows towards the back, columns
            towards the patient's left.
        neighbours: int32 of shape (slices, 2): index of the slice before and after, −1 at an end and across a gap.
        positions_mm: float64 of shape (slices,), along the normal, rising.
        turn: from the picture of a file to its slice in ``hu``; ``turn.undo`` leads back.
        shifts_px: float64 of shape (slices, 2): how far a file's picture was moved, along its rows' and its columns' index,
            before the turn; zeros where no tilt was corrected.
        pixel_spacing_mm: PixelSpacing in the standard view: between rows, between columns of ``hu``.
        series: the row of the series table without PatientID.
        files: one row a file, as the ingest writes; :attr:`account` is the table.
        cautions: what a reader must know of the series: a part of the head that is not read, a last resort, and the like.
        scan: what a page says of the series; ``spacing_mm`` as above.
    """

    case_id: str
    patient_key: str
    SOPInstanceUIDs: tuple[str, ...]
    hu: NDArray[np.int16]
    neighbours: NDArray[np.int32]
    positions_mm: NDArray[np.float64]
    turn: Turn
    shifts_px: NDArray[np.float64]
    pixel_spacing_mm: tuple[float, float]
    series: dict[str, Any]
    files: Sequence[AccountRow]
    cautions: tuple[str, ...] = ()
    scan: Scan = field(default_factory=Scan)

    @cached_property
    def account(self) -> pd.DataFrame:
        """The account of the files as a table; pandas is loaded for whoever asks for it."""
        return account_of(self.files)

    @property
    def facts(self) -> Facts:
        """For the record of served cases."""
        row = self.series
        return Facts(
            patient_key=self.patient_key,
            synthetic=is_synthetic(row["Manufacturer"], row["ConvolutionKernel"]),
            thickness_mm=row["SliceThickness"],
            kernel=row["kernel_class"],
            manufacturer=row["Manufacturer"],
            reasons=dict(Counter(reason for _, _, reason, *_ in self.files)),
        )


def load_case(
    sources: Sequence[Given], ingest: IngestParams, failed: Mapping[str, tuple[Reason, str]] | None = None
) -> Case:
    """Read the DICOM files of one study and choose its series by the same rules as the ingest.

    Runs in this process; :class:`ich_pipeline.serving.case_process.CaseReader` runs it in one of its own. A missing PatientID is
    accepted here: cohorts are not at stake.

    Args:
        sources: files, folders (all files below them), or the bytes of files, in any order and mix; or the headers of all
            files, read with these settings (:func:`ich_pipeline.ingest.scan.read_headers`), which are not read again.
        ingest: all but workers count.
        failed: verdicts of slices whose decoding is known to bring the process down, and of headers
            (:func:`may_fail`): rejected unread.

    Raises:
        InputError: no file, several studies, or no usable series (with the reasons).
    """
    failed = failed or {}
    headers = _headers(sources, ingest, failed)
    if not headers:
        raise InputError("no DICOM file was given: name the files, or the folder, of one study.")
    found = settle(headers, ingest)
    files, studies = len({header.path for header in headers}), found.studies
    if len(studies) > 1:
        raise InputError(f"the {files} files belong to {len(studies)} studies: give the files of one study.")
    reading = read_study(studies[0], ingest, failed, found.beside[0]) if studies else None
    if reading is None or reading.volume is None:
        raise InputError(f"no usable CT series in {counted(files, 'file')}: {_reasons(found, reading)}.")
    volume = reading.volume
    chosen = reading.groups[reading.chosen]
    row = series_row(chosen, volume_facts(volume), *reading.group_reasons[reading.chosen], ingest, place=1)
    del row["PatientID"]
    return Case(
        case_id=case_id(chosen.first.study_uid),
        patient_key=patient_key(chosen.first.patient_id),
        SOPInstanceUIDs=tuple(h.sop_instance_uid for h in volume.headers),
        hu=volume.hu,
        neighbours=volume.neighbours,
        positions_mm=volume.positions_mm,
        turn=volume.turn,
        shifts_px=volume.shifts_px,
        pixel_spacing_mm=volume.spacing_mm,
        series=row,
        files=account_rows(found.headers, found.verdicts | reading.verdicts),
        cautions=reading.cautions,
        scan=_scan(volume),
    )


def _scan(volume: Volume) -> Scan:
    first = volume.headers[0]
    return Scan(
        spacing_mm=volume.spacing_mm,
        series_number=first.series_number,
        instance_numbers=tuple(h.instance_number for h in volume.headers),
        series_description=first.series_description,
        study_date=first.study_date,
        accession_number=first.accession_number,
    )


def _headers(sources: Sequence[Given], ingest: IngestParams, failed: Mapping[str, tuple[Reason, str]]) -> list[Header]:
    """The headers of all files: those that were read before, and those of files that are read here."""
    headers = [source for source in sources if isinstance(source, Header)]
    limits = limits_of(ingest)
    for source, name in _names_of(sources):
        if (of_header := _header_of(name)) in failed:
            headers.append(Header(name, source).set(*failed[of_header]))
            continue
        with watching(of_header, 2 * ingest.pixels.seconds_per_file):  # as the ingest does
            headers.extend(read_slice_headers(source, name, ingest.slice_thickness_mm, limits))
    return headers


def may_fail(sources: Sequence[Given]) -> list[str]:
    """What the reading of these may be brought down by, as :func:`load_case` calls it: headers, or slices whose header is there."""
    known = [source.name for source in sources if isinstance(source, Header)]
    return known + [_header_of(name) for _, name in _names_of(sources)]


def _header_of(name: str) -> str:
    """What the reading of a file's header is called, apart from that of its pixels."""
    return f"header of {name}"


def _names_of(sources: Sequence[Given]) -> list[tuple[Source, str]]:
    """Every file whose header is not there yet, with a name of its own for the account."""
    named: list[tuple[Source, str]] = []
    for number, source in enumerate(sources, start=1):
        if isinstance(source, Header):
            continue
        if isinstance(source, bytes):
            named.append((source, f"file {number}"))
        elif source.is_dir():
            named.extend((path, f"{source.name}/{name}") for path, name in list_files(source))
        else:
            named.append((source, source.name))
    if len({name for _, name in named}) < len(named):
        named = [(source, f"{number}/{name}") for number, (source, name) in enumerate(named, start=1)]
    return named


def _reasons(found: ScanResult, reading: StudyReading | None) -> str:
    account = account_table(found.headers, found.verdicts | (reading.verdicts if reading else {}))
    return "; ".join(f"{row.files} {row.reason} ({row.meaning})" for row in reason_counts(account).itertuples())


def find_studies(
    listing: Listing,
    named: str,
    ingest: IngestParams,
    track: Track = quiet,
    remedy: str = "name another folder",
) -> tuple[dict[str, list[Header]], int]:
    """Headers by StudyInstanceUID, in order of the files' names, and the number of files that are no DICOM image of a study.

    A study that was archived twice is one: :mod:`ich_pipeline.series.archived_twice`.

    Args:
        listing: the files, archives opened.
        named: how a sentence calls the sources.
        ingest: the model's settings; the series are judged when the case is loaded.
        track: progress.
        remedy: what to do where there is none.

    Raises:
        InputError: none of the files is DICOM, or two studies would be called the same.
    """
    studies: dict[str, list[Header]] = {}
    headers = [header for header in read_headers(listing.files, ingest, track) if header.study_uid]
    home_of = homes(headers)
    for header in headers:
        studies.setdefault(home_of.get(header.study_uid, header.study_uid), []).append(header)
    if not studies:
        unread = in_words(not_read(listing))
        but = f"; not read: {unread}" if unread else ""
        raise InputError(f"{named} holds no DICOM image (files looked at: {len(listing.files)}{but}): {remedy}.")
    refuse_shared_names(studies)
    images = {header.path for headers in studies.values() for header in headers}  # of several frames each has a header
    return studies, len(listing.files) - len(images)
