"""Who is new since the last run that ended well: how many, and how they differ from those before.

``.state/patients.json`` keeps the patient_keys of that run. Where it is lost everybody is new: then a run is one too many,
and never one too few.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from flows.engine import layout
from ich_pipeline.cohorts.add import NOTHING
from ich_pipeline.commands.cohort import NEXT, add
from ich_pipeline.config import Params
from ich_pipeline.core.files import read_json, read_table, write_json
from ich_pipeline.quality.drift import drift, in_words
from ich_pipeline.sources.remote import Remote
from ich_pipeline.tables.cohort_names import TESTS
from ich_pipeline.tables.label_tables import read_labels
from ich_pipeline.tables.schemas import COHORTS_TABLE, SERIES_TABLE, SLICES_TABLE

SEEN = layout.STATE / "patients.json"


class NotYet(Exception):
    """A retraining waits for more patients, or for files that are still arriving; the message is a sentence."""


@dataclass(frozen=True)
class Arrivals:
    """How many are new, and what is said of them; empty where nobody is."""

    new: int
    sentence: str = ""
    drift: pd.DataFrame | None = None


def bring(params: Params, now: float) -> str:
    """Add what is new of ``retrain.incoming`` to ``data/``; says what was done, empty where nothing was.

    Args:
        params: of the project.
        now: seconds since the epoch.

    Raises:
        NotYet: the folder is not quiet yet.
        InputError: what ``ich cohort add`` refuses.
    """
    incoming = params.retrain.incoming
    if incoming is None:
        return ""
    # What is missing at all is told by `add`.
    places = [path for path in (Path(incoming.labels), Path(incoming.source)) if path.exists()]
    for folder, folders, files in os.walk(incoming.source):
        places += [Path(folder, name) for name in (*folders, *files)]
    newest = max((last_change(path, now) for path in places), default=0.0)
    if now - newest < 60 * incoming.quiet_minutes:
        raise NotYet(
            f"a file came into retrain.incoming.source within {incoming.quiet_minutes:g} minutes, and more may come."
        )
    said = add(incoming.source, Path(incoming.labels), params, lenient=False, remote=Remote()).removesuffix(f" {NEXT}")
    return "" if said.endswith(NOTHING) else said


def last_change(path: Path, now: float) -> float:
    """When a file or folder came or changed, in seconds since the epoch; ``now`` for one that has just vanished.

    Whoever copies may give a file its old time, or one to come; when its entry on this disk changed he cannot.
    """
    try:
        found = path.stat() if path.exists() else path.lstat()  # of a link that leads nowhere
    except OSError:
        return now
    return max((when for when in (found.st_mtime, found.st_ctime) if when <= now), default=now)


def look(params: Params) -> Arrivals:
    """Of the tables that ingest and split wrote just now.

    Raises:
        NotYet: a retraining waits for more.
    """
    series = read_table(layout.INGEST / "series.parquet", SERIES_TABLE)
    present = set(series.loc[series["chosen"], "patient_key"])
    seen = set(read_json(SEEN)) if SEEN.is_file() else set()
    new = present - seen
    least = params.retrain.minimum_new_patients
    if 0 < len(new) < least:
        raise NotYet(
            f"{len(new)} new patients, fewer than retrain.minimum_new_patients {least}. `make repro` trains all the same."
        )
    if not new or not seen:
        return Arrivals(len(new))
    slices = read_table(layout.INGEST / "slices.parquet", SLICES_TABLE)
    cohorts = read_table(layout.SPLIT / "cohorts.parquet", COHORTS_TABLE)
    learners = set(cohorts.loc[~cohorts["cohort"].isin(TESTS), "patient_key"])
    labels = params.label_set
    found = drift(series, slices, read_labels(layout.LABELS, labels), labels, new, learners)
    return Arrivals(len(new), in_words(found, len(new), len(present) - len(new)), found)


def note_seen() -> None:
    """Keep who is in ``work/ingest``, once what was made of them is registered."""
    series = read_table(layout.INGEST / "series.parquet", SERIES_TABLE)
    write_json(SEEN, sorted(set(series.loc[series["chosen"], "patient_key"])))
