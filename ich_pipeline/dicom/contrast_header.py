"""Contrast agent by the header."""

from __future__ import annotations

import re
import unicodedata

_NO_WORDS = r"WITHOUT|W ?/ ?O|WO|NON(?![ -]?IONIC)|NO|NONE|PRE(?![ -]?OP)|PLAIN|NATIVE?|UNENHANCED|NCCT|NECT|OHNE|VOR[ -]KM|SANS|AVANT INJ\w*|SIN|SENZA"
_DENIED = re.compile(rf"\b({_NO_WORDS})\b|\bC-")
_NAMED = re.compile(
    r"\b(CTA|CTV|CTP|CECT|ANGIO\w*|CONTRAST\w*|ENHANCED|KONTRAST\w*|KM|PERFUSION|INJ|IN(JECT|JEKT|YECT|IETT)\w*"
    r"|ARTERI\w*|PORTALVEN\w*|VEN(OUS|OS|OES|OSE|OESE|OSA)|VEINEUX)\b|\bC\+|\+C\b"
)
# "4cc sec 150cc", "3.5 ml/s", "100 ml": how fast, and how much, was injected. A volume below 20 ml may be something else.
_INJECTED = re.compile(r"\b\d+ ?(CC|ML) ?/? ?(S|SEC|SECOND)\b|\b([2-9]\d|1\d\d) ?(CC|ML)\b")
_SAYS_NONE = re.compile(rf"^({_NO_WORDS})\b")
NO_AGENT = frozenset(
    {"", "0", "N", "N/A", "NO", "NONE", "NO CONTRAST", "WITHOUT", "UNENHANCED", "OHNE", "SANS", "SIN"}
)  # as de-identification leaves them


def plain(text: str) -> str:
    """Upper case without accents, and every sign but letters, digits, ``+``, ``-`` and ``/`` a space, so that words can be told apart."""
    letters = "".join(c for c in unicodedata.normalize("NFKD", text) if not unicodedata.combining(c))
    return re.sub(r"[^A-Z0-9+/-]+", " ", letters.upper()).strip()


def named_by_header(agent: str, volume_ml: float | None, description: str) -> str:
    """Which field says that contrast agent was given; empty where none does.

    Args:
        agent: ContrastBolusAgent. Scanners that gave none write "NONE", "WITHOUT" and the like.
        volume_ml: ContrastBolusVolume, None where missing.
        description: SeriesDescription. One that says both with and without (a protocol's name) says nothing.
    """
    agent, description = plain(agent), plain(description)
    if agent not in NO_AGENT and not _SAYS_NONE.match(agent):
        return "ContrastBolusAgent is filled"
    if agent:
        return ""
    if volume_ml is not None and volume_ml > 0:
        return f"ContrastBolusVolume {volume_ml:g} ml"
    if _DENIED.search(description):
        return ""
    if _NAMED.search(description):
        return "SeriesDescription names contrast agent"
    if _INJECTED.search(description):
        return "SeriesDescription names a rate or volume of injection"
    return ""
