"""Names that may be shown for a case, a patient and a volume: hashes of DICOM identifiers, equal on every machine."""

from __future__ import annotations

import hashlib


def _digest(kind: str, value: str, length: int) -> str:
    return hashlib.sha256(f"{kind}|{value}".encode()).hexdigest()[:length]


def case_id(study_instance_uid: str) -> str:
    """``C`` and ten hexadecimal digits: what people see of a study."""
    return "C" + _digest("case", study_instance_uid, 10)


def patient_key(patient_id: str) -> str:
    """``P`` and ten hexadecimal digits: what tables group patients by. Not anonymous: a short PatientID can be guessed."""
    return "P" + _digest("patient", patient_id, 10)


def volume_name(series_instance_uid: str) -> str:
    """``V`` and sixteen hexadecimal digits: the file name of a series' volume, without ``.b2nd``."""
    return "V" + _digest("series", series_instance_uid, 16)
