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
    """A rich progress bar on stderr when that is a terminal."""
    if not sys.stderr.isatty():
        yield from items
        return
    from rich.console import Console
    from rich.progress import track

    yield from track(items, description=description, total=total, console=Console(stderr=True), transient=True)
