"""What may hide in native pixel data, which stays as it is: bytes after the last pixel, overlay bits, unused bits."""

from __future__ import annotations

import numpy as np
from pydicom.dataset import Dataset

from ich_pipeline.dicom import fields


def cut_excess(ds: Dataset) -> int:
    """Remove what follows the last pixel of native pixel data; how many bytes that held something.

    Raises:
        ValueError: there are fewer bytes than pixels.
    """
    samples = int(ds.Rows) * int(ds.Columns) * int(ds.get("SamplesPerPixel", 1) or 1)
    frames = fields.integer(ds, "NumberOfFrames") or 1
    length = (samples * frames * int(ds.BitsAllocated) + 7) // 8
    data = bytes(ds.PixelData)
    if len(data) < length:
        raise ValueError("fewer bytes than pixels")
    excess = data[length:]
    if excess:
        ds.PixelData = data[:length] + b"\0" * (length % 2)
    return len(excess) if excess.strip(b"\0") else 0


def overlay_in_pixels(ds: Dataset) -> bool:
    """Does an overlay say that its bits lie in the unused bits of PixelData (retired, PS3.3 C.9.2)?"""
    for group in range(0x6000, 0x6020, 2):
        try:
            if (group, 0x0102) in ds and int(ds[group, 0x0102].value or 0) > 0:
                return True
        except Exception:  # a position that is no number: the overlay's place is unknown
            return True
    return False


def unused_bits(ds: Dataset) -> bool:
    """Do unused high bits of native pixels hold anything but copies of the sign bit?"""
    allocated, stored, high = int(ds.BitsAllocated), int(ds.BitsStored), int(ds.HighBit)
    if allocated != 16 or (stored == 16 and high == 15) or not 0 <= high < 16:
        return False
    order = "<" if ds.original_encoding[1] is not False else ">"
    raw = np.frombuffer(bytes(ds.PixelData)[: len(ds.PixelData) // 2 * 2], f"{order}u2")
    above = raw >> (high + 1)
    ones = (1 << (15 - high)) - 1
    sign = (raw >> high) & 1
    below = raw & ((1 << max(high + 1 - stored, 0)) - 1)
    expected = sign * ones if int(ds.PixelRepresentation) == 1 else np.zeros_like(above)
    return bool(np.any(above != expected) or np.any(below))
