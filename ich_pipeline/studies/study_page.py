"""The page and the Markdown of ``ich evaluate``."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from ich_pipeline.report.metrics import as_text, markdown_table
from ich_pipeline.report.render import embedded, render
from ich_pipeline.studies.against_page import against_markdown, against_notes, area_rows, decision_rows
from ich_pipeline.studies.names import MEAN
from ich_pipeline.studies.study import GIVEN, Study

SHOWN_FAILURES = 5  # a finding and kind; the file has all
_RATES = ("sensitivity", "specificity", "ppv", "npv", "f1")


def study_page(results: Mapping[str, Any], study: Study, failures: pd.DataFrame, figures: Mapping[str, Path]) -> str:
    """One self-contained page.

    Args:
        results: of :meth:`~ich_pipeline.studies.study.Study.results`, with ``about``.
        study: what they are of.
        failures: as :meth:`~ich_pipeline.studies.study.Study.failures` gives them; a column ``name`` is shown.
        figures: ROC picture of each finding.
    """
    level = study.table.level
    return render(
        "study.html.j2",
        about=results["about"],
        results=results,
        level=level,
        notes=notes(results, study),
        summary=summary_rows(results, study),
        mean=results[level].get(MEAN),
        against=_against(results),
        findings=[
            {
                "name": name,
                "picture": embedded(figures[name]),
                "points": _points(results, level, name),
                "readers": results["readers"][name],
                "alone": results["leave_one_reader_out"][name],
                "failures": _worst(failures, name),
                "failed": int((failures["finding"] == name).sum()),
            }
            for name in study.table.labels
        ],
        identifiers="name" in failures.columns,
    )


def study_markdown(results: Mapping[str, Any], study: Study) -> str:
    """The summary, the figures at the operating points and what was left out, as Markdown."""
    lines = ["# Evaluation", "", *(f"- {note}" for note in notes(results, study)), "", "## Ranking", ""]
    lines += markdown_table(summary_rows(results, study))
    for title, method in (("bootstrap by patient", None), ("Wilson", "wilson")):
        rows = []
        for name in study.table.labels:
            for point in results["confusion"][name]:
                found = results[study.table.level][name]
                cells = {key: found[f"{key}@{point}"] for key in _RATES}
                if method is None or any(method in cell for cell in cells.values()):
                    shown = {key: as_text(_bounded(cell, method)) for key, cell in cells.items()}
                    rows.append({"finding": name, "operating point": point, **shown})
        if rows:
            lines += ["", f"## Operating points ({title} intervals)", "", *markdown_table(rows)]
    rows = [
        {
            "finding": name,
            "reader": entry["reader"],
            "sensitivity": as_text(entry.get("sensitivity")),
            "specificity": as_text(entry.get("specificity")),
            "AUC difference (DeLong)": as_text(entry["auc"]["difference"]) if "auc" in entry else entry["reason"],
        }
        for name, entries in results["readers"].items()
        for entry in entries
    ]
    if rows:
        lines += ["", "## Readers", "", *markdown_table(rows)]
    if "against" in results:
        lines += against_markdown(results)
    return "\n".join(lines) + "\n"


def summary_rows(results: Mapping[str, Any], study: Study) -> list[dict[str, str]]:
    """One row a finding, and the mean."""
    rows = []
    for name, found in results[study.table.level].items():
        count = name != MEAN
        rows.append(
            {
                "finding": name if count else f"mean of {', '.join(results['labels_in_mean'])}",
                "positives": f"{found['positives']['value']:.0f} of {found['n']['value']:.0f}" if count else "",
                "AUC (DeLong)": as_text(_bounded(found["auc"], "delong"), 4) if count else "",
                "AUC (bootstrap)": as_text(found["auc"], 4),
                "AP": as_text(found["ap"]),
                "prevalence": as_text(_bounded(found["prevalence"], "none")),
            }
        )
    return rows


def notes(results: Mapping[str, Any], study: Study) -> list[str]:
    """What a reader of the figures must know, in sentences."""
    table, about = study.table, results["about"]
    groups = results["groups"]
    said = [f"{results['rows']:,} {table.level}s. Reference: {about['reference']}."]
    if groups["column"]:
        said.append(f"Intervals are by {groups['column']}: {groups['count']:,} of them.")
    else:
        said.append(f"Every {table.level} counts as a patient of its own: no column says whose it is.")
        if table.level == "slice":
            said[-1] += (
                " Slices of a patient are alike, so these intervals are too narrow: name the patients with --patient."
            )
    if table.passed_over:
        said.append(
            f"Not taken for a name of patients, for it is the same in every row: {', '.join(table.passed_over)}."
        )
    if table.readers_are_reference:
        said.append(
            "The readers shown are part of the reference: each had a vote in it, so their points lie too high and every "
            "comparison with them favours them."
        )
        said[-1] += (
            " Fair are the tables “against the other readers”: reader and system are both judged by the majority of the "
            "others; rows on which these are split are left out, which makes both look better."
            if len(table.readers) > 2
            else " A fair comparison needs three readers at least."
        )
    thresholds = sorted(set(about["thresholds"].values()))
    said.append(
        f"Operating point “{GIVEN}”: {', '.join(f'{t:g}' for t in thresholds)}, given and not chosen on these {table.level}s."
    )
    excluded = [f"{e['what']}: {e['count']:,}" for e in results["excluded"]]
    said.append("Left out: " + "; ".join(excluded) + "." if excluded else "Nothing was left out.")
    return said


def _against(results: Mapping[str, Any]) -> dict[str, Any] | None:
    if "against" not in results:
        return None
    found = results["against"]
    return {
        "notes": against_notes(results),
        "areas": area_rows(found),
        "decisions": decision_rows(found, results["about"]["thresholds"]),
    }


def _bounded(entry: Mapping[str, Any], method: str | None) -> Mapping[str, Any]:
    """The entry with the bounds of a formula in the place of the bootstrap's."""
    return entry if method is None else {**entry, "low": None, "high": None, **entry.get(method, {})}


def _points(results: Mapping[str, Any], level: str, name: str) -> list[dict[str, Any]]:
    found = results[level][name]
    return [
        {
            "name": point,
            "value": results["about"]["thresholds"][name] if point == GIVEN else None,
            "counts": counts,
            "rates": [
                {
                    "name": key,
                    "value": as_text(_bounded(found[f"{key}@{point}"], "none")),
                    "wilson": found[f"{key}@{point}"].get("wilson"),
                    "bootstrap": found[f"{key}@{point}"],
                }
                for key in _RATES
            ],
        }
        for point, counts in results["confusion"][name].items()
    ]


def _worst(failures: pd.DataFrame, name: str) -> list[dict[str, Any]]:
    of_finding = failures[failures["finding"] == name]
    worst = of_finding.groupby("kind", sort=False).head(SHOWN_FAILURES)
    return [{str(key): value for key, value in row.items()} for row in worst.to_dict("records")]
