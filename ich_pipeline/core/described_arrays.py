"""Arrays in one ``.npz``, and what is to be said of them beside them: no pickle, and equal content gives equal bytes.

``numpy.savez`` stamps no clock into the file (every entry is of 1980-01-01) and compresses nothing. It keeps the order of an
array in memory (rows or columns first), and so do the bytes.
"""

from __future__ import annotations

import json
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ich_pipeline.core.errors import InputError

ABOUT = "about"  # the entry that holds the JSON


def write_arrays(path: Path, arrays: Mapping[str, NDArray[Any]]) -> None:
    """Write arrays in the order of the mapping; ``path`` ends in ``.npz``, or numpy appends it."""
    np.savez(path, allow_pickle=False, **arrays)  # type: ignore[arg-type]


def read_arrays(path: Path, again: str) -> dict[str, NDArray[Any]]:
    """What :func:`write_arrays` wrote.

    Args:
        path: the file.
        again: what makes the file anew, for people.

    Raises:
        InputError: the file is missing or damaged.
    """
    try:
        with np.load(path, allow_pickle=False) as archive:
            return {name: archive[name] for name in archive.files}
    except FileNotFoundError:
        raise InputError(f"{path} is missing: {again}.") from None
    except (ValueError, EOFError, zipfile.BadZipFile) as error:
        raise InputError(f"{path} cannot be read ({error}): {again}.") from None


def write_described(path: Path, schema: str, about: Mapping[str, Any], arrays: Mapping[str, NDArray[Any]]) -> None:
    """Write arrays with JSON values beside them."""
    write_arrays(path, {ABOUT: np.array(json.dumps({"schema": schema, **about})), **arrays})


def read_described(path: Path, schema: str, again: str) -> tuple[dict[str, Any], dict[str, NDArray[Any]]]:
    """What :func:`write_described` wrote.

    Args:
        path: the file.
        schema: that this version reads.
        again: what makes the file anew, for people.

    Raises:
        InputError: the file is missing, damaged, or of another version.
    """
    arrays = read_arrays(path, again)
    try:
        about = json.loads(str(arrays.pop(ABOUT)))
        found = about.pop("schema")
    except (ValueError, KeyError) as error:
        raise InputError(f"{path} cannot be read ({error}): {again}.") from None
    if found != schema:
        raise InputError(f"{path} has schema {found!r} where this version reads {schema!r}: {again}.")
    return about, arrays
