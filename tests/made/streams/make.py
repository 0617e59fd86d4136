"""Makes streams.npz: one picture compressed by encoders that the project does not have.

HTJ2K by OpenJPH 0.26.3 and JPEG lossless (process 14, predictor 6) by liblj92, both through imagecodecs 2026.3.6:
``pip install imagecodecs && python tests/made/streams/make.py``.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import imagecodecs  # pyright: ignore[reportMissingImports]
import numpy as np

ROWS, COLUMNS = 48, 40


def main() -> None:
    rng = np.random.default_rng(4)
    y, x = np.mgrid[:ROWS, :COLUMNS]
    inside = np.hypot(y - ROWS / 2, x - COLUMNS / 2) < 16
    hu = np.where(inside, 35 + rng.normal(0, 8, inside.shape), -1000).round().astype(np.int16)
    unsigned = (hu + 1024).astype(np.uint16)
    streams = {
        "htj2k_signed": imagecodecs.htj2k_encode(hu, reversible=True),
        "htj2k_unsigned": imagecodecs.htj2k_encode(unsigned, reversible=True),
        "htj2k_lossy": imagecodecs.htj2k_encode(unsigned, level=0.001, reversible=False),
        "jpeg_lossless_6": imagecodecs.ljpeg_encode(unsigned, bitspersample=12),
    }
    decoded = imagecodecs.htj2k_decode(streams["htj2k_lossy"])  # lossy decoders differ by rounding
    arrays: dict[str, Any] = {name: np.frombuffer(stream, np.uint8) for name, stream in streams.items()}
    np.savez_compressed(Path(__file__).with_name("streams.npz"), hu=hu, lossy_by_openjph=decoded, **arrays)


if __name__ == "__main__":
    main()
