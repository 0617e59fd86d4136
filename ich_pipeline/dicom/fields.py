"""Tolerant access to header fields: what is missing or malformed is None or empty, never an error."""

from __future__ import annotations

import math
import re

from pydicom.dataelem import RawDataElement
from pydicom.dataset import Dataset
from pydicom.valuerep import PersonName

LONGEST = (
    1 << 16
)  # bytes of a value; pydicom takes seconds and hundreds of bytes of memory for each character of a longer one
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")  # a carriage return would end a row of a table


def text(ds: Dataset, keyword: str) -> str:
    """The value as text without padding and control characters; several values joined by a backslash."""
    raw = ds.get_item(keyword)
    if isinstance(raw, RawDataElement) and len(raw.value or b"") > LONGEST:
        return ""
    try:
        value = ds.get(keyword)
    except Exception:  # a value that pydicom cannot convert counts as missing
        return ""
    if value is None:
        return ""
    # A PersonName can be walked letter by letter, which nobody means.
    values = (
        [value]
        if isinstance(value, (str, bytes, PersonName))
        else (list(value) if hasattr(value, "__iter__") else [value])
    )
    return _CONTROL.sub(" ", "\\".join(str(v) for v in values)).strip()


def numbers(ds: Dataset, keyword: str, count: int) -> tuple[float, ...] | None:
    """``count`` finite numbers, or None."""
    try:
        values = tuple(float(part) for part in text(ds, keyword).split("\\"))
    except ValueError:
        return None
    return values if len(values) == count and all(map(math.isfinite, values)) else None


def integer(ds: Dataset, keyword: str) -> int | None:
    """One whole number below 2^31, or None."""
    values = numbers(ds, keyword, 1)
    return int(values[0]) if values and abs(values[0]) < 2**31 else None


def moment(ds: Dataset, *keywords: str) -> float | None:
    """The first DT or TM that is there, as a number that rises with time, without its offset from UTC; None for none."""
    texts = (text(ds, keyword).replace(":", "") for keyword in keywords)
    written = next(filter(None, (re.match(r"\d+(\.\d+)?", value) for value in texts)), None)
    return float(written[0]) if written else None


def date(value: str) -> str:
    """YYYYMMDD, or empty."""
    digits = value.replace(".", "").replace("-", "")[:8]
    return digits if len(digits) == 8 and digits.isdigit() else ""
