"""Arrays and what is to be said of them in one ``.npz``: no pickle, and equal content gives equal bytes."""

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


def write_described(path: Path, schema: str, about: Mapping[str, Any], arrays: Mapping[str, NDArray[Any]]) -> None:
    """Write arrays with JSON values beside them."""
    told = json.dumps({"schema": schema, **about})
    np.savez(path, allow_pickle=False, **{ABOUT: np.array(told)}, **arrays)  # type: ignore[arg-type]


def read_described(path: Path, schema: str, again: str) -> tuple[dict[str, Any], dict[str, NDArray[Any]]]:
    """What :func:`write_described` wrote.

    Args:
        path: the file.
        schema: that this version reads.
        again: what makes the file anew, for people.

    Raises:
        InputError: the file is missing, damaged, or of another version.
    """
    try:
        with np.load(path, allow_pickle=False) as archive:
            arrays = {name: archive[name] for name in archive.files}
        about = json.loads(str(arrays.pop(ABOUT)))
        found = about.pop("schema")
    except FileNotFoundError:
        raise InputError(f"{path} is missing: {again}.") from None
    except (ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
        raise InputError(f"{path} cannot be read ({error}): {again}.") from None
    if found != schema:
        raise InputError(f"{path} has schema {found!r} where this version reads {schema!r}: {again}.")
    return about, arrays
