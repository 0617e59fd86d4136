"""How long does a case page take to make, and how large is it? Run as ``python benchmarks/case_page.py [SLICES [PIXELS]]``.

The head is an ellipse of 32 HU with noise of 4 HU within and 8 HU in the air around it, which is what makes a CT large; eleven
slices are suspicious, each with a map. Beside it: what gzip alone would make of the voxels.
"""

from __future__ import annotations

import sys
import time
import zlib
from pathlib import Path

import numpy as np
from scipy import ndimage

TOP = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(TOP))

from ich_pipeline.config import load_params  # noqa: E402
from ich_pipeline.explain.scan import Scan  # noqa: E402
from ich_pipeline.report.case_page import case_page  # noqa: E402
from ich_pipeline.report.niivue import viewer  # noqa: E402
from tests.made.explained import made_case, maps  # noqa: E402

SUSPICIOUS = 11  # the most that a page shows


def noisy_head(slices: int, pixels: int) -> np.ndarray:
    """int16 (slices, pixels, pixels)."""
    y, x = np.mgrid[:pixels, :pixels] / pixels - 0.5
    radius = np.hypot(x / 0.36, y / 0.44)
    grain = ndimage.gaussian_filter(np.random.default_rng(1).normal(size=(slices, pixels, pixels)), (0, 0.7, 0.7))
    hu = np.where(radius < 1, 32.0, np.where(radius < 1.1, 900.0, -1000.0))
    hu = hu + grain / grain.std() * np.where(radius < 1.1, 4, 8)
    return np.clip(np.rint(hu), -1024, 3071).astype(np.int16)


def main(slices: int = 40, pixels: int = 512) -> None:
    """Print seconds and megabytes."""
    params = load_params(TOP / "ich_pipeline" / "profiles" / "phantom.yaml")
    hu = noisy_head(slices, pixels)
    labels = params.label_set
    values = np.full((slices, len(labels)), 0.1)
    rows = list(range(min(SUSPICIOUS, slices)))
    values[rows, 0] = 0.9
    case = made_case(
        params, values, slice_thresholds=np.full(len(labels), 0.5), shown=dict.fromkeys(rows, ()),
        attention={i: maps(labels.any) for i in rows}, hu=hu, scan=Scan((0.48, 0.48)),
    )  # fmt: skip
    for name in ("first page of a process", "second", "third"):
        start = time.perf_counter()
        page = case_page(case)
        print(f"{name}: {time.perf_counter() - start:.2f} s, {len(page.encode()) / 1e6:.2f} MB")
    print(f"of which the viewer's script: {len(viewer().script) / 1e6:.2f} MB")
    for level in (1, 6):
        start = time.perf_counter()
        size = len(zlib.compress(hu.tobytes(), level)) * 4 / 3 / 1e6
        print(f"zlib {level} of the voxels alone, in base64: {time.perf_counter() - start:.2f} s, {size:.2f} MB")


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
