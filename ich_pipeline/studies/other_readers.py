"""Readers from a table of their own (``--readers``), in the order of the rows that are judged."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ich_pipeline.core.errors import InputError
from ich_pipeline.studies.columns import nameless
from ich_pipeline.studies.groups import Cases
from ich_pipeline.studies.matched import Choices, Excluded
from ich_pipeline.studies.names import ANY, IDS, key_of
from ich_pipeline.tables.reader_tables import MISSING, is_long, is_wide, long_reads, nobody_read, wide_reads
from ich_pipeline.tables.text_tables import read_text_table


def other_readers(
    path: Path | None,
    ids: str,
    names: Sequence[str],
    cases: Cases | None,
    labels: Sequence[tuple[str, str]],
    choices: Choices,
) -> tuple[tuple[str, ...], NDArray[np.int8], list[Excluded], tuple[str, ...]]:
    """Reads of a table of its own, in the order of the rows and findings; last, its findings that are not evaluated.

    Where slices are gathered into ``cases`` (of each row), the table may name these: their slices then share the read.
    """
    none = np.zeros((len(names), 0, len(labels)), dtype=np.int8)
    if path is None or nobody_read(path):
        return (), none, [], ()
    table = read_text_table(path)
    if is_wide(table):
        column = table.find(ids) or next((c for n in IDS if (c := table.find(n))), None)
        if column is None:
            raise InputError(f"{path} has no column {ids!r} that names the rows: give it that name.")
        reads = wide_reads(table, column)
    elif is_long(table):
        reads = long_reads(table, ANY)
    else:
        raise InputError(
            f"{path} is no table of readers: it needs the columns reader,case,decision, or <reader>:<finding> of two readers."
        )
    row_of: dict[str, int] = {}
    for i, name in enumerate(reads.cases):
        if row_of.setdefault(name, i) != i:
            raise InputError(f"{path}, line {table.lines[i]}: {name!r} stands twice: keep one row.")
    named = names if cases is None or not row_of.keys().isdisjoint(names) else cases.names
    shared = cases.shared & row_of.keys() if cases is not None and named is cases.names else ()
    if shared:
        name = min(shared, key=lambda n: row_of[n])
        raise InputError(
            f"{path} names the case {name!r}, which several patients have: give every case a name of its own in all "
            "tables, the patient's and the case's in one, or let the readers' table name the slices."
        )
    places = [(i, row_of[name]) for i, name in enumerate(named) if name in row_of]
    strangers = len(row_of.keys() - set(named))
    if not places or (strangers and not choices.allow_missing):
        raise InputError(
            f"{path} names {strangers:,} cases that are not among those evaluated: remove them, or add --allow-missing to "
            "leave them out and have them counted."
        )
    wanted = {key: k for k, (_, key) in enumerate(labels)} | {name: k for k, (name, _) in enumerate(labels)}
    columns = [
        (wanted[k], i) for i, name in enumerate(reads.labels) if (k := name) in wanted or (k := key_of(name)) in wanted
    ]
    if not columns:
        raise InputError(f"{path} names no finding that is evaluated: it has {', '.join(reads.labels)}.")
    aligned = np.full((len(names), len(reads.readers), len(labels)), MISSING, dtype=np.int8)
    to, source = np.array(places).T
    for k, i in columns:  # two of them may be names of one finding
        before, given = aligned[to, :, k], reads.reads[source, :, i]
        if ((before != MISSING) & (given != MISSING)).any():
            raise InputError(
                f"{path}: a reader decided twice on {labels[k][0]} in one case, under two of its names: keep one of them."
            )
        aligned[to, :, k] = np.where(given == MISSING, before, given)
    judged = {i for _, i in columns}
    return (
        reads.readers,
        aligned,
        [Excluded("cases of the readers' table that are not evaluated", strangers)] * (strangers > 0),
        (*(name for i, name in enumerate(reads.labels) if i not in judged), *nameless(table)),
    )
