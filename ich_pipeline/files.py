"""Atomic writing and schema-versioned tables: the only way a stage leaves something on disk."""

from __future__ import annotations

import contextlib
import json
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd

from ich_pipeline.errors import InputError

SCHEMA_KEY = b"ich_schema"
REMOVE_TRIES = 30


@contextlib.contextmanager
def atomic_dir(target: Path) -> Iterator[Path]:
    """Yield an empty sibling directory that becomes ``target`` (replacing it) when the block ends without an error.

    An error leaves ``target`` as it was; so does a kill, but for one between the two renames, which the next try mends.
    The leftover ``.partial`` directory is removed by the next try.
    """
    target = Path(target)
    old = target.with_name(f".{target.name}.old")
    if old.exists() and not target.exists():
        old.rename(target)
    partial = target.with_name(f".{target.name}.partial")
    remove_folder(partial)
    partial.mkdir(parents=True)
    try:
        yield partial
    except BaseException:
        with contextlib.suppress(OSError):
            remove_folder(partial)
        raise
    shutil.rmtree(old, ignore_errors=True)
    if target.exists():
        target.rename(old)
    partial.rename(target)
    shutil.rmtree(old, ignore_errors=True)


def remove_folder(folder: Path) -> None:
    """Remove a folder, if there is one, into which a worker of a run that was killed may still write a last file."""
    for _ in range(REMOVE_TRIES):
        shutil.rmtree(folder, ignore_errors=True)
        if not folder.exists():
            return
        time.sleep(0.1)
    shutil.rmtree(folder)


@contextlib.contextmanager
def atomic_file(target: Path) -> Iterator[Path]:
    """Yield a temporary path beside ``target`` that is renamed to it when the block ends without an error."""
    target = Path(target)
    target.parent.mkdir(parents=True, exist_ok=True)
    # The suffix stays last: some writers choose their format by it, or append it themselves.
    partial = target.with_name(f".partial.{target.name}")
    try:
        yield partial
        partial.replace(target)
    finally:
        partial.unlink(missing_ok=True)


def write_text(target: Path, text: str) -> None:
    """Write UTF-8 text atomically, with ``\\n`` line ends on every system."""
    with atomic_file(target) as partial:
        partial.write_text(text, encoding="utf-8", newline="\n")


def write_json(target: Path, value: Any) -> None:
    """Write JSON atomically: sorted keys, no NaN, so that equal values give equal bytes."""
    write_text(target, json.dumps(value, indent=1, sort_keys=True, allow_nan=False, ensure_ascii=False) + "\n")


def read_json(source: Path) -> Any:
    """Read JSON; :class:`InputError` names a file that is missing or broken."""
    try:
        return json.loads(Path(source).read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise InputError(f"{source} is missing: run `make repro`, or the stage that writes it.") from None
    except json.JSONDecodeError as error:
        raise InputError(f"{source} is not JSON ({error}): remove it and run its stage again.") from None


def write_table(target: Path, table: pd.DataFrame, schema: str) -> None:
    """Write a Parquet table atomically with its schema name and version (``"slices/1"``) in the file's metadata."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    arrow = pa.Table.from_pandas(table, preserve_index=False)
    arrow = arrow.replace_schema_metadata({**(arrow.schema.metadata or {}), SCHEMA_KEY: schema.encode()})
    with atomic_file(target) as partial:
        pq.write_table(arrow, partial)


def read_table(source: Path, schema: str) -> pd.DataFrame:
    """Read a Parquet table that :func:`write_table` wrote; refuse a missing file or another schema version."""
    import pyarrow.parquet as pq

    if not Path(source).is_file():
        raise InputError(f"{source} is missing: run `make repro`, or the stage that writes it.")
    arrow = pq.read_table(source)
    found = (arrow.schema.metadata or {}).get(SCHEMA_KEY, b"none").decode()
    if found != schema:
        raise InputError(
            f"{source} has table schema {found!r} where this version reads {schema!r}: run its stage again with `dvc repro -f`."
        )
    return arrow.to_pandas()
