"""Predictions and reference labels of anybody's system, brought together row by row.

Forms that are recognised: one column a finding (ours, or any other), the two-column form of the RSNA 2019 challenge
(``ID,Label``, one row an image and finding), and for labels also a wide table of readers
(:mod:`ich_pipeline.tables.reader_tables`), whose majority is the reference.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ich_pipeline.core.errors import InputError
from ich_pipeline.studies.against_tables import account_other, other_system
from ich_pipeline.studies.cells import lacking, probabilities, rows_by_name, zero_or_one
from ich_pipeline.studies.columns import challenge_form, choose_level, finding_pairs, id_columns, unused_columns
from ich_pipeline.studies.gather import by_case
from ich_pipeline.studies.groups import Joined, cases_of, patients_of
from ich_pipeline.studies.matched import Choices, Excluded, Matched
from ich_pipeline.studies.names import ANY, MEAN
from ich_pipeline.studies.other_readers import other_readers
from ich_pipeline.tables.identifiers import spoilt
from ich_pipeline.tables.reader_tables import MISSING, Reads, is_wide, majority, wide_reads
from ich_pipeline.tables.text_tables import TextTable, read_text_table

LEAST_SHARE = 0.5  # of the smaller table's rows: with fewer in both, the key is broken and rows are not merely missing


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
            f"{_suspicion((predicted, mine), (labelled, theirs))}."
        )
    few = min(len(mine), len(theirs))
    if len(both) < few * LEAST_SHARE:
        raise InputError(
            f"only {len(both):,} of {few:,} rows find their like: {left} of {predicted.path} and {right} of {labelled.path} hardly fit "
            "together, and what does fit may be another's row, so nothing is measured (--allow-missing or not): mend the names"
            f"{_suspicion((predicted, mine), (labelled, theirs))}."
        )
    excluded = []
    for here, there, table, other, what in (
        (mine, theirs, predicted, labelled, "rows of the predictions without labels"),
        (theirs, mine, labelled, predicted, "rows of the labels without a prediction"),
    ):
        alone = lacking(here, table, there, other, allow_missing)
        if alone:
            excluded.append(Excluded(what, len(alone)))
    return np.array([(mine[name], theirs[name]) for name in both], dtype=np.int64), excluded


def _suspicion(*tables: tuple[TextTable, Mapping[str, int]]) -> str:
    """The tables whose identifiers look as a spreadsheet leaves them, as a further part of a sentence."""
    return "".join(f"; {table.path} {found}" for table, names in tables if (found := spoilt(names)))


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
