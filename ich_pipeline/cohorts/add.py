"""More patients and studies into a cohort that is there: only what is new is copied, and nothing that is there changes."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace as changed
from pathlib import Path
from typing import Any

import pandas as pd

from ich_pipeline.cohorts.bring import headers_of
from ich_pipeline.cohorts.copies import check_names, check_places, copy_files
from ich_pipeline.cohorts.faults import REPORT, LabelAccount
from ich_pipeline.cohorts.matching import match, refuse_broken_key
from ich_pipeline.cohorts.plain import read_plain
from ich_pipeline.cohorts.source_table import KEY
from ich_pipeline.config import Params
from ich_pipeline.core.errors import InputError
from ich_pipeline.core.files import (
    atomic_dir,
    beside,
    private_folder,
    read_json,
    real_place,
    remove_folder,
    sha256_of,
    write_text,
)
from ich_pipeline.core.progress import Track, quiet
from ich_pipeline.deidentify.key import PATIENT_ID
from ich_pipeline.deidentify.report import REPORT as DEIDENTIFICATION
from ich_pipeline.dicom.header import Header
from ich_pipeline.ingest.scan import read_headers
from ich_pipeline.sources.folder import list_folder
from ich_pipeline.sources.listing import Listing
from ich_pipeline.sources.opened import not_read, opened
from ich_pipeline.sources.remote import Remote
from ich_pipeline.sources.source import fetched_beside, is_remote, named, open_source
from ich_pipeline.tables.cohort_mark import LEVEL, MARK, OWN, PHANTOM, cohort_kind, has_case_labels_only, write_mark
from ich_pipeline.tables.label_tables import SHOWN, UID, read_labels, write_labels
from ich_pipeline.tables.labels import Labels

NOTHING = "nothing was changed."  # the end of the sentence where nothing is new


def add(
    source: Path | str,
    labels_csv: Path,
    target: Path,
    params: Params,
    track: Track = quiet,
    *,
    lenient: bool = False,
    remote: Remote | None = None,
    of_test: Callable[[Header], bool] = lambda _: False,
) -> str:
    """Add what is new of a source and its labels to ``target`` (``data/``), atomically; returns sentences with the counts.

    New files go below ``dicom/added-…``, named after their content. Those that are there keep their place: the new tree holds
    them under a second name (a hard link), where the file system has such, else as a copy.

    Args:
        source: as for :func:`ich_pipeline.cohorts.bring.bring`.
        labels_csv: a plain table of slices; rows of images that are in ``target`` may be in it.
        target: a cohort with labels of slices.
        params: label names, limits of archives, workers.
        track: progress.
        lenient: leave out labels that are at fault and count them.
        remote: how S3 is reached.
        of_test: is this of a patient or a study of a frozen test? Its new files and labels are left out and counted, since
            the test must not change.

    Raises:
        InputError: there is no such cohort, the source or the table is wrong, an image or a label contradicts one that is
            there, an archive holds studies of frozen tests beside others, one of the two cohorts alone is de-identified or
            both are with two keys, or the disk is too small. Nothing is changed then.
    """
    source, target, labels_csv = named(source), Path(target), Path(labels_csv)
    remote = changed(remote or Remote(), accept_missing=lenient, missing_option="--lenient")
    listed = open_source(source, remote, track)
    check_places(source, target, remote, labels_csv)
    _check_cohort(target)
    labels, account = params.label_set, LabelAccount()
    rows = read_plain(labels_csv, labels, account, track)
    if rows.level != "slice":
        raise InputError(f"{labels_csv} labels cases, and {target} holds labels of slices: bring a row a slice.")
    before = read_labels(target / "labels.csv", labels)
    _refuse_contradictions(rows.table, before, labels_csv, target, labels)
    fetched = fetched_beside(target)
    given = listed.collect(fetched, track)
    check_names(given)
    there = list_folder(target / "dicom")
    scratch = beside(real_place(target), "partial")
    remove_folder(scratch)
    private_folder(scratch)
    try:
        limits = params.ingest.archives
        with (
            opened(there, scratch / "there", limits, track) as old,
            opened(given, scratch / "given", limits, track) as new,
        ):
            known = read_headers(old.files, params.ingest, track)
            headers = headers_of(source, new, account, params, track)
            _refuse_mixed(target, source, headers, known, len(not_read(new)))
            aside = [header for header in headers if of_test(header)]
            found_new = _new_files(given, headers, there, known, source, target, aside)
    finally:
        remove_folder(scratch)
    files = _without_tests(found_new, headers, aside, source)
    labelled = set(before[UID])
    of_tests = {one.sop_instance_uid for h in (*filter(of_test, known), *aside) for one in h.slices()}
    late = rows.table[KEY].isin(of_tests - labelled)
    rows = changed(rows, table=rows.table[~late])
    left_out = _left_out(len(found_new) - len(files), int(late.sum()))
    headers = [header for header in headers if not of_test(header)]
    in_source = {one.sop_instance_uid for header in headers for one in header.slices()}
    known_images = {one.sop_instance_uid for header in known for one in header.slices() if one.is_ct_image}
    of_known = rows.table[KEY].isin(known_images - in_source)
    rest = changed(rows, table=rows.table[~of_known])
    asked = set(rest.table[KEY])
    open_headers = [h for h in headers if h.sop_instance_uid not in labelled or h.sop_instance_uid in asked]
    if asked:
        refuse_broken_key(rest, headers, labels_csv, source)
    found = match(rest, open_headers, account)
    if not lenient:
        account.refuse_faults(labels_csv, source)
    more = rows.table[of_known].rename(columns={KEY: UID})
    columns = [UID, *labels.columns]
    table = pd.concat([before, found[columns], more[columns]]).drop_duplicates(UID)
    fresh = len(table) - len(before)
    if not files and not fresh:
        if is_remote(source):
            shutil.rmtree(fetched, ignore_errors=True)
        return " ".join([*left_out, f"{target} holds all{' else' * bool(left_out)} of {source} already; {NOTHING}"])
    with atomic_dir(target) as partial:
        _second_names(target, partial)
        if files:
            copy_files(source, Listing(tuple(files)), fetched, partial / "dicom" / _batch(files), track)
        write_labels(partial / "labels.csv", table.sort_values(UID, kind="stable"), labels)
        _append_report(partial / REPORT, account)
        _update_mark(partial, len(there.files) + len(files), len(table), account)
        if is_remote(source):
            shutil.rmtree(fetched, ignore_errors=True)
    patients = {h.patient_id for h in headers if h.is_ct_image} - {h.patient_id for h in known if h.is_ct_image}
    said = f"{len(files):,} of {len(given.files):,} files copied, the others are in {target} already; new patients: {len(patients):,}; slices newly labelled: {fresh:,}."
    return " ".join([said, *left_out, *account.sentences()])


def _check_cohort(target: Path) -> None:
    kind = cohort_kind(target)
    if kind is None or not (target / "labels.csv").is_file() or not (target / "dicom").is_dir():
        raise InputError(
            f"{target} holds no cohort to add to: `ich cohort folder SOURCE --labels CSV` brings the first."
        )
    if kind == PHANTOM:
        raise InputError(
            f"{target} holds the synthetic cohort, and patients are not mixed with it: `ich cohort folder SOURCE --labels CSV` "
            "brings yours in its place."
        )
    if has_case_labels_only(target):
        raise InputError(f"{target} holds labels of cases, which are only tested: bring the whole anew with --replace.")


def _refuse_contradictions(
    table: pd.DataFrame, before: pd.DataFrame, labels_csv: Path, target: Path, labels: Labels
) -> None:
    both = table.merge(before, left_on=KEY, right_on=UID, suffixes=("", " before"))
    columns = list(labels.columns)
    wrong = both[columns].to_numpy() != both[[f"{name} before" for name in columns]].to_numpy()
    bad = both.loc[wrong.any(axis=1), KEY].tolist()
    if bad:
        shown = ", ".join(bad[:SHOWN]) + (", …" if len(bad) > SHOWN else "")
        raise InputError(
            f"{labels_csv} contradicts {target}/labels.csv on {len(bad):,} slices ({UID} {shown}): correct the one that is wrong; "
            "nothing was added."
        )


def _refuse_mixed(
    target: Path, source: Path | str, headers: Sequence[Header], known: Sequence[Header], unread: int
) -> None:
    """De-identified copies of one key come together, and nothing else: else one patient stands there under two names."""
    own = target / f"deidentification_{DEIDENTIFICATION}"
    copies = [header for header in headers if _is_copy(header)]
    if not own.is_file():
        if copies and any(h.is_ct_image and h.patient_id and not _is_copy(h) for h in known):
            raise InputError(
                f"{target} holds a cohort with its own PatientIDs, and {source} de-identified copies, under which patients would "
                "stand there a second time: add what was not de-identified; nothing was added."
            )
        return
    if others := len(headers) - len(copies) + unread:
        raise InputError(
            f"{target} holds de-identified copies, and {others:,} files of {source} are no such CT images and may tell whose they "
            "are: `ich deidentify` writes copies with the same key, add its folder dicom/."
        )
    key = _key_of(own)
    given = None if is_remote(source) else _key_of(Path(source).resolve().parent / DEIDENTIFICATION)
    if key is None or given != key:
        what = (
            f"of the key {given}" if given else f"of a key that nothing names (no {DEIDENTIFICATION} beside the folder)"
        )
        raise InputError(
            f"{target} holds de-identified copies of the key {key or f'that {own} does not name'}, and {source} such {what}, "
            f"where patients have other names: add the folder dicom/ that `ich deidentify` wrote with the same key, with its "
            f"{DEIDENTIFICATION} beside it."
        )


def _is_copy(header: Header) -> bool:
    return PATIENT_ID.fullmatch(header.patient_id) is not None and any(one.is_ct_image for one in header.slices())


def _key_of(report: Path) -> str | None:
    """Fingerprint of the key that a report of a de-identification names."""
    try:
        return str(json.loads(report.read_bytes())["key"])
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _without_tests(
    files: Sequence[tuple[Path, str]], headers: Iterable[Header], aside: Sequence[Header], source: Path | str
) -> list[tuple[Path, str]]:
    """Those of the new files in which nothing of a frozen test is.

    Raises:
        InputError: an archive holds both.
    """
    of_tests = {header.path for header in aside}
    inside = {part for path in of_tests for part in _upwards(path)}
    others = {part for h in headers if h.is_ct_image and h.path not in of_tests for part in _upwards(h.path)}
    for _, name in files:
        if name in inside and name in others:
            raise InputError(
                f"{source}: {name} holds studies of frozen tests, which must not change, beside others: unpack it and add the "
                "folder; nothing was added."
            )
    return [(path, name) for path, name in files if name not in inside]


def _upwards(path: str) -> Iterable[str]:
    """``a.zip/b/c`` and all it lies in: ``a.zip/b``, ``a.zip``."""
    while path:
        yield path
        path = path.rpartition("/")[0]


def _left_out(files: int, labels: int) -> list[str]:
    if not files and not labels:
        return []
    return [
        f"Left out, since frozen tests must not change: {files:,} file{'s' * (files != 1)} and {labels:,} "
        f"label{'s' * (labels != 1)} of their patients."
    ]


def _new_files(
    given: Listing,
    headers: Sequence[Header],
    there: Listing,
    known: Sequence[Header],
    source: Path | str,
    target: Path,
    aside: Sequence[Header],
) -> list[tuple[Path, str]]:
    """Files of the source that are not in the cohort, by content.

    Raises:
        InputError: an image has the SOPInstanceUID of one that is there, and other bytes; of ``aside`` one may.
    """
    may = {header.source for header in aside}
    by_uid: dict[str, list[Path]] = defaultdict(list)
    for header in known:
        if header.sop_instance_uid and isinstance(header.source, Path):
            by_uid[header.sop_instance_uid].append(header.source)
    same: set[Path] = set()
    other: list[str] = []
    for header in headers:
        copies = by_uid.get(header.sop_instance_uid, []) if header.sop_instance_uid else []
        if copies and isinstance(header.source, Path):
            digest = sha256_of(header.source)
            if any(sha256_of(path) == digest for path in copies):
                same.add(header.source)
            elif header.source not in may:
                other.append(header.name)
    if other:
        shown = ", ".join(other[:SHOWN]) + (", …" if len(other) > SHOWN else "")
        raise InputError(
            f"{source}: {len(other):,} images have the SOPInstanceUID of one in {target} and another content ({shown}): take them "
            f"out, or bring the whole export anew (`ich cohort folder … --replace`); nothing was added."
        )
    without_uid = {path for path, _ in given.files} - {h.source for h in headers if h.sop_instance_uid}
    by_size: dict[int, list[Path]] = defaultdict(list)
    for path, _ in there.files if without_uid else ():
        by_size[path.stat().st_size].append(path)
    for path in without_uid:
        alike = by_size[path.stat().st_size]
        if alike and sha256_of(path) in {sha256_of(one) for one in alike}:
            same.add(path)
    return [(path, name) for path, name in given.files if path not in same]


def _batch(files: Sequence[tuple[Path, str]]) -> str:
    digest = hashlib.sha256("".join(sorted(f"{name}\0{sha256_of(path)}\n" for path, name in files)).encode())
    return f"added-{digest.hexdigest()[:12]}"


def _second_names(folder: Path, copy: Path) -> None:
    """Everything below ``folder`` also below ``copy``."""

    def second(name: str, copied: str) -> str:
        try:
            os.link(name, copied, follow_symlinks=False)
        except OSError:  # a file system without links, or a link of DVC's into another
            shutil.copy2(name, copied, follow_symlinks=False)
        return copied

    shutil.copytree(folder, copy, symlinks=True, copy_function=second, dirs_exist_ok=True)


def _append_report(path: Path, account: LabelAccount) -> None:
    text = path.read_text(encoding="utf-8") if path.is_file() else ""
    account.write(path)
    if text:
        write_text(path, text + "".join(path.read_text(encoding="utf-8").splitlines(keepends=True)[1:]))


def _update_mark(folder: Path, files: int, labelled: int, account: LabelAccount) -> None:
    mark: Mapping[str, Any] = read_json(folder / MARK) if (folder / MARK).is_file() else {}
    settings = dict(mark.get("settings") or {})
    left_out = dict(settings.get("left_out") or {})
    for code, count in account.counts(notes=False).items():
        left_out[code.value] = left_out.get(code.value, 0) + count
    settings |= {LEVEL: "slice", "files": files, "labelled": labelled, "left_out": left_out}
    write_mark(folder, mark.get("kind", OWN), settings)
