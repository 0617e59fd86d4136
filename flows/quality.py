"""What validate and split do alike with a verdict: show it, and stop at a breach."""

from __future__ import annotations

from collections.abc import Sequence

from flows.engine import layout
from flows.engine.stage import Stage
from ich_pipeline.core.errors import InputError
from ich_pipeline.core.files import atomic_dir
from ich_pipeline.quality.checks import Suite, SuiteResult, breaches
from ich_pipeline.quality.page import print_breaches, write_results
from ich_pipeline.quality.runner import run_suites


def judge(
    stage: Stage, title: str, suites: Sequence[Suite], notes: Sequence[str]
) -> tuple[tuple[SuiteResult, ...], str]:
    """Run the suites; print failures and warnings.

    Returns:
        The results and a sentence without full stop.

    Raises:
        InputError: a check of severity error failed. The page is then in ``.state/<stage>/``, for DVC removes and never
            keeps the outs of a stage that failed.
    """
    results = run_suites(suites)
    print_breaches(results)
    failed, warnings = breaches(results, "failed"), breaches(results, "warning")
    if failed:
        folder = layout.STATE / stage.name
        with atomic_dir(folder) as partial:
            write_results(partial, title, results, notes)
        suite, outcome = failed[0]
        more = f" (and {len(failed) - 1} more)" if len(failed) > 1 else ""
        raise InputError(
            f"{suite.title}: “{outcome.check.words}” does not hold, found {outcome.observed}, allowed is "
            f"{outcome.check.threshold}{more}: {outcome.check.remedy.rstrip('.')} ({folder / 'index.html'} shows everything)."
        )
    checks = sum(len(result.outcomes) for result in results)
    held = f"{checks - len(warnings)} of {checks}" if warnings else f"all {checks}"
    tail = f", {len(warnings)} {'warns' if len(warnings) == 1 else 'warn'}" if warnings else ""
    return results, f"{held} expectations hold{tail}"
