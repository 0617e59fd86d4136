"""Writing in a picture, found by an optical character reader: over the head too, and turned (extra ``ocr``).

RapidOCR (Apache-2.0) brings its models along and reads offline. What it read is never kept: it may be a name.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

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
