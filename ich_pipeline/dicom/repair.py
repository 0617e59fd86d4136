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
LEAST_SLOPE = 1e-3  # HU a stored value; 32 bits of less hold no air, and dividing by next to nothing overflows
AIR_SHARE = 0.01  # of the pixels, which must become air when the wrap is undone
LOWEST_AIR_HU, HIGHEST_AIR_HU = -1124, -850

Stored = NDArray[np.int32]


def seams(stored: Stored, bits: int, padded: NDArray[np.bool_] | None = None) -> int:
    """Pairs of neighbours along rows and columns that differ by more than half of the range of ``bits``.

    Args:
        stored: int32 of shape (Rows, Columns).
        bits: that a value has.
        padded: pixels that do not count.
    """
    half = 1 << (bits - 1)
    count = 0
    for axis in (0, 1):
        apart = np.abs(np.diff(stored, axis=axis)) > half
        if padded is not None:
            before, after = (padded[:-1], padded[1:]) if axis == 0 else (padded[:, :-1], padded[:, 1:])
            apart &= ~(before | after)
        count += int(np.count_nonzero(apart))
    return count


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
    if intercept <= WRAP_INTERCEPT or slope < LEAST_SLOPE or bits < 12:
        return stored, ""
    counted = stored if padded is None else stored[~padded]
    modulus = 1 << bits
    low = modulus + round((LOWEST_AIR_HU - intercept) / slope)
    high = modulus + round((HIGHEST_AIR_HU - intercept) / slope)
    if high <= modulus // 2 or np.count_nonzero((counted >= low) & (counted <= high)) < AIR_SHARE * counted.size:
        return stored, ""
    before = seams(stored, bits, padded)
    floor = modulus + round((-1024 - intercept) / slope)
    # Between −1124 and −1024 HU lies the noise of air, or, at the other end of the range, metal: fewer seams tell.
    for cuts in ((floor, low), _above_the_widest_gap(counted, modulus // 2, low)):
        found = []
        for cut in cuts:
            mended = np.where(stored >= cut, stored - modulus, stored)
            found.append((seams(mended, bits, padded), cut, mended))
        after, cut, mended = min(found, key=lambda one: one[0], default=(before, 0, stored))
        if _proven(after, before):
            note = f"stored values from {cut} on are {modulus} lower ({before} seams, {after} after)"
            return mended, f"wrap-around undone: {note}"
    return stored, ""


def _above_the_widest_gap(counted: NDArray[np.int32], start: int, stop: int) -> list[int]:
    """Where padding that wrapped as well, and that nothing declares, may begin: a lone value below air."""
    filled = np.unique(counted[(counted >= start) & (counted < stop)])
    filled = np.concatenate([[start - 1], filled, [stop]])
    return [int(filled[np.argmax(np.diff(filled[:-1])) + 1])] if len(filled) > 2 else []


def _proven(winner: int, loser: int) -> bool:
    return loser >= SEAMS_NEEDED and winner <= SEAMS_LEFT * loser
