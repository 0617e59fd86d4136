"""Atomic writing and schema-versioned tables: the only way a stage leaves something on disk."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
import shutil
import stat
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ich_pipeline.core.errors import InputError

if TYPE_CHECKING:
    import pandas as pd

SCHEMA_KEY = b"ich_schema"
REMOVE_TRIES = 30


@contextlib.contextmanager
def atomic_dir(target: Path) -> Iterator[Path]:
    """Yield an empty sibling directory that becomes ``target`` (replacing it) when the block ends without an error.

    An error leaves ``target`` as it was; so does a kill, but for one between the two renames, which :func:`put_back` mends.
    The leftover ``.partial`` directory is removed by the next try. A link stays one: what it leads to is replaced. What is
    made within the block, in child processes too, is its owner's alone, whatever the umask.

    Raises:
        InputError: ``target`` is a mount point, which cannot be replaced.
    """
    target = real_place(target)
    refuse_mount(target)
    old = beside(target, "old")
    put_back(target)
    partial = beside(target, "partial")
    remove_folder(partial)
    before = keep_private()
    try:
        private_folder(partial)
        yield partial
    except BaseException:
        with contextlib.suppress(OSError):
            remove_folder(partial)
        raise
    finally:
        os.umask(before)
    shutil.rmtree(old, ignore_errors=True)
    if target.exists():
        target.rename(old)
    partial.rename(target)
    shutil.rmtree(old, ignore_errors=True)


def put_back(target: Path) -> bool:
    """Mend what a kill between the two renames of :func:`atomic_dir` leaves: the folder beside its name.

    Whoever asks whether ``target`` is there and whose it is does this first, or takes a user's folder for none.

    Args:
        target: a folder that :func:`atomic_dir` writes; nobody else may be about to.

    Returns:
        whether it was put back.
    """
    target = real_place(Path(target))
    old = beside(target, "old")
    if old.is_symlink():  # nothing is lost: what it leads to stays
        old.unlink()
    if not old.exists():
        return False
    if target.is_dir() and not any(target.iterdir()):  # made since, by hand or by a tool that needs it there
        target.rmdir()
    if target.exists():
        return False
    old.rename(target)
    return True


def beside(target: Path, kind: str) -> Path:
    """``.NAME.KIND`` beside ``target``: where a run that writes it keeps what it needs meanwhile."""
    return target.with_name(f".{target.name}.{kind}")


def real_place(target: Path) -> Path:
    """What a link leads to; any other path as it is."""
    target = Path(target)
    return target.resolve() if target.is_symlink() else target


def refuse_mount(target: Path) -> None:
    """Refuse a folder that the system does not let go of its name, so that nothing can take its place.

    Raises:
        InputError: it is a mount point.
    """
    if target.is_mount() or (target.is_dir() and str(target.resolve()) in _mounts()):
        raise InputError(f"{target} is a mount point, which cannot be replaced as a whole: name a folder inside it.")


def _mounts() -> set[str]:
    """Where something is mounted, a folder of the same disk too, which :meth:`Path.is_mount` does not see."""
    try:
        lines = Path("/proc/self/mountinfo").read_text(encoding="utf-8", errors="surrogateescape").splitlines()
    except OSError:  # not Linux
        return set()
    return {re.sub(r"\\([0-7]{3})", lambda octal: chr(int(octal[1], 8)), line.split(" ")[4]) for line in lines}


@contextlib.contextmanager
def tidied(folder: Path) -> Iterator[None]:
    """Folders that are made within the block, it and those above it, and stay empty are gone after it."""
    absent = [path for path in (folder, *folder.parents) if not path.exists()]
    try:
        yield
    finally:
        for path in absent:
            with contextlib.suppress(OSError):  # it is not there, or holds something
                path.rmdir()


def remove_folder(folder: Path) -> None:
    """Remove a folder, if there is one, into which a worker of a run that was killed may still write a last file.

    Of a link only the link.
    """
    if folder.is_symlink():
        folder.unlink()
    for _ in range(REMOVE_TRIES):
        shutil.rmtree(folder, ignore_errors=True)
        if not folder.exists():
            return
        time.sleep(0.1)
    shutil.rmtree(folder)


@contextlib.contextmanager
def atomic_file(target: Path) -> Iterator[Path]:
    """Yield a temporary path beside ``target`` that is renamed to it when the block ends without an error.

    It holds an empty file that its owner alone may read, whatever the umask; a link of its name is removed, not followed.
    """
    target = Path(target)
    private_folder(target.parent)
    # The suffix stays last: some writers choose their format by it, or append it themselves.
    partial = target.with_name(f".partial.{target.name}")
    partial.unlink(missing_ok=True)
    os.close(os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
    try:
        yield partial
        partial.replace(target)
    finally:
        partial.unlink(missing_ok=True)


def keep_private() -> int:
    """What this process and its children make from now on is its owner's alone; returns the umask before."""
    return os.umask(0o077)


def close_to_others(folder: Path) -> None:
    """Let nobody else look into a folder of patients' data that an earlier version, or another program, left open.

    Left as it is: a link, what is another user's, and a folder with the setgid bit, which is how one is shared with a
    group on purpose.
    """
    with contextlib.suppress(OSError):
        found = folder.lstat()
        if stat.S_ISDIR(found.st_mode) and not found.st_mode & stat.S_ISGID and found.st_mode & 0o077:
            folder.chmod(stat.S_IMODE(found.st_mode) & ~0o077)


def private_folder(folder: Path) -> None:
    """Make a folder, if it is not there, and those above it, so that their owner alone may look into them."""
    if folder.is_dir():
        return
    private_folder(folder.parent)
    try:
        folder.mkdir(mode=0o700)
    except FileExistsError:  # another process made it meanwhile, else it is a file
        if not folder.is_dir():
            raise


def write_text(target: Path, text: str) -> None:
    """Write UTF-8 text atomically, with ``\\n`` line ends on every system."""
    with atomic_file(target) as partial:
        partial.write_text(text, encoding="utf-8", newline="\n")


def sha256_of(path: Path) -> str:
    """SHA-256 of a file's bytes, 64 hexadecimal digits."""
    with Path(path).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def write_json(target: Path, value: Any) -> None:
    """Write JSON atomically, as :func:`json_text` has it."""
    write_text(target, json_text(value))


def json_text(value: Any) -> str:
    """JSON with sorted keys and no NaN, so that equal values give equal text."""
    return json.dumps(value, indent=1, sort_keys=True, allow_nan=False, ensure_ascii=False) + "\n"


def read_json(source: Path) -> Any:
    """Read JSON; :class:`InputError` names a file that is missing or broken."""
    try:
        return json.loads(Path(source).read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise InputError(f"{source} is missing: run `make repro`, or the stage that writes it.") from None
    except json.JSONDecodeError as error:
        raise InputError(f"{source} is not JSON ({error}): remove it and run its stage again.") from None


def read_versioned(source: Path, schema: str, remedy: str) -> dict[str, Any]:
    """Read JSON that says its schema (``"schema": "atlas/3"``); what it holds beside it.

    Args:
        source: the file.
        schema: the one that this version reads.
        remedy: what to do about another, as the end of a sentence.

    Raises:
        InputError: the file is missing, broken, or of another schema.
    """
    values = read_json(source)
    found = values.pop("schema", None) if isinstance(values, dict) else None
    if found != schema:
        raise InputError(f"{source} has schema {found!r} where this version reads {schema!r}: {remedy}.")
    return values


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
