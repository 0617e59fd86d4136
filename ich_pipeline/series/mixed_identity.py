"""UIDs that stand for two: files of a study of two patients, a series of two studies, a slice in two places."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from operator import attrgetter

from ich_pipeline.dicom.geometry import SAME_POSITION_MM, near, same_plane
from ich_pipeline.dicom.header import Header
from ich_pipeline.dicom.reasons import Reason
from ich_pipeline.series.archived_twice import without_second_archive

NAMED = 3  # files named in a detail, and deviating owners; the counts say the rest

Parts = list[list[Header]]


def find_mixed_identity(headers: Iterable[Header]) -> tuple[list[Header], dict[str, str]]:
    """Set aside every file whose study, series or slice UID also stands for another patient, study or slice.

    Only CT images that may still be used count: a localizer or a broken file of another patient costs the study nothing.

    Returns:
        the headers, and what the account says more, by header name: the files of each owner, counted, those that deviate
        named. Details of headers name none, for the series table must not depend on file names. No identifier is in either.
    """
    headers = without_second_archive(headers)
    # Two judgements, so that a last resort with another's UID costs the candidates of its study nothing.
    plain = _shared([h for h in headers if h.reason is None and h.is_ct_image])
    last = _shared([h for h in headers if h.may_be_read and h.is_ct_image])
    result, more = [], {}
    for header in headers:
        details = (last if header.last_resort else plain) if header.may_be_read and header.is_ct_image else {}
        found = (details.get((k, uid_of(header))) for k, (uid_of, _, _) in _CLAIMS.items())
        detail = next(filter(None, found), None)
        if detail:
            more[header.name] = detail[1]
        result.append(header.set(Reason.MIXED_IDENTITY, detail[0]) if detail else header)
    return result, more


def _shared(candidates: Sequence[Header]) -> dict[tuple[str, str], tuple[str, str]]:
    """Keyword and UID → what shares it, without and with names of files; only of UIDs that several own."""
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
    return details


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
    """The same plane of the same study, in whichever series it lies: sent twice, it keeps its UID and identity is in no doubt."""
    return (
        (one.study_uid, one.patient_id) == (other.study_uid, other.patient_id)
        and (one.rows, one.columns) == (other.rows, other.columns)
        and same_plane(one.orientation, other.orientation)
        and near(one.position, other.position, SAME_POSITION_MM)
    )


def _differing(parts: Parts) -> str:
    """What tells slices of one UID apart."""
    one, other = parts[0][0], parts[1][0]
    if (one.study_uid, one.patient_id) != (other.study_uid, other.patient_id):
        return "slices of different studies"
    if (one.rows, one.columns) != (other.rows, other.columns):
        return "pictures of different sizes"
    return "slices in different places"


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
    "SOPInstanceUID": (attrgetter("sop_instance_uid"), _differing, _by_slice),
}
