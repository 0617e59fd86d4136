"""Names that may be shown for a case, a patient and a volume: hashes of DICOM identifiers, equal on every machine.

They have 96 bits. With 40, as once, anybody could write two studies of one name within a minute (2²⁰ tries), whose rows then
changed places; who makes UIDs up needs 2⁴⁸ for it now, and :func:`refuse_shared_names` looks whether somebody did.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Sequence

from ich_pipeline.core.errors import InputError

DIGITS = 24  # hexadecimal


def _digest(kind: str, value: str) -> str:
    return hashlib.sha256(f"{kind}|{value}".encode(errors="surrogatepass")).hexdigest()[:DIGITS]


def case_id(study_instance_uid: str) -> str:
    """``C`` and 24 hexadecimal digits: what people see of a study."""
    return "C" + _digest("case", study_instance_uid)


def patient_key(patient_id: str) -> str:
    """``P`` and 24 hexadecimal digits: what tables group patients by. Not anonymous: a short PatientID can be guessed."""
    return "P" + _digest("patient", patient_id)


def volume_name(series_instance_uid: str) -> str:
    """``V`` and 24 hexadecimal digits: the file name of a series' volume, without ``.b2nd``."""
    return "V" + _digest("series", series_instance_uid)


_NAMES: tuple[tuple[str, str, Callable[[str], str]], ...] = (
    ("StudyInstanceUID", "case_id", case_id),
    ("PatientID", "patient_key", patient_key),
    ("SeriesInstanceUID", "volume", volume_name),
)


def refuse_shared_names(studies: Iterable[str], patients: Iterable[str] = (), series: Iterable[str] = ()) -> None:
    """Refuse identifiers that differ and are called the same: rows of one would be taken for the other's.

    Args:
        studies: every StudyInstanceUID.
        patients: every PatientID.
        series: every SeriesInstanceUID.

    Raises:
        InputError: two of a kind have one name. By chance that does not happen: somebody made them up.
    """
    for (keyword, name, of), values in zip(_NAMES, (studies, patients, series), strict=True):
        shared = _shared([*dict.fromkeys(values)], of)
        if shared:
            one, other = shared
            raise InputError(
                f"{keyword} {one!r} and {other!r} have the same {name} {of(one)}, which does not happen by chance: find "
                "out who made these files, and take one of the two out of the input."
            )


def _shared(values: Sequence[str], of: Callable[[str], str]) -> tuple[str, str] | None:
    seen: dict[str, str] = {}
    for value in values:
        first = seen.setdefault(of(value), value)
        if first != value:
            return first, value
    return None
