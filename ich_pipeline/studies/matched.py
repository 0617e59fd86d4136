"""What a user says about the tables, and what came of joining them."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Choices:
    """What the user says about the tables; None: found by name.

    Attributes:
        ids: column of the rows' names, as ``NAME``, or ``PREDICTIONS_NAME=LABELS_NAME``.
        case, patient: column (of either table) that groups rows.
        pairs: (prediction column, label column); empty: all columns that name the same finding.
        level: ``slice`` or ``case``.
        allow_missing: leave out what one table lacks, and count it, instead of refusing.
    """

    ids: str | None = None
    case: str | None = None
    patient: str | None = None
    pairs: tuple[tuple[str, str], ...] = ()
    level: str | None = None
    allow_missing: bool = False


@dataclass(frozen=True)
class Excluded:
    """What is in no figure, and why."""

    what: str
    count: int


@dataclass(frozen=True)
class Other:
    """Another system on the rows of the predictions (``--against``).

    Attributes:
        columns: its column of each finding, None where it has none.
        scores: its probabilities, NaN where it or the predictions lack one (of a case: for one of its slices), shape
            (rows, labels).
        has_row: whether its table has the row (of a case: all its slices), shape (rows,).
        decisions: its own decision on "any", shape (rows,); None where it has none, or no finding "any".
        excluded: what is in no comparison.
        unused: its columns that name no finding that is evaluated.
    """

    columns: tuple[str | None, ...]
    scores: NDArray[np.float64]
    has_row: NDArray[np.bool_]
    decisions: NDArray[np.int8] | None
    excluded: tuple[Excluded, ...]
    unused: tuple[str, ...]


@dataclass(frozen=True)
class Matched:
    """One row a case or slice that both tables have.

    Attributes:
        level: ``slice`` or ``case``.
        labels: findings, as the label table names them; ``keys`` are our names of them where there is one.
        columns: (prediction column, label column) of each finding.
        scores: probabilities, NaN where missing, shape (rows, labels).
        truth: 1, 0, or -1 where missing, shape (rows, labels).
        unread: rows that nobody labelled or read (of a case: one of its slices), shape (rows, labels); where the truth is
            missing and this is False, the readers are split.
        decisions: the system's own decision on "any", shape (rows,); None where its table has none.
        names, lines: name and line in the predictions' file of each row (of a case made of slices: of its first).
        patients: 0, 1, …, shape (rows,); ``grouped_by`` names the column, None: every row is its own.
        passed_over: columns that could have said whose the rows are, but hold one value.
        readers: names; ``reads`` 1, 0 or -1, shape (rows, readers, labels).
        reference: whose majority the truth is; empty where the labels are taken as they are.
        excluded: what is in no figure.
        unused: columns of either table that name no common finding.
        other: the system that these predictions are compared with.
    """

    level: str
    labels: tuple[str, ...]
    keys: tuple[str, ...]
    columns: tuple[tuple[str, str], ...]
    scores: NDArray[np.float64]
    truth: NDArray[np.int8]
    unread: NDArray[np.bool_]
    decisions: NDArray[np.int8] | None
    names: tuple[str, ...]
    lines: NDArray[np.int64]
    patients: NDArray[np.int64]
    grouped_by: str | None
    readers: tuple[str, ...]
    reads: NDArray[np.int8]
    reference: tuple[str, ...]
    excluded: tuple[Excluded, ...] = ()
    passed_over: tuple[str, ...] = ()
    unused: dict[str, tuple[str, ...]] = field(default_factory=dict)
    other: Other | None = None

    @property
    def readers_are_reference(self) -> bool:
        """Whether the readers had a vote in the truth that they are judged by."""
        return bool(self.reference) and self.readers == self.reference
