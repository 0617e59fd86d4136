"""A source of head CT and its label table into ``data/``: checked first, then copied, never half written.

The source is only ever read. The copy keeps its layout below ``data/dicom`` (objects of S3 that of their keys), and archives stay
archives there: they are opened to check the labels, and again by the ingest. The labels become ``data/labels.csv`` (a row a slice) or ``data/case_labels.csv``
(a row a case, and then labels.csv holds its header only).
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace as changed
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ich_pipeline.cohorts.copies import check_names, check_places, check_replaceable, copy_files
from ich_pipeline.cohorts.cq500 import read_cq500
from ich_pipeline.cohorts.faults import REPORT, LabelAccount, LabelFault
from ich_pipeline.cohorts.marks import Drawn, Labelled, Mark, read_boxes, read_ctich_masks
from ich_pipeline.cohorts.matching import match, refuse_broken_key
from ich_pipeline.cohorts.physionet_ctich import KIND as PHYSIONET_CTICH
from ich_pipeline.cohorts.physionet_ctich import read_physionet_ctich
from ich_pipeline.cohorts.plain import read_plain
from ich_pipeline.cohorts.rsna2019 import KIND as RSNA2019
from ich_pipeline.cohorts.rsna2019 import read_rsna2019
from ich_pipeline.cohorts.source_table import KEY, LabelRows, Level
from ich_pipeline.config import Params
from ich_pipeline.core.errors import InputError
from ich_pipeline.core.files import atomic_dir, write_json, write_text
from ich_pipeline.core.progress import Track, quiet
from ich_pipeline.dicom.header import Header
from ich_pipeline.dicom.reasons import Reason
from ich_pipeline.ingest.scan import read_headers
from ich_pipeline.sources.listing import Listing
from ich_pipeline.sources.opened import in_words, not_read, opened
from ich_pipeline.sources.remote import Remote
from ich_pipeline.sources.source import fetched_beside, is_remote, named, open_source
from ich_pipeline.tables.cohort_mark import CQ500, FROZEN_KEY, LEVEL, OWN, write_mark
from ich_pipeline.tables.formulas import csv_text, table_text
from ich_pipeline.tables.identifiers import spoilt
from ich_pipeline.tables.label_tables import STUDY, UID, write_case_labels, write_labels
from ich_pipeline.tables.labels import Labels
from ich_pipeline.tables.masks import Boxes, write_masks

Reader = Callable[[Path, Labels, LabelAccount, Track], LabelRows]
ADAPTERS: Mapping[str, Reader] = {
    OWN: read_plain,
    RSNA2019: read_rsna2019,
    CQ500: read_cq500,
    PHYSIONET_CTICH: read_physionet_ctich,
}
MARKS: Mapping[str, Drawn] = {OWN: read_boxes, PHYSIONET_CTICH: read_ctich_masks}
READERS_COLUMNS = ("reader", "case", "decision")


# How far readers agree: Cohen's kappa of every pair, Fleiss' kappa of all, each with the counts that it comes from.

Votes = NDArray[np.integer]
NO_VARIETY = "every vote is the same, so agreement by chance is complete and kappa has no value"
NO_CASE = "no case"


def agreement(votes: Mapping[str, pd.DataFrame]) -> dict[str, Any]:
    """Agreement of readers, finding by finding.

    Args:
        votes: reader → table of 0 and 1 with one row a case and one column a finding; the same rows and columns for all.

    Returns:
        ``{"cases": n, "readers": […], "findings": {finding: {"positive": {reader: n}, "majority": n, "pairs": […], "fleiss":
        {…}}}}``. A kappa that the votes cannot give is null with a ``reason``.
    """
    readers = list(votes)
    first = votes[readers[0]]
    findings = {}
    for finding in first.columns:
        table = np.stack([votes[reader][finding].to_numpy() for reader in readers], axis=1)
        findings[finding] = {
            "positive": {reader: int(table[:, i].sum()) for i, reader in enumerate(readers)},
            "majority": int((2 * table.sum(axis=1) > len(readers)).sum()),
            "pairs": [
                {"readers": [readers[a], readers[b]], **cohen_kappa(table[:, a], table[:, b])}
                for a, b in combinations(range(len(readers)), 2)
            ],
            "fleiss": fleiss_kappa(table),
        }
    return {"cases": len(first), "readers": readers, "findings": findings}


def cohen_kappa(a: Votes, b: Votes) -> dict[str, Any]:
    """Cohen's kappa (Cohen 1960) of two readers' votes of 0 and 1, shape (cases,), with the four counts behind it."""
    a, b = np.asarray(a) == 1, np.asarray(b) == 1
    n = len(a)
    both, neither = int((a & b).sum()), int((~a & ~b).sum())
    counts = {"both": both, "first_only": int((a & ~b).sum()), "second_only": int((~a & b).sum()), "neither": neither}
    if n == 0:
        return {"kappa": None, "reason": NO_CASE, "agreement": None, **counts}
    shared = {"agreement": (both + neither) / n, **counts}
    if n in (both, neither):  # then chance agreement is complete
        return {"kappa": None, "reason": NO_VARIETY, **shared}
    from statsmodels.stats.inter_rater import cohens_kappa

    table = np.array([[neither, counts["second_only"]], [counts["first_only"], both]])
    return {"kappa": float(cohens_kappa(table, return_results=False)), "reason": None, **shared}  # type: ignore[arg-type]


def fleiss_kappa(table: Votes) -> dict[str, Any]:
    """Fleiss' kappa (Fleiss 1971) of votes of 0 and 1, shape (cases, readers), with the cases by number of positive votes."""
    table = np.asarray(table)
    n, readers = table.shape
    positive = table.sum(axis=1)
    counts = {"cases_by_positive_votes": [int((positive == k).sum()) for k in range(readers + 1)]}
    if n == 0:
        return {"kappa": None, "reason": NO_CASE, **counts}
    if positive.sum() in (0, n * readers):
        return {"kappa": None, "reason": NO_VARIETY, **counts}
    from statsmodels.stats import inter_rater

    found = float(inter_rater.fleiss_kappa(np.column_stack([readers - positive, positive])))
    return {"kappa": found, "reason": None, **counts}


def bring(
    kind: str,
    source: Path | str,
    labels_csv: Path,
    target: Path,
    params: Params,
    track: Track = quiet,
    *,
    replace: bool = False,
    lenient: bool = False,
    remote: Remote | None = None,
    called: tuple[Path | str, Path] | None = None,
    besides: Mapping[str, Path] | None = None,
    marks: Path | None = None,
    account: LabelAccount | None = None,
) -> tuple[str, Level]:
    """Copy a source and its labels into ``target`` (``data/``), atomically.

    Args:
        kind: the form of the label table, one of :data:`ADAPTERS`.
        source: a folder in any layout, an archive, a DICOMDIR, or ``s3://bucket/prefix``; every file of it is copied,
            whatever it is. The objects of S3 are fetched into ``.NAME.fetched`` beside the target, which stays where the
            run does not end well, so that the next one goes on with it; a run of S3 that ends well removes it.
        labels_csv: the label table.
        target: becomes dicom/, labels.csv, labels_report.csv, readers.csv, masks.csv and cohort.json; with case labels also
            case_labels.csv; labels_aside.csv where the table has other columns; agreement.json where it has several readers.
        params: label names, limits of archives, and the workers that read headers.
        track: progress over rows and files.
        replace: delete a cohort of the user's own that is there already. A phantom is always replaced.
        lenient: leave out what is at fault and count it, instead of refusing all; objects that S3 does not hand over too.
        remote: how S3 is reached.
        called: what sentences call source and table, where these are not what the user named.
        besides: more files for the target, by their names there.
        marks: masks or boxes of the lesions, in the form of :data:`MARKS`; labels of slices alone can have some.
        account: what was left out of the table before; gets what is found now.

    Returns:
        Sentences with the counts, and whether the labels are of slices or of cases.

    Raises:
        InputError: source or table is missing or wrong, they do not agree or an archive cannot be read whole (neither
            with ``lenient``), no label is left, the target holds a cohort that is not a phantom, the folders contain one
            another, or the disk is too small. Nothing is changed then.
    """
    source, target, labels_csv = named(source), Path(target), Path(labels_csv)
    remote = changed(remote or Remote(), accept_missing=lenient, missing_option="--lenient")
    listed = open_source(source, remote, track)
    check_places(source, target, remote, labels_csv, *([marks] if marks else []))
    check_replaceable(target, replace)
    export, labels_named = called or (source, labels_csv)
    labels, account = params.label_set, LabelAccount() if account is None else account
    rows = ADAPTERS[kind](labels_csv, labels, account, track)
    _check_marks(marks, rows)
    fetched = fetched_beside(target)
    given = listed.collect(fetched, track)
    check_names(given)
    with atomic_dir(target) as partial:
        headers, members = _headers(source, given, partial / ".members", account, params, track)
        refuse_broken_key(rows, headers, labels_named, export)
        table = match(rows, headers, account)
        if not lenient:
            account.refuse_faults(labels_named, export)
        if table.empty:
            raise InputError(
                f"{labels_named} labels nothing that is in {export}: name the export and the table that belong together"
                f"{f'; the table {found}' if (found := spoilt(rows.table[KEY])) else ''}."
            )
        drawn = _marks(kind, marks, table, headers, labels, account, track)
        if marks and not lenient:
            account.refuse_faults(marks, export)
        settings = {
            "labels": params.labels.model_dump(mode="json"),
            LEVEL: rows.level,
            "files": len(given.files),
            "labelled": len(table),
            "left_out": {code.value: count for code, count in account.counts(notes=False).items()},
            **({"marks": len(drawn)} if marks else {}),
        }
        copy_files(source, given, fetched, partial / "dicom", track)
        for name, path in (besides or {}).items():
            shutil.copyfile(path, partial / name)
        _write_tables(partial, rows, table, labels)
        account.write(partial / REPORT)
        write_masks(partial / "masks.csv", drawn)
        write_mark(partial, kind, settings)
        if (target / FROZEN_KEY).exists():  # frozen tests stay frozen where the whole export is brought anew
            shutil.copyfile(target / FROZEN_KEY, partial / FROZEN_KEY)
        if is_remote((called or (source,))[0]):
            # Before the folder gets its name: a kill from then on leaves nothing behind.
            shutil.rmtree(fetched, ignore_errors=True)
    images = sum(header.is_ct_image for header in headers)
    cases = "case labelled" if len(table) == 1 else "cases labelled"
    what = "labelled" if rows.level == "slice" else cases
    where = "among them and their members" if members else "among them"
    parts = [
        f"{len(given.files):,} file{'' if len(given.files) == 1 else 's'} copied, {images:,} CT image{'' if images == 1 else 's'} {where}, "
        f"{len(table):,} {what} ({int(table[labels.any].sum()):,} with {labels.any}).",
        *([_marks_in_words(drawn, int(table[labels.any].sum()))] if marks else []),
        *account.sentences(),
    ]
    if account.findings:
        parts.append(f"Each is named in {target / REPORT}.")
    return " ".join(parts), rows.level


def _check_marks(path: Path | None, rows: LabelRows) -> None:
    """Before the source is fetched and its headers are read, which may take hours."""
    if path is None:
        return
    if not path.exists():
        raise InputError(f"{path} is missing: name the file or folder of the masks or boxes.")
    if rows.level != "slice":
        raise InputError(
            f"{path}: masks and boxes are of slices, and the labels here are of cases: bring labels of slices."
        )


def _marks(
    kind: str,
    path: Path | None,
    table: pd.DataFrame,
    headers: Sequence[Header],
    labels: Labels,
    account: LabelAccount,
    track: Track,
) -> list[Mark]:
    if path is None:
        return []
    images = {one.sop_instance_uid: one for header in headers for one in header.slices() if one.is_ct_image}
    return MARKS[kind](path, Labelled(table, images, labels), account, track)


def _marks_in_words(drawn: Sequence[Mark], positive: int) -> str:
    boxed = {uid for uid, _, where in drawn if isinstance(where, Boxes)}
    masked = {uid for uid, *_ in drawn} - boxed
    return f"{'Boxes' if boxed else 'Masks'} of {len(boxed or masked):,} of the {positive:,} positive slices."


def _headers(
    source: Path | str, given: Listing, scratch: Path, account: LabelAccount, params: Params, track: Track
) -> tuple[list[Header], bool]:
    """Headers of all files and of all members of archives, and whether there are members."""
    with opened(given, scratch, params.ingest.archives, track) as listing:
        return headers_of(source, listing, account, params, track), len(listing) > len(given)


def headers_of(
    source: Path | str, listing: Listing, account: LabelAccount, params: Params, track: Track
) -> list[Header]:
    """Headers of all files of a source whose archives are open.

    Args:
        source: what a sentence calls it.
        listing: its files.
        account: gets what cannot be read, as faults.
        params: how the ingest reads.
        track: progress.

    Raises:
        InputError: there is no CT image, or a file cannot be read.
    """
    headers = read_headers(listing.files, params.ingest, track)
    unread = not_read(listing)
    if not any(header.is_ct_image for header in headers):
        but = f" (not read: {in_words(unread)})" if unread else ""
        raise InputError(
            f"{source} holds no CT image among its {len(listing):,} files{but}: name the folder or archive of your DICOM export."
        )
    for header in headers:
        if header.reason is Reason.UNREADABLE:
            place = source if isinstance(source, Path) and not source.is_dir() else f"{source}/{header.name}"
            raise InputError(f"{place} cannot be read ({header.detail}): mend its permissions or remove it.")
    for one in unread:
        account.add(LabelFault.NOT_READ, one.name, detail=f"{one.reason}{f', {one.detail}' if one.detail else ''}")
    return headers


def _write_tables(folder: Path, rows: LabelRows, table: pd.DataFrame, labels: Labels) -> None:
    if rows.level == "slice":
        write_labels(folder / "labels.csv", table, labels)
    else:
        write_labels(folder / "labels.csv", pd.DataFrame(columns=[UID, *labels.columns]), labels)
        write_case_labels(folder / "case_labels.csv", table, labels)
    uid = UID if rows.level == "slice" else STUDY
    keys = table[KEY].tolist()
    if rows.aside is not None:
        aside = rows.aside.loc[keys].reset_index(drop=True)
        aside.insert(0, uid, table[uid])
        write_text(folder / "labels_aside.csv", table_text(aside))
    votes = {reader: found.loc[keys] for reader, found in (rows.votes or {}).items()}
    columns = READERS_COLUMNS if not votes else (*READERS_COLUMNS[:2], "label", READERS_COLUMNS[2])
    read = (
        (reader, case, label, vote)
        for reader, found in votes.items()
        for label in labels.columns
        for case, vote in zip(table[uid], found[label], strict=True)
    )
    write_text(folder / "readers.csv", csv_text(columns, read))
    if votes:
        write_json(folder / "agreement.json", agreement(votes))
