"""Known faults of the pixels' sign, mended only where the pixels prove them.

The proof is a picture's own continuity. A signed value that is read as unsigned lands 2^bits higher, so wherever such
values meet others, neighbours differ by more than half the range: a *seam*. Anatomy has next to none. A reading is proven
where it leaves at most a tenth of the other reading's seams, and that one has many.

The faults: the sign bit of a JPEG 2000 stream against PixelRepresentation, and the RSNA 2019 wrap-around, where values
below 0 HU were stored unsigned, modulo 2^BitsStored, beside an intercept near 0 (there known as ``correct_dcm``).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

SEAMS_NEEDED = 64  # of the reading that is refuted
SEAMS_LEFT = 0.1  # of them in the reading that is proven
WRAP_INTERCEPT = -100  # an intercept above it leaves no room for air in unsigned values
AIR_SHARE = 0.01  # of the pixels, which must become air when the wrap is undone
STRETCHES = 3  # of values that do not occur: the values that wrapped begin above one of them
LOWEST_AIR_HU, HIGHEST_AIR_HU = -1124, -850

Stored = NDArray[np.int32]


def seams(stored: Stored, bits: int) -> int:
    """Pairs of neighbours along rows and columns that differ by more than half of the range of ``bits``."""
    half = 1 << (bits - 1)
    down = np.abs(np.diff(stored, axis=0)) > half
    along = np.abs(np.diff(stored, axis=1)) > half
    return int(np.count_nonzero(down) + np.count_nonzero(along))


def choose_sign(as_header: Stored, as_stream: Stored, bits: int) -> tuple[Stored, str]:
    """Between the header's and the compressed stream's word on the sign of the values.

    Args:
        as_header, as_stream: the stored values by PixelRepresentation and by the stream, int32 of shape (Rows, Columns).
        bits: that a value has.

    Returns:
        The values by the word that the pixels prove, by the header where they prove none; and a note, empty where both
        readings are the same.
    """
    if np.array_equal(as_header, as_stream):
        return as_header, ""
    of_header, of_stream = seams(as_header, bits), seams(as_stream, bits)
    if _proven(of_stream, of_header):
        return as_stream, (
            f"sign repaired: read as the JPEG 2000 stream says, PixelRepresentation is wrong "
            f"({of_header} seams, {of_stream} after)"
        )
    if _proven(of_header, of_stream):
        return as_header, (
            f"sign repaired: read as PixelRepresentation says, the JPEG 2000 stream's sign is wrong "
            f"({of_stream} seams, {of_header} after)"
        )
    return as_header, "the JPEG 2000 stream's sign differs from PixelRepresentation, which is followed"


def undo_wrap(
    stored: Stored, padded: NDArray[np.bool_] | None, bits: int, slope: float, intercept: float
) -> tuple[Stored, str]:
    """Bring unsigned values that wrapped around below 0 back, where the pixels prove that they did.

    Args:
        stored: unsigned stored values, int32 of shape (Rows, Columns).
        padded: pixels that do not count.
        bits: BitsStored.
        slope, intercept: to Hounsfield units.

    Returns:
        The values, and a note that is empty where nothing was done.
    """
    if intercept <= WRAP_INTERCEPT or slope <= 0 or bits < 12:
        return stored, ""
    counted = stored if padded is None else stored[~padded]
    modulus = 1 << bits
    low = modulus + round((LOWEST_AIR_HU - intercept) / slope)
    high = modulus + round((HIGHEST_AIR_HU - intercept) / slope)
    if high <= modulus // 2 or np.count_nonzero((counted >= low) & (counted <= high)) < AIR_SHARE * counted.size:
        return stored, ""
    before = seams(stored, bits)
    best: tuple[int, int, Stored] | None = None
    for cut in _cuts(counted, modulus, high, round((-1024 - intercept) / slope)):
        mended = np.where(stored >= cut, stored - modulus, stored)
        after = seams(mended, bits)
        if best is None or after < best[0]:
            best = (after, cut, mended)
    if best is None or not _proven(best[0], before):
        return stored, ""
    after, cut, mended = best
    return (
        mended,
        f"wrap-around undone: stored values from {cut} on are {modulus} lower ({before} seams, {after} after)",
    )


def _cuts(counted: NDArray[np.int32], modulus: int, high: int, floor: int) -> list[int]:
    """Where the wrapped values may begin: above one of the widest stretches without values, or at −1024 HU."""
    filled = np.flatnonzero(np.bincount(counted, minlength=modulus))
    filled = np.concatenate([[modulus // 2 - 1], filled[(filled >= modulus // 2) & (filled <= high)]])
    widest = np.argsort(-np.diff(filled), kind="stable")[:STRETCHES]
    return [*(int(filled[i + 1]) for i in widest), modulus + floor]


def _proven(winner: int, loser: int) -> bool:
    return loser >= SEAMS_NEEDED and winner <= SEAMS_LEFT * loser
