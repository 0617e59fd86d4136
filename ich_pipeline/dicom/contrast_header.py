"""Contrast agent by the header."""

from __future__ import annotations

import re

from ich_pipeline.dicom.spelling import parted, plain

_NO_WORDS = (
    r"WITHOUT|W ?[/-]? ?O(?:UT)?|W/0|S/C(?!-?[A-Z])|(?:NON|NICHT)(?![ -]?IONI)|NO|NONE|(?:PRE|PRAE?)(?![ -]?OP)|PLAIN|NATI(?:VE?|F)|UNENHANCED"
    r"|NCCT|NECT|OHNE|KEIN(?:S|E[MNRS]?|ERLEI)?|NEIN|SANS|SIN|SEM|SENZA|ZONDER|GEEN|UTAN|UDEN|UTEN|BEZ|ILMAN"
)
# The agents on the market: the beginnings of their substances and brands.
AGENTS = (
    "IOHEXOL|JOHEXOL|IOHEKSOL|JOHEKSOL|IOPAMI|JOPAMI|IODIXANOL|JODIXANOL|IODIKSANOL|JODIKSANOL|IOMEPROL|"
    "JOMEPROL|IOMERON|JOMERON|IOPROMID|JOPROMID|IOVERSOL|JOVERSOL|IOWERSOL|JOWERSOL|IOBITRIDOL|JOBITRIDOL|"
    "IOPENTOL|IOXAGL|IOXILAN|IOTROLAN|IOXITALAM|OMNIPAQUE|OMNIPAK|OMNITRAST|ACCUPAQUE|ISOVUE|NIOPAM|SOLUTRAST|"
    "SCANLUX|VISIPAQUE|IMERON|ULTRAVIST|OPTIRAY|OPTIJECT|XENETIX|IMAGOPAQUE|HEXABRIX|OXILAN|TELEBRIX|ISOVIST|"
    "CONRAY"
)
_MEDIUM = rf"(?:(?:KM|MD[CK]|CIV|CE)\b|[CK]ONTRAST\w*|(?:{AGENTS})\w*)"
_INJECTION = r"IN(?:JECT|JEKT|YECT|IETT)\w*"
# "vor i.v. KM", "avant l'injection", "pas d'injection", but not "vor OP mit KM".
_NOT_YET = (
    r"(?:VOR|VOOR|AVANT|BEFORE|ANTES|PRIMA|PAS)\b"
    r"(?:(?!\b(?:MIT|NACH|POST|AVEC|APRES|WITH|AFTER|CON|OP|OPERAT\w*)\b).)*?"
    rf"\b(?:{_MEDIUM}|INJ\b|{_INJECTION})"
)
# "C-", "IV-", "o. KM", "Kopf -KM" (but not "Kopf-KM", "Kopf - KM"), "KM-" (but not "KM-Gabe"), "KM +/-".
_BY_SIGN = (
    rf"\b(?:C|IV?)-(?![A-Z0-9])|\bO[ /-]+(?:I ?V[ -]+)?(?:KM\b|KONTRAST)|(?<![A-Z0-9+-])-+{_MEDIUM}"
    rf"|\b{_MEDIUM}(?:-(?![A-Z0-9])| -$)|\b(?:C|{_MEDIUM}) ?\+/-|\+/- ?{_MEDIUM}"
)
_DENIED = re.compile(rf"\b(?:{_NO_WORDS})\b|\b{_NOT_YET}|{_BY_SIGN}", re.MULTILINE)
_SAYS_NONE = re.compile(rf"(?:{_NO_WORDS})\b|{_NOT_YET}|.*?(?:{_BY_SIGN})")
# Bare INJ is an injury as often as an injection, CON a preposition, CONT something continued.
_WITH = r"POST|APRES|AVEC|WITH|AFTER|MIT|NACH|CON"
_NAMED = re.compile(
    rf"\b(CTA|CTV|CTP|CECT|ANGIO\w*|ENHANCED|{_MEDIUM}|PERFUSION|{_INJECTION}|ARTERI(?!OVEN)\w*|PORTALVEN\w*)\b"
    rf"|\bC\+|\+C\b|\bIV?\+(?![A-Z])|\b[WC]/C(?![A-Z0-9-])|\b({_WITH}|I ?V)[ /-]+(L )?INJ\b"
    rf"|\b({_WITH}|W|I ?V)[ /-]*(I ?V[ /-]+)?(CON|CONT|[CK]ONTR)\b|\b({_WITH}|W)[ /-]+I ?V\b(?! VENTR)"
)
_VENOUS = re.compile(r"\b(VEN(OUS|OS|OES|OSE|OESE|OSA)|VEINEUX)\b")
_OF_A_VEIN = re.compile(r"\b(SINUS|THROMB|MALFORM|FISTUL|INFAR)")  # what a vein has without any agent
_PHASE = re.compile(r"\b(PHASE|FASE)\b")
_TIMED = re.compile(r"\b(ART|VEN|PORTAL|DELAYED|LATE)[ -]+(PHASE|FASE)\b")
# "4cc sec 150cc", "3.5 ml/s", "4cc per sec", "4ml/2s": how fast it was injected. A volume alone may be a haematoma's.
_RATE = re.compile(r"\b\d+ ?(CC|ML)S? ?((/|PER) ?(\d{1,2} ?)?(S|SECS?|SECONDS?)|SECS?|SECONDS?)\b")
_VOLUME = re.compile(r"\b(?:[2-9]\d|1\d\d) ?(?:CC|ML)S?\b")
# Who cannot bear the agent was hardly given it.
_BORNE = rf"(?:(?:KM|MD[CK]|CIV)(?![A-Z0-9])|(?:[CK]ONTRAST|[IJY]OD|{AGENTS})[A-Z]*?)"
_GAP = r"[^A-Z0-9+/\n]"
ALLERGY = re.compile(
    rf"(?<![A-Z0-9]){_BORNE}{_GAP}*AL+ERG[A-Z]*"
    rf"|(?<![A-Z0-9])AL+ERG[A-Z]*(?:{_GAP}+(?:TO|THE|AUX?|A|L|D|DE|LA|LE|AL|EL|GEGEN|AUF|IV))*{_GAP}+{_BORNE}(?![A-Z0-9])",
    re.IGNORECASE,
)
NO_AGENT = frozenset(
    {"", "0", "N", "N/A", "NO", "NONE", "NO CONTRAST", "WITHOUT", "UNENHANCED", "OHNE", "SANS", "SIN"}
)  # as de-identification leaves them


def told(text: str) -> str:
    """What a description says, to be searched: plain, on a second line with words apart that were written together; no allergy."""
    return ALLERGY.sub(" ", "\n".join(dict.fromkeys((plain(text), plain(parted(text))))))


def named_by_header(agent: str, volume_ml: float | None, description: str) -> str:
    """Which field says that contrast agent was given; empty where none does.

    Args:
        agent: ContrastBolusAgent. Scanners that gave none write "NONE", "WITHOUT" and the like.
        volume_ml: ContrastBolusVolume, None where missing.
        description: SeriesDescription. One that says both with and without (a protocol's name) says nothing.
    """
    agent, description = plain(agent), told(description)
    if agent not in NO_AGENT and not _SAYS_NONE.match(agent):
        return "ContrastBolusAgent is filled"
    if agent:
        return ""
    if volume_ml is not None and volume_ml > 0:
        return f"ContrastBolusVolume {volume_ml:g} ml"
    if _DENIED.search(description):
        return ""
    venous = _VENOUS.search(description) and (_PHASE.search(description) or not _OF_A_VEIN.search(description))
    if venous or _NAMED.search(description) or _TIMED.search(description):
        return "SeriesDescription names contrast agent"
    if _RATE.search(description):
        return "SeriesDescription names a rate of injection"
    return ""


def volume_named(description: str) -> str:
    """The volume that a SeriesDescription names without a rate or an agent; empty where it names none, or says that none was given."""
    said = told(description)
    found = _VOLUME.search(said)
    return found[0] if found and not _DENIED.search(said) else ""
