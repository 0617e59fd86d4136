"""One study in an archive twice: under two StudyInstanceUIDs, with its own or with new SOPInstanceUIDs. It is read once."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence

from ich_pipeline.dicom.geometry import SAME_POSITION_MM, near, same_plane
from ich_pipeline.dicom.header import Header
from ich_pipeline.dicom.reasons import Reason

SAME_SHARE = 0.5  # of the smaller study's pictures, from which two are one


def without_second_archive(headers: Iterable[Header]) -> list[Header]:
    """Set aside every study whose slices all lie in another study of the patient too, by UID, place and matrix."""
    headers = list(headers)
    studies: dict[str, dict[str, Header]] = defaultdict(dict)
    owners: dict[str, set[str]] = defaultdict(set)
    for header in headers:
        if header.reason is None and header.is_ct_image and header.patient_id:
            studies[header.study_uid][header.sop_instance_uid] = header
            owners[header.sop_instance_uid].add(header.study_uid)
    shared = {study for uids in owners.values() if len(uids) > 1 for study in uids}
    kept: list[str] = []
    copies: set[str] = set()
    for study in sorted(shared, key=lambda uid: (-len(studies[uid]), uid)):
        if any(_contains(studies[other], studies[study]) for other in kept):
            copies.add(study)
        else:
            kept.append(study)
    return [
        header.set(Reason.DUPLICATE_STUDY, "the same SOPInstanceUIDs, patient and places lie in another study")
        if header.study_uid in copies and header.reason is None and header.is_ct_image and header.patient_id
        else header
        for header in headers
    ]


def _contains(whole: dict[str, Header], part: dict[str, Header]) -> bool:
    return all(uid in whole and _same_slice(whole[uid], header) for uid, header in part.items())


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
