"""Named arrays in one ``.npz`` file with equal bytes for equal content.

``numpy.savez`` stamps the clock into the file's entries; here the stamp is fixed and nothing is compressed (compressed
bytes depend on the version of zlib). ``numpy.load`` reads the result.
"""

from __future__ import annotations

import io
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ich_pipeline.core.errors import InputError
from ich_pipeline.core.files import atomic_file

STAMP = (1980, 1, 1, 0, 0, 0)  # the earliest a zip entry can carry


def write_arrays(target: Path, arrays: Mapping[str, NDArray[Any]]) -> None:
    """Write arrays, sorted by name, atomically."""
    with atomic_file(target) as partial, zipfile.ZipFile(partial, "w", zipfile.ZIP_STORED) as archive:
        for name in sorted(arrays):
            buffer = io.BytesIO()
            np.lib.format.write_array(buffer, np.ascontiguousarray(arrays[name]), version=(1, 0), allow_pickle=False)
            entry = zipfile.ZipInfo(f"{name}.npy", STAMP)
            entry.create_system = 3  # one value on every system
            archive.writestr(entry, buffer.getvalue())


def read_arrays(source: Path, found: str | None, schema: str) -> dict[str, NDArray[Any]]:
    """Read all arrays; refuses a missing file, and a ``found`` schema other than ``schema``."""
    if found != schema:
        raise InputError(f"{source} has schema {found!r} where this version reads {schema!r}: run its stage again.")
    try:
        with np.load(source, allow_pickle=False) as archive:
            return {name: archive[name] for name in archive.files}
    except FileNotFoundError:
        raise InputError(f"{source} is missing: run `make repro`, or the stage that writes it.") from None
    except (ValueError, zipfile.BadZipFile) as error:
        raise InputError(f"{source} cannot be read ({error}): remove it and run its stage again.") from None
