"""How far readers agree: Cohen's kappa of every pair, Fleiss' kappa of all, each with the counts that it comes from."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import combinations
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

Votes = NDArray[np.integer]
NO_VARIETY = "every vote is the same, so agreement by chance is complete and kappa has no value"
NO_CASE = "no case"


def agreement(votes: Mapping[str, pd.DataFrame]) -> dict[str, Any]:
    """Agreement of readers, finding by finding.

    Args:
        votes: reader → table of 0 and 1 with one row a case and one column a finding; the same rows and columns for all.

    Returns:
        ``{"cases": n, "readers": […], "findings": {finding: {"positive": {reader: n}, "majority": n, "pairs": […], "fleiss":
        {…}}}}``. A kappa that the votes cannot give is null with a ``reason``.
    """
    readers = list(votes)
    first = votes[readers[0]]
    findings = {}
    for finding in first.columns:
        table = np.stack([votes[reader][finding].to_numpy() for reader in readers], axis=1)
        findings[finding] = {
            "positive": {reader: int(table[:, i].sum()) for i, reader in enumerate(readers)},
            "majority": int((2 * table.sum(axis=1) > len(readers)).sum()),
            "pairs": [
                {"readers": [readers[a], readers[b]], **cohen_kappa(table[:, a], table[:, b])}
                for a, b in combinations(range(len(readers)), 2)
            ],
            "fleiss": fleiss_kappa(table),
        }
    return {"cases": len(first), "readers": readers, "findings": findings}


def cohen_kappa(a: Votes, b: Votes) -> dict[str, Any]:
    """Cohen's kappa (Cohen 1960) of two readers' votes of 0 and 1, shape (cases,), with the four counts behind it."""
    a, b = np.asarray(a) == 1, np.asarray(b) == 1
    n = len(a)
    both, neither = int((a & b).sum()), int((~a & ~b).sum())
    counts = {"both": both, "first_only": int((a & ~b).sum()), "second_only": int((~a & b).sum()), "neither": neither}
    if n == 0:
        return {"kappa": None, "reason": NO_CASE, "agreement": None, **counts}
    shared = {"agreement": (both + neither) / n, **counts}
    if n in (both, neither):  # then chance agreement is complete
        return {"kappa": None, "reason": NO_VARIETY, **shared}
    from statsmodels.stats.inter_rater import cohens_kappa

    table = np.array([[neither, counts["second_only"]], [counts["first_only"], both]])
    return {"kappa": float(cohens_kappa(table, return_results=False)), "reason": None, **shared}  # type: ignore[arg-type]


def fleiss_kappa(table: Votes) -> dict[str, Any]:
    """Fleiss' kappa (Fleiss 1971) of votes of 0 and 1, shape (cases, readers), with the cases by number of positive votes."""
    table = np.asarray(table)
    n, readers = table.shape
    positive = table.sum(axis=1)
    counts = {"cases_by_positive_votes": [int((positive == k).sum()) for k in range(readers + 1)]}
    if n == 0:
        return {"kappa": None, "reason": NO_CASE, **counts}
    if positive.sum() in (0, n * readers):
        return {"kappa": None, "reason": NO_VARIETY, **counts}
    from statsmodels.stats import inter_rater

    found = float(inter_rater.fleiss_kappa(np.column_stack([readers - positive, positive])))
    return {"kappa": found, "reason": None, **counts}
