"""Progress over an iterable: a rich bar on a terminal, nothing elsewhere.

Long functions take a ``track`` argument of type :data:`Track`, so that a flow can show the same progress in the Prefect
UI and a notebook can pass its own.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from typing import Protocol, TypeVar

T = TypeVar("T")


class Track(Protocol):
    """``track(items, description, total)`` yields the items and shows how far it is."""

    def __call__(self, items: Iterable[T], description: str, total: int | None = None) -> Iterator[T]: ...


def quiet(items: Iterable[T], description: str, total: int | None = None) -> Iterator[T]:
    """No display."""
    yield from items


def terminal(items: Iterable[T], description: str, total: int | None = None) -> Iterator[T]:
    """A bar on stderr, where that is a terminal: what is done, a bar, ``3 of 40`` and the time left."""
    if not sys.stderr.isatty():
        yield from items
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    left = TimeRemainingColumn(elapsed_when_finished=True)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(" of "), left)
    with Progress(*columns, console=Console(stderr=True), transient=True) as shown:
        yield from shown.track(items, total=total, description=description)
