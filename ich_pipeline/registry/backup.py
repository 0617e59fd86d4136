"""The record of a project in one file, and that file as the record of another folder.

MLflow keeps whole paths in its database. A copied ``mlruns/`` therefore names the files of the original: a restore writes
the new place into the four columns that hold paths.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import os
import sqlite3
import tarfile
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path, PurePosixPath
from typing import BinaryIO, cast

from ich_pipeline.core.errors import InputError
from ich_pipeline.core.files import atomic_dir, atomic_file, json_text, private_folder
from ich_pipeline.core.lock import project_locked
from ich_pipeline.core.outputs import check_new_file, refuse_within
from ich_pipeline.core.progress import Track, quiet
from ich_pipeline.registry import store

SCHEMA = "backup/1"
MANIFEST = "backup.json"  # the last member: a file that was cut off lacks it
LOCATIONS = (
    ("experiments", "artifact_location"),
    ("runs", "artifact_uri"),
    ("logged_models", "artifact_location"),
    ("model_versions", "storage_location"),
)
_DATABASE = f"{store.MLRUNS}/{store.DATABASE}"
_CHUNK = 1 << 20


@dataclass(frozen=True)
class Backup:
    """What a backup holds: files, their bytes, the folder that they come from, and when it was made (UTC)."""

    files: int
    size: int
    root: str
    made: str


def back_up(target: Path, track: Track = quiet) -> Backup:
    """Write ``mlruns/`` into a tar file.

    Neither data nor ``work/`` are in it (``dvc push`` keeps those), nor what git keeps. The database is copied as SQLite
    does it, so servers may run meanwhile.

    Raises:
        InputError: there is no record, it lies elsewhere, another run is at work, or the file is there already.
    """
    check_new_file(target, "TARGET")
    refuse_within(store.MLRUNS, f"TARGET {target}", target, "mlruns/")
    _refuse_another_store("back up that server's database and files instead")
    if not Path(_DATABASE).is_file():
        raise InputError(f"{_DATABASE} is missing: there is no record yet; `make repro` makes one.")
    with project_locked(), store.locked(), atomic_file(target) as partial, tarfile.open(partial, "w") as archive:
        digests, size = {}, 0
        names = list(_names())
        for name in track(names, "writing", len(names)):
            with _opened(name) as file:
                info = tarfile.TarInfo(name)
                info.size, info.mode = os.fstat(file.fileno()).st_size, 0o600
                hashed = _Hashed(file)
                archive.addfile(info, cast(BinaryIO, hashed))
            digests[name] = hashed.sha256.hexdigest()
            size += info.size
        made = datetime.now(UTC).isoformat(timespec="seconds")
        manifest = {"schema": SCHEMA, "root": str(Path.cwd()), "made": made, "files": digests}
        text = json_text(manifest).encode()
        info = tarfile.TarInfo(MANIFEST)
        info.size, info.mode = len(text), 0o600
        archive.addfile(info, io.BytesIO(text))
    return Backup(len(digests), size, str(Path.cwd()), made)


def restore(source: Path, track: Track = quiet) -> Backup:
    """Put a backup's record into this folder, which has none; all of it or nothing.

    Raises:
        InputError: this folder has a record, another run is at work, or the file is no backup or not as it was written.
    """
    _refuse_another_store("no restore changes that: unset the variable")
    held = sorted(path.name for path in store.MLRUNS.glob("*") if not path.name.startswith("."))
    if held:
        raise InputError(f"mlruns/ holds {held[0]}: restore into a fresh clone, or move mlruns/ away first.")
    with project_locked(), atomic_dir(store.MLRUNS) as partial:
        try:
            with tarfile.open(source, "r:") as archive:
                found = {member.name: _kept(archive, member, partial) for member in track(archive, "reading")}
        except OSError as error:
            raise InputError(f"{source} cannot be read ({error.strerror or error}): name a backup.") from None
        except (tarfile.TarError, ValueError) as error:
            raise InputError(f"{source} is no whole backup ({error}): name another one.") from None
        files, root, made = _manifest(source, found.pop(MANIFEST, ""))
        if found != files:
            name = sorted(name for name in found.keys() | files.keys() if found.get(name) != files.get(name))[0]
            raise InputError(f"{source}: {name} is damaged or missing there: name another backup.")
        _move(partial / store.DATABASE, root, str(Path.cwd()))
        if (store.MLRUNS / ".gitkeep").exists():
            (partial / ".gitkeep").touch()
        size = sum(path.stat().st_size for path in partial.rglob("*") if path.is_file())
    return Backup(len(files), size, root, made)


def _refuse_another_store(remedy: str) -> None:
    if not store.is_own():
        raise InputError(f"MLFLOW_TRACKING_URI names {store.shown_uri()}, not mlruns/: {remedy}.")
    if store.registry_uri() != store.tracking_uri():
        raise InputError(f"MLFLOW_REGISTRY_URI names another store than mlruns/: {remedy}.")


def _names() -> Iterator[str]:
    for path in sorted(store.MLRUNS.rglob("*")):
        passing = path.name.endswith((".lock", "-wal", "-shm")) and path.parent == store.MLRUNS
        if path.is_file() and not path.is_symlink() and not passing:
            yield path.as_posix()


@contextlib.contextmanager
def _opened(name: str) -> Iterator[BinaryIO]:
    if name != _DATABASE:
        with Path(name).open("rb") as file:
            yield file
        return
    with tempfile.TemporaryDirectory(dir=store.MLRUNS, prefix=".") as folder:
        copy = Path(folder) / store.DATABASE
        with contextlib.closing(sqlite3.connect(name)) as database, contextlib.closing(sqlite3.connect(copy)) as other:
            database.backup(other)
        with copy.open("rb") as file:
            yield file


class _Hashed:
    """A file that is read once, to be written and to be known again."""

    def __init__(self, file: BinaryIO) -> None:
        self.sha256 = hashlib.sha256()
        self._file = file

    def read(self, size: int = -1) -> bytes:
        data = self._file.read(size)
        self.sha256.update(data)
        return data


def _kept(archive: tarfile.TarFile, member: tarfile.TarInfo, mlruns: Path) -> str:
    """Write a member below ``mlruns``, and give its SHA-256; of the manifest, its text.

    Raises:
        ValueError: no backup has such a member.
    """
    place = PurePosixPath(member.name)
    file = archive.extractfile(member) if member.isreg() else None
    if file is not None and member.name == MANIFEST:
        return file.read().decode()
    if file is None or place.parts[:1] != (store.MLRUNS.name,) or ".." in place.parts or len(place.parts) < 2:
        raise ValueError(f"it holds {member.name!r}")
    target = mlruns.joinpath(*place.parts[1:])
    if target.exists():
        raise ValueError(f"it holds {member.name!r} twice")
    private_folder(target.parent)
    hashed = _Hashed(cast(BinaryIO, file))
    with target.open("wb") as written:
        for data in iter(lambda: hashed.read(_CHUNK), b""):
            written.write(data)
    return hashed.sha256.hexdigest()


def _manifest(source: Path, text: str) -> tuple[dict[str, str], str, str]:
    try:
        values = json.loads(text)
        if values["schema"] != SCHEMA or not isinstance(values["files"], dict) or _DATABASE not in values["files"]:
            raise ValueError(values["schema"])
        return values["files"], str(values["root"]), str(values["made"])
    except (ValueError, KeyError, TypeError):
        raise InputError(f"{source} holds no {MANIFEST} of schema {SCHEMA}: it is no backup, or was cut off.") from None


def _move(database: Path, before: str, after: str) -> None:
    """Name the files of this folder where the database names those of the folder that was backed up."""
    forms: tuple[Callable[[str], str], ...] = (str, lambda root: Path(root).as_uri())
    with contextlib.closing(sqlite3.connect(database)) as opened, opened:
        for form in forms:
            old, new = form(before) + "/", form(after) + "/"
            for table, column in LOCATIONS:
                opened.execute(
                    f"UPDATE {table} SET {column} = ? || substr({column}, ?) WHERE substr({column}, 1, ?) = ?",
                    (new, len(old) + 1, len(old), old),
                )
