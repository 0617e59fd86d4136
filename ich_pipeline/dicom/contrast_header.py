"""Contrast agent by the header."""

from __future__ import annotations

import re
import unicodedata

_NO_WORDS = (
    r"WITHOUT|W ?/ ?O|WO|(?:NON|NICHT)(?![ -]?IONI)|NO|NONE|(?:PRE|PRAE?)(?![ -]?OP)|PLAIN|NATIVE?|UNENHANCED|NCCT|NECT"
    r"|OHNE|KEIN(?:S|E[MNRS]?|ERLEI)?|NEIN|SANS|SIN|SEM|SENZA|ZONDER|GEEN"
)
_MEDIUM = r"(?:KM\b|[CK]ONTRAST\w*)"
_INJECTION = r"IN(?:JECT|JEKT|YECT|IETT)\w*"
# "vor i.v. KM", "avant l'injection", "pas d'injection", but not "vor OP mit KM".
_NOT_YET = (
    r"(?:VOR|VOOR|AVANT|BEFORE|ANTES|PRIMA|PAS)\b"
    r"(?:(?!\b(?:MIT|NACH|POST|AVEC|APRES|WITH|AFTER|CON|OP|OPERAT\w*)\b).)*?"
    rf"\b(?:{_MEDIUM}|INJ\b|{_INJECTION})"
)
# "C-", "o. KM", "Kopf -KM" (but not "Kopf-KM", "Kopf - KM"), "KM-" (but not "KM-Gabe"), "KM +/-".
_BY_SIGN = (
    rf"\bC-|\bO[ /-]+(?:I ?V[ -]+)?(?:KM\b|KONTRAST)|(?<![A-Z0-9+-])-+{_MEDIUM}|\b{_MEDIUM}(?:-(?![A-Z0-9])| -$)"
    rf"|\b(?:C|{_MEDIUM}) ?\+/-|\+/- ?{_MEDIUM}"
)
_DENIED = re.compile(rf"\b(?:{_NO_WORDS})\b|\b{_NOT_YET}|{_BY_SIGN}")
_SAYS_NONE = re.compile(rf"(?:{_NO_WORDS})\b|{_NOT_YET}|.*?(?:{_BY_SIGN})")
# Bare INJ is an injury as often as an injection.
_NAMED = re.compile(
    rf"\b(CTA|CTV|CTP|CECT|ANGIO\w*|ENHANCED|{_MEDIUM}|PERFUSION|{_INJECTION}|ARTERI(?!OVEN)\w*|PORTALVEN\w*)\b|\bC\+|\+C\b"
    r"|\b(POST|APRES|AVEC|WITH|AFTER|MIT|NACH|CON|I ?V)[ /-]+(L )?INJ\b"
)
_VENOUS = re.compile(r"\b(VEN(OUS|OS|OES|OSE|OESE|OSA)|VEINEUX)\b")
_OF_A_VEIN = re.compile(r"\b(SINUS|THROMB|MALFORM|FISTUL|INFAR)")  # what a vein has without any agent
_PHASE = re.compile(r"\b(PHASE|FASE)\b")
# "4cc sec 150cc", "3.5 ml/s", "100 ml": how fast, and how much, was injected. A volume below 20 ml may be something else.
_INJECTED = re.compile(r"\b\d+ ?(CC|ML) ?/? ?(S|SEC|SECOND)\b|\b([2-9]\d|1\d\d) ?(CC|ML)\b")
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
    venous = _VENOUS.search(description) and (_PHASE.search(description) or not _OF_A_VEIN.search(description))
    if venous or _NAMED.search(description):
        return "SeriesDescription names contrast agent"
    if _INJECTED.search(description):
        return "SeriesDescription names a rate or volume of injection"
    return ""
