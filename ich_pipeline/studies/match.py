"""Predictions and reference labels of anybody's system, brought together row by row.

Forms that are recognised: one column a finding (ours, or any other), the two-column form of the RSNA 2019 challenge
(``ID,Label``, one row an image and finding), and for labels also a wide table of readers
(:mod:`ich_pipeline.tables.reader_tables`), whose majority is the reference.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ich_pipeline.core.errors import InputError
from ich_pipeline.studies.against_tables import account_other, other_system
from ich_pipeline.studies.cells import lacking, probabilities, rows_by_name, suspicion, zero_or_one
from ich_pipeline.studies.columns import (
    challenge_form,
    choose_level,
    finding_pairs,
    id_columns,
    nameless,
    unused_columns,
)
from ich_pipeline.studies.groups import Cases, Joined, cases_of, patients_of
from ich_pipeline.studies.matched import Choices, Excluded, Matched, Other
from ich_pipeline.studies.names import ANY, IDS, MEAN, key_of
from ich_pipeline.tables.reader_tables import (
    MISSING,
    Reads,
    is_long,
    is_wide,
    long_reads,
    majority,
    nobody_read,
    wide_reads,
)
from ich_pipeline.tables.text_tables import TextTable, read_text_table

LEAST_SHARE = 0.5  # of the smaller table's rows: with fewer in both, the key is broken and rows are not merely missing


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
            f"leave them out and have them counted{suspicion((path, row_of))}."
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


def by_case(slices: Matched, case: NDArray[np.int64], column: str) -> Matched:
    """Cases of slices: the highest probability, and 1 where a slice is 1 (unknown where none is and one is unknown).

    Args:
        slices: the rows; those of one case are of one patient.
        case: 0, 1, … of each row, in the order of the rows.
        column: what the cases are named by.
    """
    first = np.unique(case, return_index=True)[1]
    who = slices.patients[first]
    grouped_by = None if slices.grouped_by == column else slices.grouped_by
    return replace(
        slices,
        scores=_highest(slices.scores, case),
        truth=_present(slices.truth, case),
        unread=_some(slices.unread, case),
        decisions=None if slices.decisions is None else _present(slices.decisions, case),
        reads=_present(slices.reads, case),
        names=tuple(slices.names[i] for i in first),
        lines=slices.lines[first],
        patients=np.arange(len(first)) if grouped_by is None else np.unique(who, return_inverse=True)[1],
        grouped_by=grouped_by,
        other=None if slices.other is None else _other_by_case(slices.other, case),
    )


def _other_by_case(slices: Other, case: NDArray[np.int64]) -> Other:
    """Cases of another system: a case is compared where both systems have scored all its slices."""
    lacking = _some(~slices.has_row, case)
    decisions = None if slices.decisions is None else _present(slices.decisions, case)
    more = (Excluded("cases with a slice that the other system lacks", int(lacking.sum())),) * bool(lacking.any())
    return replace(
        slices,
        scores=np.where(_some(np.isnan(slices.scores), case), np.nan, _highest(slices.scores, case)),
        has_row=~lacking,
        decisions=None if decisions is None else np.where(lacking, MISSING, decisions).astype(np.int8),
        excluded=(*slices.excluded, *more),
    )


def _highest(values: NDArray[np.float64], case: NDArray[np.int64]) -> NDArray[np.float64]:
    out = np.full((int(case.max()) + 1, *values.shape[1:]), -np.inf)
    np.maximum.at(out, case, np.where(np.isnan(values), -np.inf, values))
    return np.where(np.isinf(out), np.nan, out)


def _present(values: NDArray[np.int8], case: NDArray[np.int64]) -> NDArray[np.int8]:
    return np.where(_some(values == 1, case), 1, np.where(_some(values == MISSING, case), MISSING, 0)).astype(np.int8)


def _some(flags: NDArray[np.bool_], case: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Whether a slice of each case has the flag."""
    out = np.zeros((int(case.max()) + 1, *flags.shape[1:]), dtype=bool)
    np.logical_or.at(out, case, flags)
    return out


def match_tables(
    predictions: Path, labels: Path, readers: Path | None, choices: Choices, against: Path | None = None
) -> Matched:
    """Read the tables and join them.

    Raises:
        InputError: a table is broken, no row or finding is in both, a name occurs twice, a probability is missing or
            outside 0..1, a label is neither 0 nor 1, or (without ``allow_missing``) one table lacks rows of the other.
    """
    predicted, long_rows = challenge_form(read_text_table(predictions))
    labelled, _ = challenge_form(read_text_table(labels))
    left, right = id_columns(predicted, labelled, choices.ids)
    level, gathered_by = choose_level(left, long_rows, predicted, labelled, choices)
    places, excluded = _join(predicted, left, labelled, right, choices.allow_missing)
    mine, theirs = places[:, 0], places[:, 1]
    reads = wide_reads(labelled, right) if is_wide(labelled) else None
    pairs = finding_pairs(predicted, left, labelled, right, reads, choices.pairs)
    columns = tuple((a, b) for a, b, _ in pairs)
    scores = np.stack([probabilities(predicted, a, choices.allow_missing) for a, _ in columns], axis=1)[mine]
    if reads is not None:
        kept = [reads.labels.index(b) for _, b in columns]
        reads = replace(reads, labels=tuple(b for _, b in columns), reads=reads.reads[:, :, kept])
        _check_read(labelled, reads, choices.allow_missing)
        truth, unread = majority(reads.reads)[theirs], ~reads.read[theirs]
    else:
        truth = np.stack([zero_or_one(labelled, b, choices.allow_missing) for _, b in columns], axis=1)[theirs]
        unread = truth == MISSING
    names = tuple(predicted.columns[left][i] for i in mine)
    named = tuple((b.removeprefix("truth_"), key) for _, b, key in pairs)
    _check_findings([name for name, _ in named], scores, truth)
    joined = Joined(predicted, mine, labelled, theirs)
    who = patients_of(joined, (left, right), level, choices)
    cases = None if gathered_by is None else cases_of(joined, gathered_by, who)
    unused = unused_columns(predicted, left, labelled, right, columns)
    is_reference = reads is not None and (readers is None or readers.resolve() == labels.resolve())
    if is_reference and reads is not None:
        people, of_rows = reads.readers, reads.reads[theirs]
    else:
        people, of_rows, more, ignored = other_readers(readers, right, names, cases, named, choices)
        excluded += more
        unused["readers"] = ignored
    decision = predicted.find("decision") if ANY in (key for _, key in named) else None
    ids, keys = (left, right), tuple(key for _, key in named)
    other = None if against is None else other_system(against, joined, ids, columns, keys, scores, choices)
    found = Matched(
        level=level,
        labels=tuple(name for name, _ in named),
        keys=keys,
        columns=columns,
        scores=scores,
        truth=truth,
        unread=unread,
        decisions=zero_or_one(predicted, decision, choices.allow_missing)[mine] if decision else None,
        names=names,
        lines=np.array(predicted.lines)[mine],
        patients=who.codes,
        grouped_by=who.column,
        passed_over=who.passed_over,
        readers=people,
        reads=of_rows,
        reference=reads.readers if reads is not None else (),
        excluded=tuple(excluded),
        unused=unused,
        other=other,
    )
    if gathered_by is not None and cases is not None:
        found = by_case(found, cases.codes, gathered_by)
    return _account(found)


def _join(
    predicted: TextTable, left: str, labelled: TextTable, right: str, allow_missing: bool
) -> tuple[NDArray[np.int64], list[Excluded]]:
    """Row numbers (predictions, labels) of what both have, in the order of the predictions."""
    mine, theirs = rows_by_name(predicted, left), rows_by_name(labelled, right)
    both = [name for name in mine if name in theirs]
    if not both:
        raise InputError(
            f"no {left} of {predicted.path} is a {right} of {labelled.path} (the first are "
            f"{next(iter(mine))!r} and {next(iter(theirs))!r}): name the columns with --id PREDICTIONS_COLUMN=LABELS_COLUMN"
            f"{suspicion((predicted.path, mine), (labelled.path, theirs))}."
        )
    few = min(len(mine), len(theirs))
    if len(both) < few * LEAST_SHARE:
        raise InputError(
            f"only {len(both):,} of {few:,} rows find their like: {left} of {predicted.path} and {right} of {labelled.path} hardly fit "
            "together, and what does fit may be another's row, so nothing is measured (--allow-missing or not): mend the names"
            f"{suspicion((predicted.path, mine), (labelled.path, theirs))}."
        )
    excluded = []
    said = suspicion((predicted.path.name, mine), (labelled.path.name, theirs))
    for here, there, table, other, what in (
        (mine, theirs, predicted, labelled, "rows of the predictions without labels"),
        (theirs, mine, labelled, predicted, "rows of the labels without a prediction"),
    ):
        alone = lacking(here, table, there, other, allow_missing)
        if alone:
            excluded.append(Excluded(f"{what}{said}", len(alone)))
    return np.array([(mine[name], theirs[name]) for name in both], dtype=np.int64), excluded


def _check_read(table: TextTable, reads: Reads, allow_missing: bool) -> None:
    """Where nobody read there is no label; where readers are split there is one opinion too many."""
    for k, name in enumerate(reads.labels):
        missing = np.flatnonzero(~reads.read[:, k])
        if len(missing) and not allow_missing:
            raise InputError(
                f"{table.path}, line {table.lines[missing[0]]}: no reader has read {name} ({len(missing):,} rows in all): fill "
                "it in, or add --allow-missing to leave such rows out of this finding and have them counted."
            )


def _check_findings(labels: Sequence[str], scores: NDArray[np.float64], truth: NDArray[np.int8]) -> None:
    """A finding must be judged on a row at least, and must not bear the name of the findings' mean."""
    for k, name in enumerate(labels):
        if name == MEAN:
            raise InputError(f"a finding is called {MEAN!r}, as the mean of the findings is: rename that column.")
        if not (~np.isnan(scores[:, k]) & (truth[:, k] != MISSING)).any():
            raise InputError(
                f"no row has both a probability and a label of {name}: fill them in, or name the other findings with --map "
                "PREDICTIONS_COLUMN=LABELS_COLUMN."
            )


def _account(found: Matched) -> Matched:
    """Add what is left out of single findings to ``excluded``."""
    more = []
    for k, name in enumerate(found.labels):
        missing, unread = found.truth[:, k] == MISSING, found.unread[:, k]
        for what, rows in (
            ("rows without a probability", np.isnan(found.scores[:, k])),
            ("rows without a read" if found.reference else "rows without a label", missing & unread),
            ("rows on which the readers are split", missing & ~unread),
        ):
            if rows.any():
                more.append(Excluded(f"{name}: {what}", int(rows.sum())))
    if found.decisions is not None and (found.decisions == MISSING).any():
        more.append(Excluded("rows without the system's own decision", int((found.decisions == MISSING).sum())))
    other = None if found.other is None else account_other(found, found.other)
    return replace(found, excluded=(*found.excluded, *more), other=other)
