"""``python -m flows.ledger``: how often each test set was looked at, as sentences and as ``reports/test_ledger.html``.

No stage: the ledger knows dates and commits, which a stage's outs never hold. ``make repro`` writes the page at its end.
"""

from __future__ import annotations

import sys
from datetime import UTC, datetime

from flows.engine import layout
from flows.engine.boundary import exit_status
from ich_pipeline.config import Params, load_params
from ich_pipeline.core.files import sha256_of, write_text
from ich_pipeline.splits.frozen import read_manifest

PAGE = layout.REPORTS / "test_ledger.html"


def publish(params: Params) -> list[str]:
    """Write the page; returns one sentence a test set of the present labels, and one where the ledger was tampered with."""
    from ich_pipeline.registry import ledger, versions
    from ich_pipeline.report.render import render

    found = ledger.looks()
    numbers = versions.numbers_by_model(params.registry.model_name)
    broken = ledger.broken_at(found)
    sealed = {test: layout.SPLIT / "sealed" / f"{test}.csv" for test in params.tests}
    present = {(test, sha256_of(path)) for test, path in sealed.items() if path.is_file()}
    counts = ledger.counts(found)
    rows = [
        {
            "look": look,
            "when": datetime.fromtimestamp(look.when_ms / 1000, UTC).strftime("%Y-%m-%d %H:%M"),
            "version": numbers.get(look.model),
        }
        for look in reversed(found)
    ]
    warning = (
        ""
        if broken is None
        else (f"The test ledger is not what was written: look {broken} was changed, or one before it is gone.")
    )
    write_text(PAGE, render("test_ledger.html.j2", counts=counts, rows=rows, present=present, warning=warning))
    manifest = read_manifest(layout.FROZEN)
    summed = [ledger.count(test, manifest.line(test, digest), found) for test, digest in sorted(present)]
    sentences = [one.sentence_after(params.retrain.looks) for one in summed if one.looks]
    return sentences + ([warning] if warning else [])


def main() -> int:
    """Entry of ``python -m flows.ledger``."""

    def work() -> None:
        sentences = publish(load_params())
        print("\n".join(sentences) or "No test set has been looked at yet.")
        print(f"The page: {PAGE}")

    return exit_status("ledger", work, stopped="run it again")


if __name__ == "__main__":
    sys.exit(main())
