"""The metrics of all tests as one JSON value and as Markdown for people."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ich_pipeline.report.render import display_name
from ich_pipeline.tables.cohort_mark import SYNTHETIC

Entry = Mapping[str, Any]


def merged(blocks: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """``{test: {"slice"|"case": {label: {metric: {"value", "low", "high", "reason"?}}}}}``."""
    return {test: dict(block) for test, block in blocks.items()}


# Of each test in headline.json: name, level, label ("" is that of any haemorrhage), metric ("@" is at the chosen point).
HEADLINE = (
    ("slice_auc", "slice", "", "auc"),
    ("slice_map", "slice", "mean", "ap"),
    ("case_auc", "case", "", "auc"),
    ("case_sensitivity", "case", "", "sensitivity@"),
    ("case_specificity", "case", "", "specificity@"),
)


def headline(
    blocks: Mapping[str, Mapping[str, Any]], any_label: str, point: str, data: str, cautions: Sequence[str]
) -> dict[str, Any]:
    """The few figures that `dvc metrics show` and `diff` print, with what they were measured on and what they do not show.

    Returns:
        ``{"data": …, "cautions": […], test: {name: value or None}}`` with the names of :data:`HEADLINE`.
    """
    found: dict[str, Any] = {"data": data, "cautions": list(cautions)}
    for test, block in blocks.items():
        found[test] = {
            name: block[level].get(label or any_label, {}).get(metric + point * metric.endswith("@"), {}).get("value")
            for name, level, label, metric in HEADLINE
        }
    return found


def as_text(entry: Entry | None, digits: int = 3) -> str:
    """``0.912 (0.880–0.941)``; the value alone where it has no interval; the reason where there is no value."""
    if entry is None:
        return "–"
    if entry["value"] is None:
        return f"not estimable: {entry.get('reason') or 'no reason given'}"
    if entry["low"] is None:
        return f"{entry['value']:.{digits}f}"
    return f"{entry['value']:.{digits}f} ({entry['low']:.{digits}f}–{entry['high']:.{digits}f})"


def difference_text(value: float | None, bounds: Mapping[str, Any] | None, digits: int = 3) -> str:
    """``+0.020 (-0.010 to +0.050)``: a dash between signs would be read as one; a dash alone where there is no value."""
    if value is None:
        return "–"
    text = f"{value + 0.0:+.{digits}f}"
    if bounds is None or bounds["low"] is None:
        return text
    return f"{text} ({bounds['low']:+.{digits}f} to {bounds['high']:+.{digits}f})"


def p_text(p: float | None) -> str:
    """Three digits, and no p of 0."""
    return "–" if p is None else "<0.001" if p < 0.001 else f"{p:.3f}"


def result_rows(block: Mapping[str, Any], level: str, point: str) -> list[dict[str, str]]:
    """One row a label for people: positives, prevalence, AUC, AP and the rates at the chosen operating point."""
    rows = []
    for label, metrics in block[level].items():
        positives, n = metrics.get("positives"), metrics.get("n")
        rows.append(
            {
                "label": _mean_of(metrics) if label == "mean" else display_name(label),
                "positives": f"{positives['value']:.0f} of {n['value']:.0f}" if positives and n else "",
                "prevalence": as_text(metrics.get("prevalence")),
                "AUC": as_text(metrics.get("auc")),
                "AP": as_text(metrics.get("ap")),
                "sensitivity": as_text(metrics.get(f"sensitivity@{point}")),
                "specificity": as_text(metrics.get(f"specificity@{point}")),
                "PPV": as_text(metrics.get(f"ppv@{point}")),
                "NPV": as_text(metrics.get(f"npv@{point}")),
                "F1": as_text(metrics.get(f"f1@{point}")),
            }
        )
    return rows


def _mean_of(metrics: Mapping[str, Any]) -> str:
    """The mean leaves out what is not estimable: its row says over how many subtypes it is."""
    count = metrics.get("ap", {}).get("labels")
    return "Mean of subtypes" if count is None else f"Mean of {count} subtype{'' if count == 1 else 's'}"


def markdown(
    blocks: Mapping[str, Mapping[str, Any]],
    tests: Sequence[str],
    point: str,
    confidence: float,
    cautions: Sequence[str] = (),
    data: str = "",
) -> str:
    """The results of all tests as Markdown tables, after what they do not show; ``data``: what they were measured on."""
    lines = [
        "# Results",
        "",
        f"Value ({confidence:.0%} interval by patient: bootstrap, or Clopper-Pearson for a share on which all patients "
        f"agree). Sensitivity, specificity, PPV, NPV and F1 at the operating point "
        f"“{point.replace('_', ' ')}”, chosen before the test.",
        "AUC: area under the ROC curve. AP: average precision; a score without knowledge reaches the prevalence.",
    ]
    if data == SYNTHETIC:
        lines += [
            "",
            "> **Synthetic heads.** These figures are of the phantom: none says how the system reads patients.",
        ]
    for caution in cautions:
        lines += ["", f"> **Caution.** {caution}"]
    for test in tests:
        for level in ("slice", "case"):
            rows = result_rows(blocks[test], level, point)
            lines += ["", f"## {display_name(test)}, {level} level", "", *markdown_table(rows)]
    return "\n".join(lines) + "\n"


def markdown_table(rows: Sequence[Mapping[str, str]]) -> list[str]:
    """Lines of a table whose columns are the keys of the first row."""
    head = [_line(list(rows[0])), _line(["---", *["---:"] * (len(rows[0]) - 1)])]
    return head + [_line(list(row.values())) for row in rows]


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"
