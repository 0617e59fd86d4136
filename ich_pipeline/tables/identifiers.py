"""Identifiers that a spreadsheet has spoilt: it keeps fifteen digits of a number, or writes it with an exponent."""

from __future__ import annotations

import re
from collections.abc import Iterable

_EXPONENT = re.compile(r"\d([.,]\d+)?E\+?\d{2,}", re.IGNORECASE)
_KEPT_DIGITS = 15
_FEWEST = 3  # names that must agree, since one long number may end in zeros


def spoilt(names: Iterable[str]) -> str:
    """What is suspicious about identifiers, as the end of a sentence; empty where nothing is.

    Args:
        names: identifiers of one table.
    """
    known = list(names)
    exponents = sum(bool(_EXPONENT.fullmatch(name)) for name in known)
    if exponents >= min(_FEWEST, len(known)) > 0:
        return "has identifiers with an exponent (2.02E+17), as a spreadsheet shortens long numbers: export the table anew, as text"
    long = [name for name in known if name.isdecimal() and len(name) > _KEPT_DIGITS]
    if len(long) >= _FEWEST and all(set(name[_KEPT_DIGITS:]) == {"0"} for name in long):
        return (
            f"has long numbers that all end in {'0' * (len(long[0]) - _KEPT_DIGITS)}, as a spreadsheet rounds them after "
            f"{_KEPT_DIGITS} digits: export the table anew, as text"
        )
    return ""
