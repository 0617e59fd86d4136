"""Does a header say that a series shows another part of the body than the head? It may be wrong, so it never tells alone."""

from __future__ import annotations

import re

from ich_pipeline.dicom.contrast_header import plain
from ich_pipeline.dicom.header import Header

_HEAD = re.compile(r"\b(HEAD|BRAIN|SKULL|CRANI\w*|CEREBR\w*|NEURO\w*|KOPF|SCHAEDEL|CCT|TETE)\b")
_OTHER = re.compile(
    r"\b([CTL] ?-?SPINE|[CTL]SP|SPINE|CERVICAL|CERVIX|NECK|HALS|HWS|CHEST|THORAX|LUNG|ABDOMEN|PELVIS|SHOULDER|CAROTID\w*)\b"
)


def named_elsewhere(header: Header) -> str:
    """The field that names another part of the body, where none names the head; empty where none does."""
    said = {"BodyPartExamined": plain(header.body_part), "SeriesDescription": plain(header.series_description)}
    if any(_HEAD.search(text) for text in said.values()):
        return ""
    return next((f"{keyword} {text}" for keyword, text in said.items() if _OTHER.search(text)), "")
