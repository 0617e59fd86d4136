"""One study in an archive twice: under two StudyInstanceUIDs, with its own or with new SOPInstanceUIDs. It is read once."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace

from ich_pipeline.dicom.geometry import SAME_POSITION_MM, near, same_plane
from ich_pipeline.dicom.header import Header
from ich_pipeline.dicom.reasons import Reason

SAME_SHARE = 0.5  # of the smaller study's pictures, from which two are one
_COPY = "the same SOPInstanceUIDs, patient and places lie in another study"
_DEVIATES = f"{_COPY}, but for this slice, which lies elsewhere there"

_Slices = dict[str, Header]  # by SOPInstanceUID


@dataclass
class _Whole:
    """A study that stays, and what its copies bring."""

    slices: _Slices
    copies: list[str] = field(default_factory=list)
    brought: int = 0  # slices that a copy alone has
    deviating: int = 0  # slices that lie elsewhere in a copy

    def __str__(self) -> str:
        said = [f"the archive holds this study under {1 + len(self.copies)} StudyInstanceUIDs; it is read once"]
        if self.brought:
            said.append(f"{self.brought} of the slices lie in a copy alone and were added")
        if self.deviating:
            said.append(f"{self.deviating} lie elsewhere in a copy")
        return ", ".join(said)


def without_second_archive(headers: Iterable[Header]) -> list[Header]:
    """Read every study once that a patient has twice, by UID, place and matrix of most slices; however incomplete each is.

    The larger study stays. What lies in it too is set aside in the other; what lies in the other alone is counted to it, in the
    series of the slices beside it. :attr:`Header.remark` says so.
    """
    headers = list(headers)
    kept, moved = _archives(headers)
    remarks = {study: str(whole) for study, whole in kept.items() if whole.copies}
    return [_judged(header, moved, remarks) if _counts(header) else header for header in headers]


def homes(headers: Iterable[Header]) -> dict[str, str]:
    """StudyInstanceUID of every second copy → that of the study that it is read with."""
    kept, _ = _archives(headers)
    return {copy: study for study, whole in kept.items() for copy in whole.copies}


def _archives(headers: Iterable[Header]) -> tuple[dict[str, _Whole], dict[tuple[str, str], Header]]:
    """The studies that stay, of those that share slices; and what each slice of a copy becomes, by study and SOPInstanceUID."""
    studies: dict[str, _Slices] = defaultdict(dict)
    owners: dict[str, set[str]] = defaultdict(set)
    for header in sorted(filter(_counts, headers), key=_order):
        studies[header.study_uid].setdefault(header.sop_instance_uid, header)
        owners[header.sop_instance_uid].add(header.study_uid)
    shared = {study for uids in owners.values() if len(uids) > 1 for study in uids}
    kept: dict[str, _Whole] = {}
    moved: dict[tuple[str, str], Header] = {}
    for study in sorted(shared, key=lambda uid: (-len(studies[uid]), uid)):
        home = next((uid for uid, whole in kept.items() if _same_study(whole.slices, studies[study])), None)
        if home is None:
            kept[study] = _Whole(dict(studies[study]))
            continue
        kept[home].copies.append(study)
        moved |= {(study, uid): header for uid, header in _united(kept[home], home, studies[study]).items()}
    return kept, moved


def _counts(header: Header) -> bool:
    return header.may_be_read and header.is_ct_image and bool(header.patient_id)


def _order(header: Header) -> tuple:
    """A candidate before a last resort; then by what a file holds, for names decide nothing."""
    return header.reason is not None, header.position or (), header.series_uid, header.rows, header.columns


def _same_study(whole: _Slices, part: _Slices) -> bool:
    """Are most slices of the smaller one in the other too, and most of these at their places?"""
    both = whole.keys() & part.keys()
    agree = sum(_same_slice(whole[uid], part[uid]) for uid in both)
    return len(both) > SAME_SHARE * min(len(whole), len(part)) and agree > SAME_SHARE * len(both)


def _united(whole: _Whole, home: str, part: _Slices) -> _Slices:
    """What becomes of a copy's slices: set aside, or of the study that stays."""
    beside: dict[str, Counter[tuple[str, str]]] = defaultdict(Counter)
    for uid in whole.slices.keys() & part.keys():
        beside[part[uid].series_uid][whole.slices[uid].series_uid, whole.slices[uid].frame_of_reference] += 1
    found: _Slices = {}
    for uid, header in part.items():
        if uid in whole.slices:
            same = _same_slice(whole.slices[uid], header)
            whole.deviating += not same
            found[uid] = header.set(Reason.DUPLICATE_STUDY, _COPY if same else _DEVIATES)
            continue
        own = {(header.series_uid, header.frame_of_reference): 0}
        (series, frame), _ = max((beside[header.series_uid] or own).items(), key=lambda one: (one[1], one[0]))
        found[uid] = replace(header, study_uid=home, series_uid=series, frame_of_reference=frame)
        whole.slices[uid] = found[uid]
        whole.brought += 1
    return found


def _judged(header: Header, moved: dict[tuple[str, str], Header], remarks: dict[str, str]) -> Header:
    to = moved.get((header.study_uid, header.sop_instance_uid))
    if to is None:
        return replace(header, remark=remarks[header.study_uid]) if header.study_uid in remarks else header
    if to.reason is Reason.DUPLICATE_STUDY:
        return header.set(to.reason, to.detail)
    series = {"study_uid": to.study_uid, "series_uid": to.series_uid, "frame_of_reference": to.frame_of_reference}
    return replace(header, **series, remark=remarks[to.study_uid])


def _same_slice(one: Header, other: Header) -> bool:
    return (
        (one.patient_id, one.rows, one.columns) == (other.patient_id, other.rows, other.columns)
        and same_plane(one.orientation, other.orientation)
        and near(one.position, other.position, SAME_POSITION_MM)
    )


def second_archives(studies: Sequence[tuple[str, str, Sequence[bytes]]]) -> dict[int, int]:
    """Which of the studies read shows the pictures of another one of its patient: index → index of the one that stays.

    The one with more slices stays, then the one with the lower StudyInstanceUID.

    Args:
        studies: PatientID, StudyInstanceUID, and a digest of every slice that was read.
    """
    of_patient: dict[str, list[int]] = defaultdict(list)
    for i, (patient, _, _) in enumerate(studies):
        if patient:
            of_patient[patient].append(i)
    found: dict[int, int] = {}
    for several in of_patient.values():
        kept: list[int] = []
        for i in sorted(several, key=lambda i: (-len(studies[i][2]), studies[i][1])):
            mine = set(studies[i][2])
            twin = next((j for j in kept if len(mine & set(studies[j][2])) > SAME_SHARE * len(mine)), None)
            if twin is None:
                kept.append(i)
            else:
                found[i] = twin
    return found
