"""Slices gathered into cases."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from ich_pipeline.external.matched import Matched
from ich_pipeline.reader_tables import MISSING


def by_case(slices: Matched, case: NDArray[np.int64], column: str) -> Matched:
    """Cases of slices: the highest probability, and 1 where a slice is 1 (unknown where none is and one is unknown).

    Args:
        slices: the rows; those of one case are of one patient.
        case: 0, 1, … of each row, in the order of the rows.
        column: what the cases are named by.
    """
    count = int(case.max()) + 1
    first = np.unique(case, return_index=True)[1]

    def highest(values: NDArray) -> NDArray:
        out = np.full((count, *values.shape[1:]), -np.inf)
        np.maximum.at(out, case, np.where(np.isnan(values), -np.inf, values))
        return np.where(np.isinf(out), np.nan, out)

    def present(values: NDArray[np.int8]) -> NDArray[np.int8]:
        one, unknown = np.zeros((2, count, *values.shape[1:]), dtype=bool)
        np.logical_or.at(one, case, values == 1)
        np.logical_or.at(unknown, case, values == MISSING)
        return np.where(one, 1, np.where(unknown, MISSING, 0)).astype(np.int8)

    unread = np.zeros((count, *slices.unread.shape[1:]), dtype=bool)
    np.logical_or.at(unread, case, slices.unread)
    who = slices.patients[first]
    grouped_by = None if slices.grouped_by == column else slices.grouped_by
    return replace(
        slices,
        scores=highest(slices.scores),
        truth=present(slices.truth),
        unread=unread,
        decisions=None if slices.decisions is None else present(slices.decisions),
        reads=present(slices.reads),
        names=tuple(slices.names[i] for i in first),
        lines=slices.lines[first],
        patients=np.arange(count) if grouped_by is None else np.unique(who, return_inverse=True)[1],
        grouped_by=grouped_by,
    )
