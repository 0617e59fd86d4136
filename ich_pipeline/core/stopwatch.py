"""Where the time of a command goes: parts that are timed while somebody holds a stopwatch, and cost nothing otherwise."""

from __future__ import annotations

import contextlib
import resource
import sys
import time
from collections.abc import Iterator
from contextvars import ContextVar
from dataclasses import dataclass, field


@dataclass
class Stopwatch:
    """Seconds by part, in the order in which they first ran. A part within a part counts for itself alone."""

    seconds: dict[str, float] = field(default_factory=dict)
    _open: list[tuple[str, float]] = field(default_factory=list)

    def begin(self, name: str) -> None:
        """The part that runs stands still, this one runs."""
        now = self._stop()
        self.seconds.setdefault(name, 0.0)
        self._open.append((name, now))

    def end(self) -> None:
        """The part that was begun last is over; the one around it runs on."""
        now = self._stop()
        self._open.pop()
        if self._open:
            self._open[-1] = (self._open[-1][0], now)

    def _stop(self) -> float:
        now = time.perf_counter()
        if self._open:
            name, since = self._open[-1]
            self.seconds[name] += now - since
        return now


_running: ContextVar[Stopwatch | None] = ContextVar("stopwatch", default=None)


@contextlib.contextmanager
def timed() -> Iterator[Stopwatch]:
    """Time the parts that run within."""
    watch = Stopwatch()
    token = _running.set(watch)
    try:
        yield watch
    finally:
        _running.reset(token)


@contextlib.contextmanager
def part(name: str) -> Iterator[None]:
    """What is inside is a part of this name."""
    watch = _running.get()
    if watch is None:
        yield
        return
    watch.begin(name)
    try:
        yield
    finally:
        watch.end()


def peak_mib() -> float:
    """Memory that this process has taken at most, MiB."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (1 << 20 if sys.platform == "darwin" else 1 << 10)  # bytes there, kB elsewhere
