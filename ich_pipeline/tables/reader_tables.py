"""What readers decided: the wide table of the CQ500 study (one column a reader and finding), or a long one.

Wide: a case column and ``<reader>:<finding>`` columns of 0 and 1 (``R1:ICH``), the same findings for every reader. Long:
``reader``, ``case``, ``decision`` (0 or 1) and, where it is not about "any", ``label``: the form of ``data/readers.csv``.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ich_pipeline.core.errors import InputError
from ich_pipeline.tables.text_tables import TextTable, read_text_table

MISSING = -1  # no read, or no majority
SIMULATED = "simulated"  # first word of a reader's name whom nobody was: of the synthetic cohort
LONG_COLUMNS = ("reader", "case", "decision")


@dataclass(frozen=True)
class Reads:
    """Reads of some findings in some cases.

    Attributes:
        cases: one a row, as the table names them.
        readers: names.
        labels: findings.
        reads: 1, 0, or -1 where there is none; shape (cases, readers, labels), int8.
    """

    cases: tuple[str, ...]
    readers: tuple[str, ...]
    labels: tuple[str, ...]
    reads: NDArray[np.int8]

    @property
    def read(self) -> NDArray[np.bool_]:
        """Whether anybody read, shape (cases, labels)."""
        return (self.reads != MISSING).any(axis=1)


def is_wide(table: TextTable) -> bool:
    """Whether a table has the columns of at least two readers."""
    return len({name.partition(":")[0] for name in table.columns if ":" in name}) >= 2


def is_long(table: TextTable) -> bool:
    """Whether a table has the columns of a long one."""
    return all(table.find(name) for name in LONG_COLUMNS)


def wide_reads(table: TextTable, case_column: str) -> Reads:
    """Reads of a wide table; an empty cell is no read.

    Raises:
        InputError: the readers have other findings, or a cell is neither 0 nor 1.
    """
    pairs = [tuple(name.partition(":")[::2]) for name in table.columns if ":" in name]
    readers, labels = (tuple(dict.fromkeys(part)) for part in zip(*pairs, strict=True))
    for reader in readers:
        for label in labels:
            if (reader, label) not in pairs:
                raise InputError(
                    f"{table.path} has no column {reader}:{label}, though another reader has it: every reader needs the "
                    "same findings."
                )
    reads = np.full((len(table.lines), len(readers), len(labels)), MISSING, dtype=np.int8)
    for r, reader in enumerate(readers):
        for k, label in enumerate(labels):
            reads[:, r, k] = binary(table, f"{reader}:{label}")
    return Reads(tuple(table.columns[case_column]), readers, labels, reads)


def long_reads(table: TextTable, default_label: str) -> Reads:
    """Reads of a long table.

    Args:
        table: see the module; more columns are ignored.
        default_label: the finding where the table has no ``label`` column.

    Raises:
        InputError: a name is empty, a decision is neither 0 nor 1, or a reader decided twice on one case and finding.
    """
    names = {name: table.need(name, "a table of readers") for name in LONG_COLUMNS}
    label_column = table.find("label")
    decisions = binary(table, names["decision"])
    found: dict[tuple[str, str, str], tuple[int, int]] = {}
    for i, line in enumerate(table.lines):
        reader, case = table.columns[names["reader"]][i], table.columns[names["case"]][i]
        label = table.columns[label_column][i] if label_column else default_label
        if not (reader and case and label) or decisions[i] == MISSING:
            raise InputError(f"{table.path}, line {line}: reader, case, label and decision must not be empty.")
        if (reader, case, label) in found:
            raise InputError(
                f"{table.path}, line {line}: {reader} decided on {label} in this case before, in line "
                f"{found[reader, case, label][1]}: keep one row."
            )
        found[reader, case, label] = (int(decisions[i]), line)
    readers, cases, labels = (tuple(dict.fromkeys(part)) for part in zip(*found, strict=True))
    reads = np.full((len(cases), len(readers), len(labels)), MISSING, dtype=np.int8)
    places = [{name: i for i, name in enumerate(part)} for part in (cases, readers, labels)]
    for (reader, case, label), (decision, _) in found.items():
        reads[places[0][case], places[1][reader], places[2][label]] = decision
    return Reads(cases, readers, labels, reads)


def nobody_read(path: Path) -> bool:
    """Whether a file is a long table without a row: the adapters write that where their cohort has no readers."""
    if not path.is_file():
        return False
    with path.open(encoding="utf-8-sig", errors="replace") as file:
        filled = list(islice((line for line in map(str.strip, file) if line), 2))
    return len(filled) == 1 and all(name in filled[0].split(",") for name in LONG_COLUMNS)


def read_decisions(path: Path, default_label: str) -> Reads | None:
    """Read ``data/readers.csv``; None where it holds its header alone (the adapters write that where nobody read).

    Raises:
        InputError: the file is missing or breaks the rules of :func:`long_reads`.
    """
    path = Path(path)
    if nobody_read(path):
        return None
    table = read_text_table(path)
    if not is_long(table):
        raise InputError(f"{path}: the first line must name {','.join(LONG_COLUMNS)} (and label, if you like).")
    return long_reads(table, default_label)


def majority(reads: NDArray[np.int8]) -> NDArray[np.int8]:
    """What more than half of the readers say.

    Args:
        reads: 1, 0 or -1, shape (cases, readers, labels).

    Returns:
        Shape (cases, labels): 1, 0, or -1 where they are split or nobody read.
    """
    yes, no = (reads == 1).sum(axis=1), (reads == 0).sum(axis=1)
    return np.where(yes > no, 1, np.where(no > yes, 0, MISSING)).astype(np.int8)


def binary(table: TextTable, column: str) -> NDArray[np.int8]:
    """The cells of a column as 1, 0, or -1 where empty; InputError for anything else."""
    values = table.numbers(column)
    wrong = np.flatnonzero(~np.isnan(values) & (values != 0) & (values != 1))
    if len(wrong):
        more = f" ({len(wrong) - 1} more in this column)" if len(wrong) > 1 else ""
        raise InputError(
            f"{table.path}, line {table.lines[wrong[0]]}: {column} is {table.columns[column][wrong[0]]!r}, but must be 0 "
            f"or 1: mend that value{more}."
        )
    return np.where(np.isnan(values), MISSING, values).astype(np.int8)
