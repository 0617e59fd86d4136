"""Images computed from two energies: monochromatic (keV), virtual non-contrast, and maps of a material."""

from __future__ import annotations

import re
from collections.abc import Sequence

from ich_pipeline.dicom.contrast_header import plain

# ImageType, value 4 of a multi-energy image (PS3.3 C.8.15.3.1.2); the material ones begin alike.
_VALUES = frozenset({"VMI", "EFF_ATOMIC_NUM", "ELECTRON_DENSITY"})
_MATERIAL = "MAT_"
_WORDS = re.compile(
    r"\b(VMI|VNC|VNCA|VIRTUAL\w*|IODINE?|IOD(WATER|MAP)?|JOD|\d*KEV|MONO ?(E|\+|PLUS|\d+|ENERG\w*|CHROM\w*)?|Z ?-?EFF\w*"
    r"|EFF\w* ?(Z|ATOMIC\w*)|ATOMIC NUMBER|ELECTRON ?DENS\w*|RHO ?/? ?Z|MATERIAL ?(DENS\w*|DECOMP\w*|MAP)|IODINE\w+)(?![\w])"
)


def named_virtual(image_type: Sequence[str], description: str) -> str:
    """Which field says that an image was computed from two energies; empty where none does.

    Args:
        image_type: ImageType's values, in upper case.
        description: SeriesDescription.
    """
    said = f"ImageType {'/'.join(image_type)}"
    further = image_type[2:]
    if any(value in _VALUES or value.startswith(_MATERIAL) for value in further):
        return said
    if any(_WORDS.search(plain(value)) for value in further):
        return said
    if _WORDS.search(plain(description)):
        return f"{said}, and SeriesDescription names a virtual or material image"
    return ""
