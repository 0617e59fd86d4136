"""Whose each row is: the patients, and the cases that slices are gathered into."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ich_pipeline.core.errors import InputError
from ich_pipeline.studies.matched import Choices
from ich_pipeline.studies.names import CASES, PATIENTS
from ich_pipeline.tables.text_tables import TextTable


@dataclass(frozen=True)
class Joined:
    """The two tables, and the numbers of the rows that both have."""

    predicted: TextTable
    mine: NDArray[np.int64]
    labelled: TextTable
    theirs: NDArray[np.int64]

    def has(self, name: str) -> bool:
        return bool(self.predicted.find(name) or self.labelled.find(name))

    def source(self, name: str) -> TextTable:
        """The table that :meth:`column` reads."""
        return self.predicted if self.predicted.find(name) else self.labelled

    def column(self, name: str) -> list[str]:
        """The cells of a column of either table; InputError where there is none, or a cell is empty."""
        here = self.predicted.find(name)
        table, rows = (self.predicted, self.mine) if here else (self.labelled, self.theirs)
        column = here or self.labelled.need(name, "--case or --patient; the predictions have none either")
        for i in rows:  # or all rows without a name would be one patient, or one case
            if not table.columns[column][i]:
                raise InputError(
                    f"{table.path}, line {table.lines[i]}: {column} is empty: say whose row it is, or name another column "
                    "with --patient or --case."
                )
        return [table.columns[column][i] for i in rows]


@dataclass(frozen=True)
class Cases:
    """The case of each slice.

    Attributes:
        names: as its column has them, shape (rows,).
        codes: 0, 1, … in the order of the rows, one a patient and name, shape (rows,).
        shared: names that cases of different patients bear.
    """

    names: tuple[str, ...]
    codes: NDArray[np.int64]
    shared: frozenset[str]


@dataclass(frozen=True)
class Patients:
    """The patient of each row.

    Attributes:
        codes: 0, 1, …, shape (rows,).
        column: what says so; None: every row is its own.
        passed_over: columns that could have said so, but hold one value.
    """

    codes: NDArray[np.int64]
    column: str | None
    passed_over: tuple[str, ...] = ()


def patients_of(joined: Joined, ids: tuple[str, str], level: str, choices: Choices) -> Patients:
    """Whose each row is, by the column that is named, or the first that is known.

    Raises:
        InputError: all rows would be one patient's. Only of rows that are cases, a column "study" with one value is taken
            for the name of a trial and passed over.
    """
    known = [*PATIENTS, *((choices.case,) if choices.case else ()), *CASES]
    passed_over = []
    for name in [choices.patient] if choices.patient else known:
        if name.casefold() in (ids[0].casefold(), ids[1].casefold()):
            continue
        if choices.patient or joined.has(name):
            cells = joined.column(name)
            codes = _codes(cells)
            if codes.max() > 0 or len(codes) == 1:
                return Patients(codes, name, tuple(passed_over))
            if choices.patient or name in PATIENTS or level == "slice":
                raise InputError(
                    f"the column {name} is {cells[0]!r} in every row of {joined.source(name).path}: all would be one patient's, "
                    "of whom no figure can be given: name the column that tells patients apart with --patient (the rows' "
                    f"own {ids[0]} takes each for a patient)."
                )
            passed_over.append(name)
    return Patients(np.arange(len(joined.mine)), None, tuple(passed_over))


def cases_of(joined: Joined, by: str, patients: Patients) -> Cases:
    """The case of each row; the first study of one patient is not that of another, though both be called 1."""
    names = joined.column(by)
    owners = np.zeros_like(patients.codes) if patients.column is None else patients.codes
    codes = _codes(list(zip(owners.tolist(), names, strict=True)))
    if codes.max() == 0 and len(codes) > 1:
        raise InputError(
            f"the column {by} is {names[0]!r} in every row of {joined.source(by).path}: all slices would be one case, of which "
            "no figure can be given: name the column that tells cases apart with --case."
        )
    seen: dict[str, int] = {}
    shared = frozenset(
        name for name, code in zip(names, codes.tolist(), strict=True) if seen.setdefault(name, code) != code
    )
    return Cases(tuple(names), codes, shared)


def _codes(names: Sequence[Hashable]) -> NDArray[np.int64]:
    known: dict[Hashable, int] = {}
    return np.array([known.setdefault(name, len(known)) for name in names], dtype=np.int64)
