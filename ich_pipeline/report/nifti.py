"""Headers of NIfTI-1 files, the form in which the case page's viewer takes volumes.

After the definition in nifti1.h (https://nifti.nimh.nih.gov/pub/dist/src/niftilib/nifti1.h), as a single file ``n+1``: 348 bytes,
four more that say "no extension", then the voxels, the first axis fastest. Its coordinates are in mm towards the patient's
right, front and head.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence

HEADER_BYTES = 352  # of header and the extension's four
CODES = {"uint8": (2, 8), "int16": (4, 16)}  # datatype, bitpix
MILLIMETRES = 2  # NIFTI_UNITS_MM
SCANNER = 1  # NIFTI_XFORM_SCANNER_ANAT


def header(
    shape: tuple[int, int, int], kind: str, steps_mm: tuple[float, float, float], origin_mm: Sequence[float]
) -> bytes:
    """The 352 bytes before the voxels of a volume in the standard view.

    Args:
        shape: slices, rows, columns: rows go towards the back, columns towards the patient's left, slices towards the head.
        kind: ``uint8`` or ``int16``, little-endian.
        steps_mm: between slices, rows and columns; positive.
        origin_mm: where the centre of the first voxel lies: towards the right, front and head.

    Raises:
        ValueError: an axis does not fit NIfTI-1's 16 bits, or a step is not positive.
    """
    if not all(0 < length < 2**15 for length in shape) or not all(step > 0 for step in steps_mm):
        raise ValueError(f"no NIfTI-1 volume: shape {shape}, steps {steps_mm}")
    slices, rows, columns = shape
    up, down, right = steps_mm
    datatype, bits = CODES[kind]
    made = bytearray(HEADER_BYTES)
    struct.pack_into("<i", made, 0, 348)  # sizeof_hdr
    struct.pack_into("<8h", made, 40, 3, columns, rows, slices, 1, 1, 1, 1)  # dim
    struct.pack_into("<2h", made, 70, datatype, bits)
    struct.pack_into("<8f", made, 76, 1, right, down, up, 0, 0, 0, 0)  # pixdim; its first is qfac
    struct.pack_into("<3f", made, 108, HEADER_BYTES, 1, 0)  # vox_offset, scl_slope, scl_inter
    made[123] = MILLIMETRES  # xyzt_units
    struct.pack_into("<2h", made, 252, SCANNER, SCANNER)  # qform_code, sform_code
    # Both axes of the picture point against NIfTI's: half a turn about the third, the quaternion (0, 0, 0, 1).
    struct.pack_into("<6f", made, 256, 0, 0, 1, *origin_mm)
    for line, row in enumerate(((-right, 0, 0), (0, -down, 0), (0, 0, up))):
        struct.pack_into("<4f", made, 280 + 16 * line, *row, origin_mm[line])  # srow_x, srow_y, srow_z
    made[344:348] = b"n+1\0"
    return bytes(made)
