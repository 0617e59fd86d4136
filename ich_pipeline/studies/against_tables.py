"""Another system's predictions (``--against``), in the order of the rows that are judged."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ich_pipeline.core.errors import InputError
from ich_pipeline.studies.cells import lacking, probabilities, rows_by_name, zero_or_one
from ich_pipeline.studies.columns import challenge_form, nameless, other_columns
from ich_pipeline.studies.groups import Joined
from ich_pipeline.studies.matched import Choices, Excluded, Matched, Other
from ich_pipeline.studies.names import ANY, IDS
from ich_pipeline.tables.reader_tables import MISSING
from ich_pipeline.tables.text_tables import TextTable, read_text_table


def other_system(
    path: Path,
    joined: Joined,
    ids: tuple[str, str],
    columns: Sequence[tuple[str, str]],
    keys: Sequence[str],
    scores: NDArray[np.float64],
    choices: Choices,
) -> Other:
    """Read the other system's table and bring its rows into the order of the joined ones.

    Args:
        path: its table.
        joined: the predictions and the labels.
        ids: the columns of these that name the rows.
        columns: prediction column and label column of every finding.
        keys: our name of every finding.
        scores: the predictions' probabilities, shape (rows, labels).
        choices: what the user says.

    Raises:
        InputError: it is the table of predictions or of labels itself, shares no row or finding with them, holds
            something else than probabilities, or (without ``allow_missing``) has other rows than the predictions.
    """
    table, _ = challenge_form(read_text_table(path))
    _check_another(table, joined)
    column = next((c for n in (*ids, *IDS) if (c := table.find(n))), None)
    if column is None:
        raise InputError(f"{path} has no column {ids[0]!r} that names the rows: give it that name.")
    predicted, mine = joined.predicted, joined.mine
    here, there = {predicted.columns[ids[0]][i]: int(i) for i in mine}, rows_by_name(table, column)
    if here.keys().isdisjoint(there):
        raise InputError(
            f"no {column} of {path} is a {ids[0]} of {predicted.path} that has a label (the first are {next(iter(there))!r} "
            f"and {next(iter(here))!r}): give its column of the rows' names the name {ids[0]!r}."
        )
    excluded = []
    for what, alone in (
        ("rows that the other system lacks", lacking(here, predicted, there, table, choices.allow_missing)),
        ("rows of the other system that are not evaluated", lacking(there, table, here, predicted, choices.allow_missing)),
    ):  # fmt: skip
        if alone:
            excluded.append(Excluded(what, len(alone)))
    rows = np.array([there.get(name, -1) for name in here])
    found = other_columns(table, column, columns, keys, bool(choices.pairs))
    decision = table.find("decision") if ANY in (k for k, c in zip(keys, found, strict=True) if c) else None

    aligned = np.full(scores.shape, np.nan)
    for k, name in enumerate(found):
        if name is not None:
            given = probabilities(table, name, choices.allow_missing)[rows]
            aligned[:, k] = np.where((rows < 0) | np.isnan(scores[:, k]), np.nan, given)
    decisions = zero_or_one(table, decision, choices.allow_missing)[rows] if decision else None
    used = {column, decision, *found}
    return Other(
        columns=found,
        scores=aligned,
        has_row=rows >= 0,
        decisions=None if decisions is None else np.where(rows < 0, MISSING, decisions).astype(np.int8),
        excluded=tuple(excluded),
        unused=(*(name for name in table.columns if name not in used), *nameless(table)),
    )


def account_other(found: Matched, other: Other) -> Other:
    """Add what is left out of the comparison of single findings to ``excluded``."""
    more = []
    for k, name in enumerate(found.labels):
        missing = int((other.has_row & np.isnan(other.scores[:, k])).sum())
        if other.columns[k] is not None and missing:
            more.append(Excluded(f"{name}: rows without a probability of both systems", missing))
    if found.decisions is not None and other.decisions is not None:
        undecided = other.has_row & ((found.decisions == MISSING) | (other.decisions == MISSING))
        if undecided.any():
            more.append(Excluded("rows without a decision of both systems", int(undecided.sum())))
    return replace(other, excluded=(*other.excluded, *more))


def _check_another(table: TextTable, joined: Joined) -> None:
    if table.path.samefile(joined.predicted.path):
        raise InputError(f"--against {table.path} is the table of predictions itself: name the other system's table.")
    # Our own tables hold labels and predictions.
    if table.path.samefile(joined.labelled.path) and not any(name.startswith("final_") for name in table.columns):
        raise InputError(f"--against {table.path} is the table of labels itself: name the other system's table.")
