"""Slices gathered into cases."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from ich_pipeline.studies.matched import Excluded, Matched, Other
from ich_pipeline.tables.reader_tables import MISSING


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
