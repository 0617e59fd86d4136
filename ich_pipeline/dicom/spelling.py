"""Free text of a header, spelt so that its words can be told apart."""

from __future__ import annotations

import re
import unicodedata

# Words that are written together: VNCPlus, MonoE, CaSupp75, 40keV. A unit is one word, whatever its case.
_UNIT = re.compile(r"(?<![a-z])(?:kev|ml|mas|kvp?)(?![a-z])", re.IGNORECASE)
_SEAM = re.compile(r"(?<=[a-z])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])|(?<=[A-Za-z])(?=\d)|(?<=\d)(?=[A-Za-z])")


def plain(text: str) -> str:
    """Upper case without accents, and every sign but letters, digits, ``+``, ``-`` and ``/`` a space."""
    return re.sub(r"[^A-Z0-9+/-]+", " ", _bare(text).upper()).strip()


def parted(text: str) -> str:
    """Without accents, letters apart from digits, and CamelCase in its words."""
    return _SEAM.sub(" ", _UNIT.sub(lambda unit: unit[0].upper(), _bare(text)))


def _bare(text: str) -> str:
    return "".join(c for c in unicodedata.normalize("NFKD", text) if not unicodedata.combining(c))
