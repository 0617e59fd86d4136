"""What a stage is to whoever runs it: a body that gets a :class:`Stage` and gives a :class:`StageResult`."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

import pandas as pd

from ich_pipeline.config import Params
from ich_pipeline.core.progress import terminal

T = TypeVar("T")
PROGRESS_SECONDS = 2.0  # between two writes of the progress; a display, not a measurement


@dataclass(frozen=True)
class StageResult:
    """What a stage shows a person: a sentence, small tables, pictures (PNG), links. No patient identifiers."""

    summary: str
    tables: Mapping[str, pd.DataFrame] = field(default_factory=dict)
    pictures: Mapping[str, Path] = field(default_factory=dict)
    links: Mapping[str, str] = field(default_factory=dict)

    def to_json(self) -> dict:
        """The form that travels through the events file."""
        return {
            "summary": self.summary,
            "tables": {k: json.loads(v.to_json(orient="records")) for k, v in self.tables.items()},
            "pictures": {k: str(v) for k, v in self.pictures.items()},
            "links": dict(self.links),
        }


@dataclass(frozen=True)
class Stage:
    """What a body gets: its name and matrix item, the parameters, the logger, and ``track`` for progress."""

    name: str
    item: str | None
    params: Params
    log: logging.Logger
    report_progress: Callable[[float, str], None]

    @property
    def title(self) -> str:
        """``train@vgg16``, as DVC names it."""
        return f"{self.name}@{self.item}" if self.item else self.name

    def track(self, items: Iterable[T], description: str, total: int | None = None) -> Iterator[T]:
        """Yield the items; show progress on the terminal, in the UI, or nowhere."""
        count = total if total is not None else (len(items) if hasattr(items, "__len__") else 0)  # type: ignore[arg-type]
        last = time.monotonic()
        for done, item in enumerate(terminal(items, description, count or None), start=1):
            yield item
            now = time.monotonic()
            if count and (done == count or now - last > PROGRESS_SECONDS):
                last = now
                self.report_progress(done / count, description)


Body = Callable[[Stage], StageResult]
