"""What a suite is made of, and what comes out of running it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import pandas as pd

Severity = Literal["error", "warning"]
Status = Literal["passed", "warning", "failed"]
SCHEMA = "quality/1"


@dataclass(frozen=True)
class Check:
    """One expectation.

    Attributes:
        name: identifier, unique in its suite.
        words: the expectation in plain words.
        expectation: class name in ``great_expectations.expectations``.
        arguments: its arguments, as Great Expectations names them.
        threshold: what is allowed, in plain words.
        remedy: what to do about a breach.
        severity: an ``error`` stops the pipeline, a ``warning`` is shown.
        unit: of the column's values (``"mm"``, ``"HU"``), empty for none.
        observed: what was found, where the suite can say it better than the expectation's own result.
        sealed: it looks at test labels: the verdict is told, the value is not.
    """

    name: str
    words: str
    expectation: str
    arguments: Mapping[str, Any]
    threshold: str
    remedy: str
    severity: Severity = "error"
    unit: str = ""
    observed: str | None = None
    sealed: bool = False


@dataclass(frozen=True)
class Suite:
    """Expectations about one table.

    Attributes:
        name: identifier.
        title: heading.
        rows_are: what a row is, in the plural (``"slices"``).
        table: the table to judge.
        identity: columns that name a row to a person (``case_id``, ``index``); never a patient's identifiers.
        checks: the expectations, in the order shown.
    """

    name: str
    title: str
    rows_are: str
    table: pd.DataFrame
    identity: tuple[str, ...]
    checks: tuple[Check, ...]


@dataclass(frozen=True)
class Histogram:
    """Counts of a column's values over equal bins from ``low`` to ``high``; ``breach`` marks bins beyond the limits."""

    low: float
    high: float
    counts: tuple[int, ...]
    breach: tuple[bool, ...]


@dataclass(frozen=True)
class Outcome:
    """The verdict on one check: ``breaches`` of ``examined`` rows (None where it judges the whole table)."""

    check: Check
    status: Status
    observed: str
    examined: int | None = None
    breaches: int | None = None
    examples: tuple[str, ...] = ()
    histogram: Histogram | None = None

    def to_json(self) -> dict[str, Any]:
        """Machine-readable form; only deterministic values."""
        return {
            "name": self.check.name,
            "words": self.check.words,
            "expectation": self.check.expectation,
            "severity": self.check.severity,
            "threshold": self.check.threshold,
            "status": self.status,
            "observed": self.observed,
            "examined": self.examined,
            "breaches": self.breaches,
            "examples": list(self.examples),
        }


@dataclass(frozen=True)
class SuiteResult:
    """All verdicts of one suite over ``rows`` rows."""

    name: str
    title: str
    rows_are: str
    rows: int
    outcomes: tuple[Outcome, ...] = field(default_factory=tuple)

    def count(self, status: Status) -> int:
        """How many checks ended so."""
        return sum(outcome.status == status for outcome in self.outcomes)

    def to_json(self) -> dict[str, Any]:
        """Machine-readable form; only deterministic values."""
        return {
            "name": self.name,
            "title": self.title,
            "rows": self.rows,
            "passed": self.count("passed"),
            "warnings": self.count("warning"),
            "failed": self.count("failed"),
            "checks": [outcome.to_json() for outcome in self.outcomes],
        }


def to_json(results: tuple[SuiteResult, ...]) -> dict[str, Any]:
    """The content of ``results.json``."""
    return {
        "schema": SCHEMA,
        "status": overall(results),
        "suites": [result.to_json() for result in results],
    }


def overall(results: tuple[SuiteResult, ...]) -> Status:
    """The worst verdict of all."""
    if any(result.count("failed") for result in results):
        return "failed"
    return "warning" if any(result.count("warning") for result in results) else "passed"


def breaches(results: tuple[SuiteResult, ...], status: Status) -> list[tuple[SuiteResult, Outcome]]:
    """Every verdict of that kind with its suite, in the order shown."""
    return [(result, outcome) for result in results for outcome in result.outcomes if outcome.status == status]


def summary_table(results: tuple[SuiteResult, ...]) -> pd.DataFrame:
    """One row a suite: suite, rows, passed, warnings, failed."""
    columns = ["suite", "rows", "passed", "warnings", "failed"]
    rows = [(r.title, r.rows, r.count("passed"), r.count("warning"), r.count("failed")) for r in results]
    return pd.DataFrame(rows, columns=pd.Index(columns))
