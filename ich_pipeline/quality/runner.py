"""Let Great Expectations judge the suites, in memory: no project folder, no telemetry, no run ids in the result."""

from __future__ import annotations

import itertools
import logging
import os
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from ich_pipeline.quality.checks import Check, Histogram, Outcome, Suite, SuiteResult

EXAMPLES = 3  # rows named a breach
BINS = 32
SEALED = {True: "as expected (value sealed)", False: "beyond the limit (value sealed)"}


def run_suites(suites: Sequence[Suite]) -> tuple[SuiteResult, ...]:
    """Judge every suite.

    Returns:
        One result a suite in the same order; the checks keep their order.

    Raises:
        RuntimeError: an expectation could not be evaluated (a missing column, say): a fault of the program.
    """
    os.environ["GX_ANALYTICS_ENABLED"] = "False"  # read when the package is imported
    # It narrates its own registries; the verdict is told by the callers. One module sets its own level when imported.
    logging.getLogger("great_expectations").setLevel(logging.ERROR)
    import great_expectations as gx

    logging.getLogger("great_expectations.data_context.types.base").setLevel(logging.ERROR)
    context = gx.get_context(mode="ephemeral")
    context.variables.progress_bars = {"globally": False}  # type: ignore[assignment]
    source = context.data_sources.add_pandas("tables")
    return tuple(_run(source, suite) for suite in suites)


def _run(source: Any, suite: Suite) -> SuiteResult:
    import great_expectations as gx
    from great_expectations import expectations

    expected = gx.ExpectationSuite(name=suite.name)
    for check in suite.checks:
        kind = getattr(expectations, check.expectation)
        severity = "critical" if check.severity == "error" else "warning"
        expected.add_expectation(kind(**check.arguments, severity=severity, meta={"check": check.name}))
    definition = source.add_dataframe_asset(suite.name).add_batch_definition_whole_dataframe("all")
    table = suite.table.reset_index(drop=True)
    verdict = definition.get_batch({"dataframe": table}).validate(expected, result_format="COMPLETE")
    # Great Expectations does not keep the order of the expectations.
    found = {result.expectation_config.meta["check"]: result for result in verdict.results}
    outcomes = tuple(_outcome(suite, table, check, found[check.name]) for check in suite.checks)
    return SuiteResult(suite.name, suite.title, suite.rows_are, len(table), outcomes)


def _outcome(suite: Suite, table: pd.DataFrame, check: Check, result: Any) -> Outcome:
    detail = result.result
    if not detail:
        messages = {
            str(info.get("exception_message")) for info in result.exception_info.values() if isinstance(info, dict)
        }
        raise RuntimeError(
            f"suite {suite.name}, check {check.name} could not be evaluated: {'; '.join(sorted(messages))}"
        )
    success = bool(result.success)
    status = "passed" if success else ("failed" if check.severity == "error" else "warning")
    if check.sealed:
        return Outcome(check, status, SEALED[success])
    examined = breaches = None
    examples: tuple[str, ...] = ()
    if "element_count" in detail:
        examined = int(detail["element_count"]) - int(detail.get("missing_count") or 0)
        breaches = int(detail.get("unexpected_count") or 0)
        examples = _examples(suite, table, detail.get("unexpected_index_list") or [])
    observed = check.observed if check.observed is not None else _observed(check, table, detail, examined, breaches)
    return Outcome(check, status, observed, examined, breaches, examples, _histogram(check, table))


def _examples(suite: Suite, table: pd.DataFrame, indices: Sequence[int]) -> tuple[str, ...]:
    rows = table.loc[sorted(indices)[:EXAMPLES], list(suite.identity)]
    return tuple(" ".join(str(value) for value in row) for row in rows.itertuples(index=False))


def _observed(check: Check, table: pd.DataFrame, detail: Any, examined: int | None, breaches: int | None) -> str:
    if examined is None:
        value = detail.get("observed_value")
        if isinstance(value, list):
            return ", ".join(str(item) for item in value)
        return _number(value, check.unit)
    count = f"all {examined:,} hold" if not breaches else f"{breaches:,} of {examined:,} break it"
    values = _values(check, table)
    if values is None or not len(values):
        return count
    low, high = float(values.min()), float(values.max())
    span = _number(low, check.unit) if low == high else f"{_number(low, '')} to {_number(high, check.unit)}"
    return f"{span}; {count}"


def _number(value: Any, unit: str) -> str:
    text = f"{value:,.0f}" if float(value).is_integer() else f"{value:.4g}"
    return f"{text}{unit}" if unit == "°" else f"{text} {unit}".strip()


def _values(check: Check, table: pd.DataFrame) -> np.ndarray | None:
    """The finite values that a range check judges; None for every other check."""
    if check.expectation != "ExpectColumnValuesToBeBetween":
        return None
    values = table[check.arguments["column"]].dropna().to_numpy(dtype=float)
    return values[np.isfinite(values)]


def _histogram(check: Check, table: pd.DataFrame) -> Histogram | None:
    values = _values(check, table)
    if values is None or not len(values):
        return None
    low, high = float(values.min()), float(values.max())
    if low == high:
        return None
    counts, edges = np.histogram(values, bins=BINS, range=(low, high))
    least, most = check.arguments.get("min_value"), check.arguments.get("max_value")
    beyond = [
        bool((least is not None and left < least) or (most is not None and right > most))
        for left, right in itertools.pairwise(edges)
    ]
    return Histogram(low, high, tuple(int(c) for c in counts), tuple(beyond))
