"""UIDs that stand for two: files of a study of two patients, a series of two studies, a slice in two places."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from operator import attrgetter

from ich_pipeline.dicom.geometry import SAME_POSITION_MM
from ich_pipeline.dicom.header import Header
from ich_pipeline.dicom.reasons import Reason
from ich_pipeline.dicom.series import ORIENTATION_TOLERANCE, near

NAMED = 3  # files named in a detail, and deviating owners; the counts say the rest

Parts = list[list[Header]]


def find_mixed_identity(headers: Iterable[Header]) -> tuple[list[Header], dict[str, str]]:
    """Set aside every file whose study, series or slice UID also stands for another patient, study or slice.

    Only CT images that may still be used count: a localizer or a broken file of another patient costs the study nothing.

    Returns:
        the headers, and what the account says more, by header name: the files of each owner, counted, those that deviate
        named. Details of headers name none, for the series table must not depend on file names. No identifier is in either.
    """
    headers = list(headers)
    candidates = [h for h in headers if _may_be_used(h)]
    details: dict[tuple[str, str], tuple[str, str]] = {}
    for keyword, (uid_of, owners, split) in _CLAIMS.items():
        by_uid: dict[str, list[Header]] = defaultdict(list)
        for header in candidates:
            by_uid[uid_of(header)].append(header)
        for uid, members in by_uid.items():
            parts = split(members) if len(members) > 1 else []
            if len(parts) > 1:
                detail = f"{keyword} is shared by {owners(parts)}"
                details[keyword, uid] = detail, f"{detail}: {_counted(parts)}"
    result, more = [], {}
    for header in headers:
        found = (details.get((k, uid_of(header))) for k, (uid_of, _, _) in _CLAIMS.items())
        detail = next(filter(None, found), None) if _may_be_used(header) else None
        if detail:
            more[header.name] = detail[1]
        result.append(header.set(Reason.MIXED_IDENTITY, detail[0]) if detail else header)
    return result, more


def _may_be_used(header: Header) -> bool:
    return header.reason is None and header.is_ct_image


def _by_patient(members: Sequence[Header]) -> Parts:
    return _by(members, attrgetter("patient_id"))


def _by_study(members: Sequence[Header]) -> Parts:
    return _by(members, attrgetter("study_uid"))


def _by(members: Sequence[Header], owner_of: Callable[[Header], str]) -> Parts:
    """The members of each owner; an empty name claims nothing."""
    parts: dict[str, list[Header]] = defaultdict(list)
    for header in members:
        if owner_of(header):
            parts[owner_of(header)].append(header)
    return list(parts.values())


def _by_slice(members: Sequence[Header]) -> Parts:
    """Those that are the first one's slice, and the others. A copy may be rounded otherwise, so nothing is compared as text."""
    # By place, not by name: the answer must not depend on what files are called.
    first = min(members, key=lambda h: (h.position or (), h.orientation or (), h.series_uid, h.rows, h.columns))
    same = [_same_slice(first, header) for header in members]
    parts = ([h for h, one in zip(members, same, strict=True) if one is wanted] for wanted in (True, False))
    return [part for part in parts if part]


def _same_slice(one: Header, other: Header) -> bool:
    return (
        (one.series_uid, one.rows, one.columns) == (other.series_uid, other.rows, other.columns)
        and near(one.orientation, other.orientation, ORIENTATION_TOLERANCE)
        and near(one.position, other.position, SAME_POSITION_MM)
    )


def _counted(parts: Parts) -> str:
    """``23 files and 1 file (IM0005)``: the files of the commonest owner, then of each other with the first names."""
    files = sorted((list(dict.fromkeys(h.path for h in part)) for part in parts), key=len, reverse=True)
    said = [_files(files[0])]
    said += [f"{_files(f)} ({', '.join(f[:NAMED])}{', …' if len(f) > NAMED else ''})" for f in files[1 : 1 + NAMED]]
    more = len(files) > len(said)
    return ", ".join([*said, "…"]) if more else " and ".join(filter(None, (", ".join(said[:-1]), said[-1])))


def _files(paths: Sequence[str]) -> str:
    return f"{len(paths):,} file{'' if len(paths) == 1 else 's'}"


# Keyword: its UID, what shares it, and how its files fall into owners.
_CLAIMS: dict[str, tuple[Callable[[Header], str], Callable[[Parts], str], Callable[[Sequence[Header]], Parts]]] = {
    "StudyInstanceUID": (attrgetter("study_uid"), lambda parts: f"{len(parts):,} PatientIDs", _by_patient),
    "SeriesInstanceUID": (attrgetter("series_uid"), lambda parts: f"{len(parts):,} StudyInstanceUIDs", _by_study),
    "SOPInstanceUID": (attrgetter("sop_instance_uid"), lambda _: "slices in different places", _by_slice),
}
