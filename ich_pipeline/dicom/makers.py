"""Who made the scanner, in one spelling: reports name makers that are known, never what a header happens to say."""

from __future__ import annotations

import re

OTHER = "another maker"

_KNOWN = (
    (re.compile(r"SIEMENS"), "Siemens"),
    (re.compile(r"\bGE\b|GENERAL ELECTRIC"), "GE"),
    (re.compile(r"PHILIPS|MARCONI|PICKER"), "Philips"),
    (re.compile(r"TOSHIBA|CANON"), "Canon (Toshiba)"),
    (re.compile(r"HITACHI|FUJIFILM"), "Fujifilm (Hitachi)"),
    (re.compile(r"NEUSOFT|NMS"), "Neusoft"),
    (re.compile(r"UNITED IMAGING|\bUIH\b"), "United Imaging"),
    (re.compile(r"SAMSUNG|NEUROLOGICA"), "Samsung NeuroLogica"),
    # The invented makers of the synthetic cohort.
    (re.compile(r"ALDER IMAGING"), "Alder"),
    (re.compile(r"BIRCH MEDICAL"), "Birch"),
    (re.compile(r"^CEDAR\b"), "Cedar"),
    (re.compile(r"DOGWOOD CT"), "Dogwood"),
)


def maker(manufacturer: str) -> str:
    """The maker that Manufacturer names; :data:`OTHER` for one that is not known here, empty where it is empty."""
    text = manufacturer.upper().strip()
    return next((name for pattern, name in _KNOWN if pattern.search(text)), OTHER) if text else ""
