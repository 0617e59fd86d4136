"""What may hide in native pixel data, which stays as it is: bytes after the last pixel, overlay bits, unused bits, writing.

Writing is found by an optical character reader: over the head too, and turned (extra ``ocr``). RapidOCR (Apache-2.0) brings its
models along and reads offline. What it read is never kept: it may be a name.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray
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


# What is shown to it, HU: air and brain dark, ink brighter than bone. A narrower range hides writing over bone.
SHOWN_HU = (-200.0, 1300.0)
LEAST_SCORE = 0.8  # of a line; anatomy is read as a letter or two, and rarely surely
FEWEST = 3  # letters or digits in a line


def lines_read(hu: NDArray[np.integer]) -> int:
    """How many lines of at least three letters or digits are read in a slice, in any direction.

    Args:
        hu: (Rows, Columns), HU.

    Raises:
        ModuleNotFoundError: the extra ``ocr`` is not installed.
    """
    low, high = SHOWN_HU
    grey = np.clip((np.asarray(hu, np.float32) - low) * (255 / (high - low)), 0, 255).astype(np.uint8)
    found = _reader()(np.repeat(grey[:, :, None], 3, axis=2))
    lines = zip(found.txts or (), found.scores or (), strict=True)
    return sum(score >= LEAST_SCORE and _written(text) for text, score in lines)


def _written(line: str) -> bool:
    """Not a row of rings, which reads as 000."""
    signs = [sign for sign in line if sign.isalnum()]
    return len(signs) >= FEWEST and len(set(signs)) > 1


@cache
def _reader() -> Any:
    """One a process, on one core: files are shared out over processes already."""
    from rapidocr import RapidOCR

    threads = {f"EngineConfig.onnxruntime.{kind}_op_num_threads": 1 for kind in ("intra", "inter")}
    return RapidOCR(params={"Global.log_level": "error", **threads})
