"""What MLflow said of a model's versions, kept while its record is untouched: importing MLflow takes longer than reading a case.

Only for the project's own record, a file whose every change shows in its size or its time of change. Where either differs from
when MLflow was asked, or the record lies elsewhere, MLflow is asked again. Nothing here reads what MLflow wrote.
"""

from __future__ import annotations

import contextlib
import json
import sqlite3
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from ich_pipeline.core.files import write_json
from ich_pipeline.registry import store

FOLDER = Path(".state/versions")
SCHEMA = "versions/2"


@dataclass(frozen=True)
class Version:
    """A registered version.

    Attributes:
        name: of the model.
        number: 1, 2, …
        aliases: sorted.
        content: digest of its bundle.
        metrics: headline metrics as text.
        profile: of its parameters.
        created_ms: milliseconds since the epoch, UTC.
        caution: what its tests do not show.
        files: digest of all its files; empty for versions registered before there was one.
        uri: where its files lie.
        tests: by name of the test, SHA-256 of its labels: which cases it had.
        signature: of name, content and files in base64; empty where it was registered without a key.
    """

    name: str
    number: int
    aliases: tuple[str, ...]
    content: str
    metrics: dict[str, str]
    profile: str
    created_ms: int
    caution: str
    files: str
    uri: str
    tests: dict[str, str]
    signature: str


State = list[list[int]]


def state() -> State | None:
    """Size, time of change and inode of the record's files; None where there is no file to go by."""
    if not store.is_own():
        return None
    database = store.MLRUNS / store.DATABASE
    log = database.with_name(f"{database.name}-wal")
    with contextlib.suppress(FileNotFoundError):
        found = [_stat(database)]
        # An empty log is there while anybody has the record open, and says nothing.
        return found + ([_stat(log)] if log.exists() and log.stat().st_size else [])
    return None


def recall(name: str) -> list[Version] | None:
    """The versions of a model, as MLflow last gave them; None where it must be asked."""
    try:
        kept: Any = json.loads(_place(name).read_text(encoding="utf-8"))
        now = state()
        if now is None or (kept["schema"], kept["state"], kept["name"]) != (SCHEMA, now, name):
            return None
        names = {field.name for field in fields(Version)}
        found = [{**one, "aliases": tuple(one["aliases"])} for one in kept["versions"]]
        return [Version(**one) for one in found] if all(one.keys() == names for one in found) else None
    except (OSError, ValueError, KeyError, TypeError, AttributeError):  # never written, or by another version
        return None


def keep(name: str, versions: Sequence[Version], before: State | None) -> None:
    """Remember what MLflow gave.

    Args:
        name: of the model.
        versions: its versions.
        before: :func:`state` from before MLflow was asked; where it is another now, nothing is kept.
    """
    if before is None or state() != before:
        return
    about = {"schema": SCHEMA, "state": before, "name": name, "versions": [asdict(one) for one in versions]}
    write_json(_place(name), about)


def settle() -> None:
    """Move what was written last from SQLite's log into the record's file, where it would go when this process ends."""
    database = store.MLRUNS / store.DATABASE
    if store.is_own() and database.is_file():
        with contextlib.suppress(sqlite3.OperationalError), contextlib.closing(sqlite3.connect(database)) as connection:
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")


def _place(name: str) -> Path:
    import hashlib

    return FOLDER / f"{hashlib.sha256(name.encode()).hexdigest()[:16]}.json"  # any name is allowed


def _stat(path: Path) -> list[int]:
    found = path.stat()
    return [found.st_size, found.st_mtime_ns, found.st_ino]
