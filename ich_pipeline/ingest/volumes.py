"""HU volumes on disk: one blosc2 file a series, equal bytes for equal voxels on every machine.

Zstandard level 1 after a byte shuffle, one slice a chunk and block: on real heads 2.8 to 5 times smaller than raw, written
at about 0.5 GB/s and read at 1.2 to 1.6 GB/s by one thread, where gzip gives 2.3 to 4 times at 0.1 and 0.3 GB/s.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import blosc2
import numpy as np
from numpy.typing import NDArray

from ich_pipeline.core.errors import InputError
from ich_pipeline.core.files import atomic_file

SUFFIX = ".b2nd"


def write_volume(path: Path, hu: NDArray[np.int16]) -> None:
    """Write a volume atomically.

    Args:
        path: the file, ending in ``.b2nd``.
        hu: int16 Hounsfield units of shape (slices, Rows, Columns).
    """
    if hu.ndim != 3 or hu.dtype != np.int16:
        raise ValueError(f"a volume is int16 of shape (slices, Rows, Columns), found {hu.dtype} of {hu.shape}")
    one_slice = (1, *hu.shape[1:])
    # Left to itself blosc2 takes its block size from this processor's caches and its threads from the number of cores.
    cparams = blosc2.CParams(
        codec=blosc2.Codec.ZSTD, clevel=1, typesize=2, nthreads=1, filters=[blosc2.Filter.SHUFFLE], filters_meta=[0]
    )
    voxels: Any = np.ascontiguousarray(hu)  # blosc2's own annotations do not know numpy's arrays
    array: Any = blosc2.asarray(voxels, chunks=one_slice, blocks=one_slice, cparams=cparams)
    with atomic_file(Path(path)) as partial:
        partial.write_bytes(array.to_cframe())


def read_slice(path: Path, index: int) -> NDArray[np.int16]:
    """One slice of a volume, int16 HU of shape (Rows, Columns); the others are not unpacked.

    Raises:
        InputError: the file is missing or no volume.
    """
    return _unpack(path, index)


def read_volume(path: Path) -> NDArray[np.int16]:
    """Read a volume: int16 Hounsfield units of shape (slices, Rows, Columns).

    Raises:
        InputError: the file is missing or no volume.
    """
    return _unpack(path, slice(None))


def _unpack(path: Path, part: int | slice) -> NDArray[np.int16]:
    try:
        array = blosc2.ndarray_from_cframe(Path(path).read_bytes(), copy=False)
        shape, hu = array.shape, np.asarray(array[part])
    except FileNotFoundError:
        raise InputError(f"{path} is missing: run `python -m flows.ingest`.") from None
    except RuntimeError as error:
        raise InputError(f"{path} is not a volume ({error}): run `python -m flows.ingest`.") from None
    if hu.dtype != np.int16 or len(shape) != 3:
        raise InputError(f"{path} holds {hu.dtype} of shape {shape} where a volume is int16 of three axes.")
    return hu
