"""Secondary images: slices that the ingest may read as a last resort, told from pictures of a screen or a page.

ImageType value 2 says whether an image was made during the examination or after it (PS3.3 C.7.6.1.1.2): a reconstruction
from raw data is SECONDARY as well as a capture. What the ingest could read is kept and flagged, and the picture is looked at.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset

from ich_pipeline.dicom import fields
from ich_pipeline.dicom.decode import SliceReader
from ich_pipeline.dicom.reader import read_slice_headers

ANY_THICKNESS_MM = (0.0, math.inf)  # a setting of the ingest, which may be another one later
FLAG = "secondary_image"
CAPTURE_BITS = 8  # a CT image stores 12 to 16 (PS3.3 C.8.2.1), a picture of a screen 8
# ConversionType (PS3.3 C.8.6.1) of digitised video, film and paper; a workstation's (WSD) may be a reformat.
_DIGITISED = frozenset({"DV", "DF", "SD", "SI", "DRW"})


def is_secondary(ds: Dataset) -> bool:
    """Does ImageType say that the image was made after the examination?"""
    return "SECONDARY" in [value.strip().upper() for value in fields.text(ds, "ImageType").split("\\")][1:2]


def why_no_slice(data: bytes, ds: Dataset) -> str:
    """Why a secondary image is none that the ingest could read, without a value of it; empty for one that is whole.

    Args:
        data: the file.
        ds: what it holds.
    """
    if fields.text(ds, "ConversionType").upper() in _DIGITISED:
        return "ConversionType says that it was digitised"
    if (fields.integer(ds, "BitsStored") or 0) <= CAPTURE_BITS:
        return f"it has {CAPTURE_BITS} bits a pixel or fewer"
    headers = read_slice_headers(data, "", ANY_THICKNESS_MM)
    if all(header.may_be_read for header in headers):
        return ""
    return "it is no whole axial slice in HU without contrast agent or bone kernel, or a projection"


def pictures(data: bytes) -> Iterator[NDArray[np.int16]]:
    """Each of its frames, (Rows, Columns) in HU.

    Raises:
        PixelError: a frame cannot be decoded.
    """
    reader = SliceReader()
    return (reader.read(header).hu for header in read_slice_headers(data, "", ANY_THICKNESS_MM))
