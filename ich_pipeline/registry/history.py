"""The log of promotions: who made which version the champion, when, after what the gate said. Appended to, never changed.

``mlruns/promotions.jsonl``, an entry a line, its owner's alone. Each entry holds the digest of the one before it, so that a
changed, removed or inserted line is named. The digest of the last one also stands in a tag of the registered model: a log
that lost its end is found out too. A last line that a kill cut off does not count and is cut away by the next entry.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

from ich_pipeline.core.files import private_folder
from ich_pipeline.registry import store

FILE = "promotions.jsonl"
LAST = "ich.promotions"  # tag of the registered model: number and digest of its last entry
START = "0" * 64
What = Literal["promote", "override", "rollback", "prune"]


@dataclass(frozen=True)
class Entry:
    """One entry.

    Attributes:
        number: 1, 2, …
        what: ``override`` is a promotion against the gate.
        model: name of the registered model.
        version: the champion from now on; None for ``prune``.
        content: digest of its bundle.
        previous: the champion before; None where there was none.
        person: who did it.
        when: UTC, ISO 8601, to the second.
        reason: as it was given.
        gate: :meth:`ich_pipeline.gate.judge.Judgement.to_json`; None where it was not asked.
        removed: versions that ``prune`` removed.
        before: digest of the entry before.
    """

    number: int
    what: What
    model: str
    version: int | None
    content: str
    previous: int | None
    person: str
    when: str
    reason: str = ""
    gate: dict[str, Any] | None = None
    removed: list[int] = field(default_factory=list)
    before: str = START

    @property
    def digest(self) -> str:
        """SHA-256 over all fields."""
        return hashlib.sha256(_text(asdict(self)).encode()).hexdigest()


@dataclass(frozen=True)
class Log:
    """What the file holds.

    Attributes:
        entries: all that can be read, in order.
        fault: the first thing that is not as it was written, as a sentence; empty where all is.
        end: digest that the last line gives itself, which the next entry names.
        length: bytes of the whole lines; what follows was cut off.
    """

    entries: tuple[Entry, ...]
    fault: str
    end: str
    length: int


@dataclass(frozen=True)
class Period:
    """A champion's time; ``since`` is None where it began before the log, ``until`` where it goes on."""

    version: int
    since: datetime | None
    until: datetime | None

    def overlaps(self, begin: datetime, end: datetime) -> bool:
        """Whether it was the champion at some time from ``begin`` to before ``end``."""
        return (self.since is None or self.since < end) and (self.until is None or self.until > begin)


def place() -> Path:
    """The file."""
    return store.MLRUNS / FILE


def read() -> Log:
    """The log, checked from its first line to its last; empty where there is none."""
    raw = place().read_bytes() if place().is_file() else b""
    whole = raw[: raw.rfind(b"\n") + 1]
    entries: list[Entry] = []
    fault, end = "", START
    for number, line in enumerate(whole.splitlines(), start=1):
        try:
            values = json.loads(line)
            written = values.pop("digest")
            entry = Entry(**{one.name: values.pop(one.name) for one in fields(Entry)})
            if values or not isinstance(written, str):
                raise ValueError
            moment(entry.when)
        except (ValueError, KeyError, TypeError, AttributeError):
            fault = fault or f"{place()}: line {number} is no entry"
            end = hashlib.sha256(line).hexdigest()
            continue
        if not fault and (entry.number, entry.before) != (number, end):
            fault = f"{place()}: line {number} does not follow the line before it: a line was removed, added or changed, or is of another machine"
        if not fault and written != entry.digest:
            fault = f"{place()}: line {number} was changed"
        entries.append(entry)
        end = written
    return Log(tuple(entries), fault, end, len(whole))


def append(entry: Entry) -> None:
    """Write an entry; number and predecessor are filled in. The caller holds the registry's lock.

    Where the registry knows a later entry than the file, the new one follows that: the gap stays in the file for good.
    """
    log = read()
    entry = replace(entry, number=len(log.entries) + 1, before=_lost(log, entry.model)[1] or log.end)
    private_folder(place().parent)
    descriptor = os.open(place(), os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        os.fchmod(descriptor, 0o600)
        os.ftruncate(descriptor, log.length)
        os.lseek(descriptor, 0, os.SEEK_END)
        line = (_text({**asdict(entry), "digest": entry.digest}) + "\n").encode()
        while line:
            line = line[os.write(descriptor, line) :]
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    store.client().set_registered_model_tag(entry.model, LAST, f"{entry.number} {entry.digest}")


def fault(log: Log, model: str) -> str:
    """What is wrong with the log, its end included, as a sentence; empty where nothing is."""
    if log.fault:
        return log.fault
    number, lost = _lost(log, model)
    if lost:
        return f"{place()} lacks entry {number}, which the registry knows: its end is gone, or another machine wrote it"
    return ""


def _lost(log: Log, model: str) -> tuple[str, str]:
    """Number and digest of the entry that the registry knows as the last and the file does not hold; empty where it does."""
    from mlflow.exceptions import MlflowException

    try:
        last = store.client().get_registered_model(model).tags.get(LAST, "")
    except MlflowException:  # no such model
        return "", ""
    number, _, digest = last.partition(" ")
    return ("", "") if digest in {entry.digest for entry in log.entries} else (number, digest)


def periods(entries: Sequence[Entry], model: str) -> list[Period]:
    """The champions of a model, in order."""
    moves = [entry for entry in entries if entry.model == model and entry.version is not None]
    found = []
    if moves and moves[0].previous is not None:
        found.append(Period(moves[0].previous, None, moment(moves[0].when)))
    for entry, following in itertools.zip_longest(moves, moves[1:]):
        assert entry.version is not None
        begin, until = moment(entry.when), moment(following.when) if following else None
        found.append(Period(entry.version, begin, until))
        if following and following.previous not in (None, entry.version):
            # The alias was moved past the log, or this move was stopped before it was made: both may have answered.
            found.append(Period(following.previous, begin, until))
    return found


def champion_before(entries: Sequence[Entry], model: str, present: int | None = None) -> int | None:
    """The version to go back to: the champion before the present one, and after a rollback the one before that.

    Args:
        entries: of the log.
        model: its name.
        present: the champion, which may have been moved past the log; None to take it from the log.
    """
    line: list[int] = []
    for entry in entries:
        if entry.model != model or entry.version is None:
            continue
        _standing(line, entry.previous)
        if entry.what == "rollback" and entry.version in line:
            while line[-1] != entry.version:
                line.pop()
        else:
            line.append(entry.version)
    _standing(line, present)
    return line[-2] if len(line) > 1 else None


def _standing(line: list[int], champion: int | None) -> None:
    """End the line of champions with the one that stood: what was logged and never came is not in it, what came unlogged is."""
    if champion is None:
        return
    if champion not in line:
        line.append(champion)
    while line[-1] != champion:
        line.pop()


def moment(text: str) -> datetime:
    """ISO 8601 to a time in UTC, which it is taken for where it names no zone; ValueError where it is none."""
    found = datetime.fromisoformat(text)
    return found.astimezone(UTC) if found.tzinfo else found.replace(tzinfo=UTC)


def now() -> str:
    """UTC to the second, ISO 8601."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def _text(values: dict[str, Any]) -> str:
    return json.dumps(values, sort_keys=True, ensure_ascii=False, allow_nan=False)
