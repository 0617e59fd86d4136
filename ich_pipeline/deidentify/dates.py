"""Dates of one patient moved by the same whole number of days, so that order and distance stay, past midnight too.

Times of day stay as they are: a time alone cannot be moved without its date, and many files hold one without the other.
"""

from __future__ import annotations

import re
from datetime import date, timedelta

_DA = re.compile(r"(\d{4})[.-]?(\d{2})[.-]?(\d{2})")
_TM = re.compile(r"(?:[01]\d|2[0-3])(?::?[0-5]\d(?::?(?:[0-5]\d|60)(?:\.\d{1,6})?)?)?")
_DT = re.compile(r"(\d{8})(\d{2}(?:\d{2}(?:\d{2}(?:\.\d{1,6})?)?)?)?(?:[+-]\d{4})?")


def shift_date(value: str, days: int) -> str | None:
    """A DA value ``days`` earlier, as YYYYMMDD; None for what is no date."""
    found = _DA.fullmatch(value.strip(" \0"))
    if not found:
        return None
    try:
        moved = date(*map(int, found.groups())) - timedelta(days=days)
    except (ValueError, OverflowError):
        return None
    return f"{moved.year:04d}{moved.month:02d}{moved.day:02d}"


def keep_time(value: str) -> str | None:
    """A TM value; None for what is no time."""
    value = value.strip(" \0")
    return value if _TM.fullmatch(value) else None


def shift_datetime(value: str, days: int) -> str | None:
    """A DT value ``days`` earlier without its offset from UTC, which tells the place; None for what is no date."""
    found = _DT.fullmatch(value.strip(" \0"))
    if not found or (found.group(2) and keep_time(found.group(2)) is None):
        return None
    moved = shift_date(found.group(1), days)
    return None if moved is None else moved + (found.group(2) or "")


def shift(vr: str, value: str, days: int) -> str | None:
    """One value of VR DA, DT or TM moved; None for what is none."""
    if vr == "DA":
        return shift_date(value, days)
    return shift_datetime(value, days) if vr == "DT" else keep_time(value)
