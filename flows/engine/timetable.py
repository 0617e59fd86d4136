"""What a run will take, and where it stands: ``3 of 24`` and the time left, from how long each stage took before.

Durations of this machine are kept in ``.state/times.json``; before the first run those of the recorded run stand in, where the
profile has them (``ich_pipeline/profiles/<profile>.times.json``, on 2 AVX2 cores).
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterator, Mapping
from importlib.resources import files

from flows.engine import layout
from flows.engine.graph import stages, title
from ich_pipeline.config import Params
from ich_pipeline.core.files import write_json

FILE = layout.STATE / "times.json"
LONGEST = 4  # stages named one by one at the start
_RUNNING, _SKIPPED = re.compile(r"^Running stage '(\S+)'"), re.compile(r"^Stage '(\S+)' (didn't change|is cached)")


class Timetable:
    """Reads the lines of ``dvc repro`` and adds its own."""

    def __init__(self, params: Params) -> None:
        self._names = [title(*one) for one in stages(params)]
        here = _read()
        self._recorded = _packaged(params.profile)
        self._expected = {name: here.get(name, self._recorded.get(name)) for name in self._names}
        self._own = bool(here)
        self._seen: set[str] = set()
        self._took: dict[str, float] = {}
        self._now: tuple[str, float] | None = None

    def opening(self) -> str:
        """What will take how long, in one sentence."""
        known = {name: seconds for name, seconds in self._expected.items() if seconds is not None}
        if len(known) < len(self._names):
            return f"{len(self._names)} stages; how long they take is known after the first run."
        longest = sorted(known, key=lambda name: -known[name])[:LONGEST]
        words = ", ".join(f"{name} {_minutes(known[name])}" for name in longest)
        whose = "as they took here" if self._own else "as they took on 2 AVX2 cores"
        rest = sum(known.values()) - sum(known[name] for name in longest)
        return (
            f"{len(self._names)} stages, about {_minutes(sum(known.values()))} if all run ({whose}): {words}, "
            f"the others {_minutes(rest)}."
        )

    def watch(self, lines: Iterator[str]) -> Iterator[str]:
        """The lines, with one before every stage that runs; durations are kept when they end."""
        try:
            for line in lines:
                started, skipped = _RUNNING.match(line), _SKIPPED.match(line)
                if started or skipped:
                    self._ended()
                if started:
                    yield self._begun(started.group(1))
                elif skipped:
                    self._seen.add(skipped.group(1))
                yield line
            self._ended()
        finally:
            if self._took:
                FILE.parent.mkdir(parents=True, exist_ok=True)
                write_json(FILE, {**_read(), **self._took})

    def _begun(self, name: str) -> str:
        self._seen.add(name)
        self._now = (name, time.monotonic())
        left = [self._expected.get(one) for one in self._names if one not in self._seen or one == name]
        words = f"[{len(self._seen)} of {len(self._names)}] {name}"
        known = [seconds for seconds in left if seconds is not None]
        return f"{words}: at most {_minutes(sum(known))} left" if known and len(known) == len(left) else words

    def _ended(self) -> None:
        if self._now is not None:
            name, began = self._now
            self._took[name] = round(time.monotonic() - began, 1)
            self._now = None


def _minutes(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 90 else f"{seconds / 60:.0f} min"


def _read() -> dict[str, float]:
    """What stages took here; nothing where the file is missing or broken: it is a convenience."""
    try:
        found = json.loads(FILE.read_text(encoding="utf-8"))
        return {str(name): float(seconds) for name, seconds in found.items()}
    except (OSError, ValueError, AttributeError, TypeError):
        return {}


def _packaged(profile: str) -> Mapping[str, float]:
    path = files("ich_pipeline") / "profiles" / f"{profile}.times.json"
    return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
