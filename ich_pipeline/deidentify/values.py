"""The value of one retained attribute: what of it may stay. None means that the attribute goes."""

from __future__ import annotations

import math
import re
from typing import Any

from pydicom.dataelem import DataElement
from pydicom.multival import MultiValue
from pydicom.uid import UID

from ich_pipeline.deidentify import retained, words

OLDEST = 89  # years; above it an age alone can name a person, so 90 stands for all of them
_AGE = re.compile(r"(\d{3})([DWMY])")
_NUMBER_TEXT = re.compile(r" *[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)? *")
_ENUMERATED = {
    "PatientSex": {"M", "F", "O"},
    "PatientSexNeutered": {"ALTERED", "UNALTERED"},
    "SmokingStatus": {"YES", "NO", "UNKNOWN"},
    "BurnedInAnnotation": {"YES", "NO"},
    "LossyImageCompression": {"00", "01"},
    "LossyImageCompressionMethod": {"ISO_10918_1", "ISO_14495_1", "ISO_15444_1", "ISO_15444_15"},
}
_RESCALED = frozenset(
    ["HU", "US", "OD", "MGML", "Z_EFF", "ED", "EDW", "HU_MOD", "PCT"]
)  # RescaleType (PS3.3 C.11.1.1.2)
NUMBER_VRS = frozenset({"US", "SS", "UL", "SL", "FL", "FD", "AT", "UV", "SV"})
MOST_DIGITS = 9  # of a whole number: more could be somebody's number


def listed(value: Any) -> list[Any]:
    """The values of an element as a list."""
    if value is None or (isinstance(value, (str, bytes)) and not value):
        return []
    return list(value) if isinstance(value, (list, tuple, MultiValue)) else [value]


def registered(uid: str) -> bool:
    """Is it a UID of the standard itself (a SOP class, a transfer syntax)?"""
    uid = uid.strip(" \0")
    return UID(uid).name != uid


def age(value: str) -> str | None:
    """An AS value, at most 90 years; None for what is no age."""
    found = _AGE.fullmatch(value.strip(" \0"))
    if not found:
        return None
    years = int(found.group(1)) / {"D": 365.25, "W": 52.18, "M": 12, "Y": 1}[found.group(2)]
    return "090Y" if years > OLDEST else found.group(0)


def coded(keyword: str, value: str, own: frozenset[str]) -> str:
    """A CS value: one of those that are allowed, or its known words; ``OTHER`` keeps the place of one in ImageType."""
    value = value.strip(" \0")
    if keyword in _ENUMERATED:
        return value if value in _ENUMERATED[keyword] else ""
    in_code = all(words.is_known(part, True) for part in re.split(r"[ _/]+", value) if part)
    if in_code and re.fullmatch(r"[A-Z0-9 _/]{1,16}", value):
        return value
    kept = words.clean(value, own)[:16].upper()
    return kept or ("OTHER" if keyword in ("ImageType", "FrameType") and value else "")


def numeric_text(value: str) -> str | None:
    """An IS or DS value; None for what is no number, or a whole one of more digits than any count in a CT has."""
    if not _NUMBER_TEXT.fullmatch(value):
        return None
    number = float(value)
    if not math.isfinite(number) or (number.is_integer() and abs(number) >= 10**MOST_DIGITS):
        return None
    return value.strip()


def kept(element: DataElement, own: frozenset[str], device: bool) -> list[Any] | None:
    """The values that may stay of an attribute that is neither a date, a UID nor one that the profile replaces.

    Args:
        element: with a standard keyword.
        own: folded words of the patient's own names and numbers.
        device: the attribute stays as it is, because the device's identity is retained.

    Returns:
        The values, ``[]`` for an empty one, or None where nothing of it may stay.
    """
    old = listed(element.value)
    if not old:
        return []
    if element.VR in NUMBER_VRS:
        return old if all(isinstance(v, (int, float)) for v in old) else None
    if element.VR in ("IS", "DS"):
        text = [numeric_text(str(getattr(v, "original_string", v))) for v in old]
        return None if None in text else text
    if element.VR == "AS":
        ages = [age(str(v)) for v in old]
        return None if None in ages else ages
    if element.VR == "CS":
        codes = [coded(element.keyword, str(v), own) for v in old]
        return codes if any(codes) else None
    if element.VR not in ("LO", "SH", "AE"):
        return None
    if device:
        plain = [words.fold(str(v)).encode("ascii", "ignore").decode() for v in old]
        return [v for v in plain if not words.words_of(v) & own] or None
    kernel = element.tag in retained.KERNELS
    texts = [words.clean(str(v), own, kernel) for v in old]
    if element.keyword == "RescaleType":
        texts = [text if text in _RESCALED else "" for text in (str(v).strip().upper() for v in old)]
    if any(texts):
        return texts
    # Where there is no kernel the ingest asks the description, and without a type it takes the values for HU.
    return ["UNKNOWN"] if element.keyword in ("ConvolutionKernel", "RescaleType") and any(map(str, old)) else None
