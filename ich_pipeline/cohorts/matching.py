"""Labels meet images: every row finds its slice or study, every image its label, or it is accounted for."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from ich_pipeline.cohorts.faults import LabelAccount, LabelFault
from ich_pipeline.cohorts.source_table import KEY, LINE, LabelRows
from ich_pipeline.core.errors import InputError
from ich_pipeline.dicom.header import Header
from ich_pipeline.tables.identifiers import spoilt
from ich_pipeline.tables.label_tables import STUDY, UID

LEAST_SHARE = 0.5  # of the labels, or of the images where these are fewer: below it the key is broken


def refuse_broken_key(rows: LabelRows, headers: Sequence[Header], table: Path, source: Path | str) -> None:
    """Refuse labels and images that hardly share a key, since what they share may be another's.

    Args:
        rows: what an adapter read.
        headers: of every file in the source.
        table: the label table, for the sentence.
        source: the export, for the sentence.

    Raises:
        InputError: less than half of the labels, and of the images' keys, are in both; or a spreadsheet has spoilt the labels' keys
            that are not.
    """
    slices = (one for header in headers for one in header.slices())
    images = {key for one in slices if one.is_ct_image and (key := rows.key_of(one)) is not None}
    labels = set(rows.table[KEY])
    few, both = min(len(labels), len(images)), len(labels & images)
    if not both:  # the account says it all
        return
    nothing = "so nothing is brought, --lenient or not"
    if both < few * LEAST_SHARE:
        found = spoilt(labels)
        raise InputError(
            f"{table} and {source} hardly fit together: only {both:,} of {few:,} {'labels' if few == len(labels) else 'images'} find "
            f"their like, {nothing}: name the export and the table that belong together{f'; {table} {found}' * bool(found)}."
        )
    if found := spoilt(labels - images):
        raise InputError(
            f"{table} has {len(labels - images):,} labels without an image in {source}, {nothing}: it {found}."
        )


def match(rows: LabelRows, headers: Sequence[Header], account: LabelAccount) -> pd.DataFrame:
    """Find the image of every label.

    Args:
        rows: what an adapter read.
        headers: of every file in the source; only CT images and their frames count, used by the ingest or not.
        account: gets labels without image, images without label, and what is ambiguous.

    Returns:
        ``SOPInstanceUID`` (slices) or ``StudyInstanceUID`` (cases), ``key`` and the label columns, sorted by the UID: the
        same labels give the same bytes in whatever order the source has them.
    """
    slices = (one for header in headers for one in header.slices())
    images = [one for one in slices if one.is_ct_image and one.sop_instance_uid]
    by_key: dict[str, set[str]] = defaultdict(set)
    keys_of: dict[str, set[str]] = defaultdict(set)
    for header in images:
        key = rows.key_of(header)
        if key is not None:
            by_key[key].add(_uid(header, rows))
            keys_of[_uid(header, rows)].add(key)
    patients = {rows.patient_of(key) for key in by_key} if rows.patient_of else set()
    found: list[str | None] = []
    for key, line in zip(rows.table[KEY], rows.table[LINE].tolist(), strict=True):
        uids = by_key.get(key, set())
        uid = next(iter(uids)) if len(uids) == 1 else None
        if uid is not None and len(keys_of[uid]) > 1:
            account.leave_out(
                LabelFault.AMBIGUOUS_IMAGE, key, line, f"{uid} also is {', '.join(sorted(keys_of[uid] - {key}))}"
            )
            uid = None
        elif len(uids) > 1:
            what = "slices" if rows.level == "slice" else "studies"
            account.leave_out(LabelFault.AMBIGUOUS_IMAGE, key, line, f"{len(uids)} {what}")
        elif not uids:
            known = rows.patient_of is not None and rows.patient_of(key) in patients
            account.add(LabelFault.MISSING_IMAGE if known else LabelFault.UNKNOWN_IMAGE, key, line)
        found.append(uid)
    name = UID if rows.level == "slice" else STUDY
    table = rows.table.drop(columns=LINE)
    table.insert(0, name, pd.Series(found, dtype="str", index=table.index))
    table = table[table[name].notna()].sort_values(name, kind="stable").reset_index(drop=True)
    # A label that was left out has its own row in the account: its image is not named a second time.
    named = set(table[name]) | {uid for key in account.left_out for uid in by_key.get(key, ())}
    usable = [header for header in images if header.reason is None]
    (_unlabelled_slices if rows.level == "slice" else _unlabelled_studies)(usable, named, account)
    return table


def _uid(header: Header, rows: LabelRows) -> str:
    return header.sop_instance_uid if rows.level == "slice" else header.study_uid


def _unlabelled_slices(images: Sequence[Header], labelled: set[str], account: LabelAccount) -> None:
    """A series without labels beside a labelled one is common (bone kernel, thin copies); a hole in a series is not."""
    series = {header.series_uid for header in images if header.sop_instance_uid in labelled}
    studies = {header.study_uid for header in images if header.sop_instance_uid in labelled}
    holes = {h.sop_instance_uid: None for h in images if h.series_uid in series and h.sop_instance_uid not in labelled}
    for uid in holes:
        account.add(LabelFault.UNLABELLED_SLICE, uid)
    rest: dict[tuple[LabelFault, str], int] = defaultdict(int)
    for header in images:
        if header.series_uid not in series and header.study_uid in studies:
            rest[LabelFault.UNLABELLED_SERIES, header.series_uid] += 1
        elif header.study_uid not in studies and header.series_uid not in series:
            rest[LabelFault.UNLABELLED_STUDY, header.study_uid] += 1
    for (code, uid), count in rest.items():
        account.add(code, uid, detail=f"{count} slices")


def _unlabelled_studies(images: Sequence[Header], labelled: set[str], account: LabelAccount) -> None:
    counts: dict[str, int] = defaultdict(int)
    for header in images:
        if header.study_uid not in labelled:
            counts[header.study_uid] += 1
    for uid, count in counts.items():
        account.add(LabelFault.UNLABELLED_STUDY, uid, detail=f"{count} slices")
