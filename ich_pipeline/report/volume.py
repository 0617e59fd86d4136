"""A case's voxels and maps as the case page carries them: once, small, and whole in HU.

Gzip alone makes little of the noise of a CT. So each voxel is stored as its difference from the one before it in its row,
the low bytes of all first and then the high ones; the page's script adds them up again. On 40 noisy slices of 512 × 512
that is less than half of what gzip makes of them, in less time (docs/decisions.md).
"""

from __future__ import annotations

import base64
import json
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ich_pipeline.explain.case import ExplainedCase
from ich_pipeline.explain.scan import Scan
from ich_pipeline.report.nifti import header
from ich_pipeline.report.pictures import DRAWN

AIR_HU, STORED_AIR_HU = -900, -1000  # at or below the first is air, whose noise would be a third of the page
UNEVEN = 0.05  # of the usual step between slices: beyond it the other two planes would show a head out of shape
FEWEST = 8  # slices that other planes show anything with


@dataclass(frozen=True)
class Carried:
    """What a page inlines of a case.

    Attributes:
        voxels: base64 of the deflated NIfTI, its voxels as differences.
        maps: base64 of the deflated maps, uint8 of 128 × 128 each, 255 the map's own maximum; in the order of ``mapped``.
        mapped: (label, slice index) of each map.
        map_header: base64 of the NIfTI header of an overlay: a map a slice.
        planes: whether sagittal and coronal planes can be shown.
    """

    voxels: str
    maps: str
    mapped: tuple[tuple[str, int], ...]
    map_header: str
    planes: bool


def carried(case: ExplainedCase, scan: Scan, maps: Mapping[tuple[str, int], NDArray[np.float64]]) -> Carried:
    """The voxels and maps of a case.

    Args:
        case: read and explained.
        scan: spacing. Without it, or with steps that differ, the axial plane alone is shown, and pixels count as square.
        maps: (label, slice index) → the map over the square picture, zero outside the head (:func:`~ich_pipeline.report.pictures.map_in_head`).
    """
    shape = (len(case.hu), *case.hu.shape[1:])
    steps = np.diff(case.positions_mm)
    step = float(np.median(steps)) if len(steps) else 1.0
    down, right = scan.spacing_mm or (1.0, 1.0)
    even = bool(len(steps)) and bool((np.abs(steps - step) <= UNEVEN * step).all())
    centre = (
        right * (shape[2] - 1) / 2,
        down * (shape[1] - 1) / 2,
    )  # of the picture at the middle of the first two axes
    first = float(case.positions_mm[0])
    voxels = header(shape, "int16", (step, down, right), (*centre, first)) + differences(case.hu)
    # The networks' picture is the square around the slice (``placed.square``).
    side = max(shape[1:])
    cell = side / DRAWN
    margins = [(side - length) // 2 for length in shape[1:]]
    start = [
        at - pixel * (cell / 2 - 0.5 - margin)
        for at, pixel, margin in zip(centre, (right, down), margins[::-1], strict=True)
    ]
    overlay = header((shape[0], DRAWN, DRAWN), "uint8", (step, down * cell, right * cell), (*start, first))
    bytes_of = (np.rint(values / values.max() * 255).astype(np.uint8).tobytes() for values in maps.values())
    return Carried(
        voxels=_text(_squeezed(voxels)),
        maps=_text(zlib.compress(b"".join(bytes_of), 6)),
        mapped=tuple(maps),
        map_header=_text(overlay),
        planes=scan.spacing_mm is not None and even and shape[0] >= FEWEST,
    )


def differences(hu: NDArray[np.int16]) -> bytes:
    """Each voxel less the one before it in its row (the first as it is), zigzag (0, −1, 1, −2 …), low bytes then high bytes.

    Args:
        hu: (n, Rows, Columns). What is at or below −900 HU becomes −1000: it is air, and only its noise would be stored.
    """
    low, high = np.empty(hu.shape, np.uint8), np.empty(hu.shape, np.uint8)
    for index, picture in enumerate(hu):  # one by one they stay in the processor's cache
        clean = np.where(picture <= AIR_HU, np.int16(STORED_AIR_HU), picture)
        less = clean.copy()
        less[:, 1:] -= clean[:, :-1]  # modulo 65,536, as the page adds
        zigzag = ((less << 1) ^ (less >> 15)).view(np.uint8).reshape(*less.shape, 2)  # little-endian
        low[index], high[index] = zigzag[..., 0], zigzag[..., 1]
    return low.tobytes() + high.tobytes()


def script_json(values: Any) -> str:
    """JSON that may stand inside a ``<script>`` element."""
    return json.dumps(values, ensure_ascii=True, separators=(",", ":")).replace("<", "\\u003c")


def _squeezed(data: bytes) -> bytes:
    """Deflated with runs and code lengths alone (``Z_RLE``): noise repeats nothing, and looking for it takes three times as long."""
    packer = zlib.compressobj(6, zlib.DEFLATED, 15, 9, zlib.Z_RLE)
    return packer.compress(data) + packer.flush()


def _text(data: bytes) -> str:
    return base64.b64encode(data).decode("ascii")
