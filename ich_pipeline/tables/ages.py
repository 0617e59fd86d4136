"""Ages as DICOM writes them."""

from __future__ import annotations

import math

_YEARS = {"Y": 1.0, "M": 1 / 12, "W": 7 / 365.25, "D": 1 / 365.25}


def age_years(value: str) -> float:
    """DICOM AS (``045Y``, ``006M``; PS3.5 6.2) in years; NaN for anything else."""
    number, unit = value[:-1], value[-1:]
    return int(number) * _YEARS[unit] if number.isdecimal() and unit in _YEARS else math.nan
