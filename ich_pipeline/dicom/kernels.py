"""Is a reconstruction kernel soft or sharp? By the makers' naming schemes, since DICOM has no field for it.

Toshiba/Canon ``FC``: 30s and 80s bone and inner ear, 50s lung. Siemens: a letter or two and a number that rises with
sharpness (``H31s``, ``Hr40f``, ``B70f``). GE: words. Philips: letters, of which D, E, L and the Y family are sharp.
"""

from __future__ import annotations

import re
from typing import Literal

from ich_pipeline.dicom.spelling import parted

Sharpness = Literal["soft", "bone", "unknown"]

_SIEMENS = re.compile(r"^[A-Z][A-Z]?(\d\d)[A-Z]?(?:\b|_|$)")
_TOSHIBA = re.compile(r"^FC(\d\d)")
_SHARP_SIEMENS = 50
_SHARP_TOSHIBA = {3, 5, 8}  # tens digit
_SHARP_WORDS = re.compile(r"\b(BONE\w*|EDGE|LUNG|ULTRA|SHARP)\b")
_SOFT_WORDS = re.compile(r"\b(SOFT|STANDARD|STD|STND|BRAIN|HEAD|SMOOTH)\b")
_SHARP_PHILIPS = {"D", "E", "L", "YA", "YB", "YC", "YD"}
_SOFT_PHILIPS = {"A", "B", "C", "UA", "UB", "UC"}


def sharpness(kernel: str, description: str = "") -> Sharpness:
    """Judge ConvolutionKernel, or SeriesDescription where the kernel is empty.

    Args:
        kernel: ConvolutionKernel; several values joined by a backslash, of which the first known one counts.
        description: SeriesDescription.
    """
    for value in kernel.upper().split("\\"):
        known = _one(value.strip())
        if known != "unknown":
            return known
    if not kernel.strip():
        return _words(f"{description} {parted(description)}".upper().replace("_", " "))
    return "unknown"


def _words(text: str) -> Sharpness:
    if _SHARP_WORDS.search(text):
        return "bone"
    return "soft" if _SOFT_WORDS.search(text) else "unknown"


def _one(value: str) -> Sharpness:
    if value in _SHARP_PHILIPS:
        return "bone"
    if value in _SOFT_PHILIPS:
        return "soft"
    if toshiba := _TOSHIBA.match(value):
        return "bone" if int(toshiba.group(1)) // 10 in _SHARP_TOSHIBA else "soft"
    if siemens := _SIEMENS.match(value):
        return "bone" if int(siemens.group(1)) >= _SHARP_SIEMENS else "soft"
    return _words(value)
