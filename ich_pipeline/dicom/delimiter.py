"""Encapsulated pixel data without its end: the sequence delimiter that PS3.5 A.4 asks for is missing, the items are whole.

Old archives wrote such files, with zeros of the medium behind. Nothing of the picture is missing, but parsers give up.
"""

from __future__ import annotations

import io
import warnings

import pydicom
from pydicom.dataelem import RawDataElement
from pydicom.dataset import Dataset

NOTE = "the pixel data lacks its end (sequence delimiter), its items are whole"
_ITEM, _DELIMITER = b"\xfe\xff\x00\xe0", b"\xfe\xff\xdd\xe0\0\0\0\0"
_PIXEL_DATA, _UNDEFINED = b"\xe0\x7f\x10\x00", b"\xff\xff\xff\xff"
_VRS = (b"OB", b"OW", b"UN")
_BEFORE_ITEMS = 12  # bytes of the element: tag, VR, reserved, length


def with_end(data: bytes, ds: Dataset) -> bytes | None:
    """The file with the delimiter behind its last whole item, and without what follows; None where that is not its fault.

    An item that is cut short is not mended: nobody knows what was lost.

    Args:
        data: the file.
        ds: what pydicom makes of it: no pixel data, or more than items.
    """
    found = ds.get_item("PixelData") if "PixelData" in ds else None
    if found is not None and not (isinstance(found, RawDataElement) and found.length == 0xFFFFFFFF):
        return None
    if found is not None and _end_of_items(found.value or b"", 0) == len(found.value or b""):
        return None
    start = _first_item(data)
    end = None if start is None else _end_of_items(data, start)
    return None if end is None else data[:end] + _DELIMITER


def _first_item(data: bytes) -> int | None:
    """Where the items of encapsulated pixel data begin."""
    file = io.BytesIO(data)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        # It leaves the file at the element that it stopped before.
        pydicom.dcmread(file, stop_before_pixels=True, force=True, specific_tags=["SOPInstanceUID"])
    at = file.tell()
    head = data[at : at + _BEFORE_ITEMS]
    encapsulated = head[:4] == _PIXEL_DATA and head[4:6] in _VRS and head[8:] == _UNDEFINED
    return at + _BEFORE_ITEMS if encapsulated else None


def _end_of_items(data: bytes, start: int) -> int | None:
    """Where whole items from here on end; None where there are fewer than two (offsets, a fragment) or one is cut short."""
    at, count = start, 0
    while data[at : at + 4] == _ITEM:
        length = data[at + 4 : at + 8]
        at += 8 + int.from_bytes(length, "little")
        count += 1
        if len(length) < 4 or at > len(data):
            return None
    return at if count > 1 else None
