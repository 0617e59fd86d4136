"""Masks in NIfTI-1 files, as PhysioNet CT-ICH has them: voxels, and which way each axis goes in the patient.

After the definition in nifti1.h (https://nifti.nimh.nih.gov/pub/dist/src/niftilib/nifti1.h), single files alone (``n+1``).
"""

from __future__ import annotations

import gzip
import struct
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

HEADER = 348
KINDS = {2: "u1", 4: "i2", 8: "i4", 16: "f4", 64: "f8", 256: "i1", 512: "u2", 768: "u4"}  # datatype → numpy's
MOST = 2**31  # bytes of voxels: a head of 512 × 512 in 2,000 slices of four bytes


@dataclass(frozen=True)
class Nifti:
    """A volume.

    Attributes:
        voxels: (i, j, k), as stored.
        directions: (3, 3), its columns the unit vectors of the axes i, j, k in DICOM's coordinates: towards the patient's
            left, back and head.
    """

    voxels: NDArray[Any]
    directions: NDArray[np.float64]

    def picture(self, k: int, orientation: tuple[float, ...]) -> NDArray[Any]:
        """Slice ``k`` (Rows, Columns) as an image of an ImageOrientationPatient shows it, turned by quarters and mirrored alone.

        Raises:
            ValueError: there is no such slice, or the third axis does not lead from slice to slice of such images.
        """
        if not 0 <= k < self.voxels.shape[2]:
            raise ValueError(f"it has {self.voxels.shape[2]} slices, not {k + 1}")
        right, down = np.reshape(orientation, (2, 3))
        if np.abs(self.directions[:, 2] @ np.cross(right, down)) < np.sqrt(0.5):
            raise ValueError("its third axis does not lead from slice to slice of the images")
        found = self.voxels[:, :, k]
        along = self.directions[:, :2].T @ np.stack([down, right], axis=1)  # (axis, rows or columns)
        if abs(along[0, 0]) < abs(along[0, 1]):  # the first axis runs along the columns
            found, along = found.T, along[::-1]
        return found[:: 1 if along[0, 0] > 0 else -1, :: 1 if along[1, 1] > 0 else -1]


def read_nifti(path: Path) -> Nifti:
    """Read a file ``.nii`` or ``.nii.gz``.

    Raises:
        ValueError: it is no such file, is cut short, or does not say how it lies in the patient.
        OSError: it cannot be opened.
    """
    content = path.read_bytes()
    if content[:2] == b"\x1f\x8b":
        try:
            with gzip.open(path) as file:
                content = file.read(MOST + 1)
        except (EOFError, zlib.error, gzip.BadGzipFile) as error:
            raise ValueError(f"its compression is broken ({error})") from None
    if len(content) < HEADER or content[344:347] != b"n+1":
        raise ValueError("it is no NIfTI-1 file of one part")
    order = "<" if struct.unpack_from("<i", content)[0] == HEADER else ">"
    dimensions = struct.unpack_from(f"{order}8h", content, 40)
    (kind,) = struct.unpack_from(f"{order}h", content, 70)
    shape = tuple(dimensions[1:4])
    if dimensions[0] < 3 or min(shape) < 1 or any(n > 1 for n in dimensions[4 : dimensions[0] + 1]):
        raise ValueError("it is no volume of three axes")
    if kind not in KINDS:
        raise ValueError(f"its datatype {kind} is none of {', '.join(map(str, KINDS))}")
    (offset,) = struct.unpack_from(f"{order}f", content, 108)
    dtype = np.dtype(order + KINDS[kind])
    count = int(np.prod(shape))
    if count * dtype.itemsize > MOST or not HEADER <= offset <= len(content) - count * dtype.itemsize:
        raise ValueError("it is cut short, or too large")
    voxels = np.frombuffer(content, dtype, count, int(offset)).reshape(shape, order="F")
    return Nifti(voxels, _directions(content, order))


def _directions(content: bytes, order: str) -> NDArray[np.float64]:
    """Of the voxel axes, from srow where it counts, else from the quaternion; NIfTI's x and y point the other way."""
    by_quaternion, by_rows = struct.unpack_from(f"{order}2h", content, 252)
    if by_rows > 0:
        axes = np.array(struct.unpack_from(f"{order}12f", content, 280), np.float64).reshape(3, 4)[:, :3]
    elif by_quaternion > 0:
        b, c, d = struct.unpack_from(f"{order}3f", content, 256)
        a = np.sqrt(max(1 - b * b - c * c - d * d, 0))
        axes = np.array(
            [
                [a * a + b * b - c * c - d * d, 2 * (b * c - a * d), 2 * (b * d + a * c)],
                [2 * (b * c + a * d), a * a + c * c - b * b - d * d, 2 * (c * d - a * b)],
                [2 * (b * d - a * c), 2 * (c * d + a * b), a * a + d * d - b * b - c * c],
            ]
        )
        (qfac,) = struct.unpack_from(f"{order}f", content, 76)
        axes[:, 2] *= -1 if qfac < 0 else 1
    else:
        raise ValueError("it does not say how it lies in the patient (sform_code and qform_code are 0)")
    lengths = np.linalg.norm(axes, axis=0)
    if not (np.isfinite(lengths).all() and lengths.min() > 0):
        raise ValueError("its axes have no direction")
    return np.diag([-1.0, -1.0, 1.0]) @ (axes / lengths)
