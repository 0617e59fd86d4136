"""The card on calibration and uncertainty of one test: what was asked for, what was measured, and what follows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ich_pipeline.report.metrics import as_text, markdown_table
from ich_pipeline.report.render import display_name

CLASSES = {"absent": "without the finding", "present": "with the finding"}


def coverage_rows(found: Mapping[str, Any], level: str, labels: Sequence[str]) -> list[dict[str, str]]:
    """One row a label: coverage of both classes, shares undecided and empty; the reason where there are no sets.

    Args:
        found: evaluate's ``uncertainty.json``.
        level: ``case`` or ``slice``.
        labels: in the order wanted.
    """
    rows = []
    for label in labels:
        of = found[level][label]
        row = {"finding": display_name(label)}
        if "reason" in of:
            rows.append(
                {**row, "without it": f"not available: {of['reason']}", "with it": "", "undecided": "", "neither": ""}
            )
            continue
        rows.append(
            {
                **row,
                "without it": _counted(of["coverage_absent"]),
                "with it": _counted(of["coverage_present"]),
                "undecided": as_text(of["undecided"], 2),
                "neither": as_text(of["neither"], 2),
            }
        )
    return rows


def _counted(entry: Mapping[str, Any]) -> str:
    if entry["value"] is None:
        return str(entry["reason"])
    return f"{as_text(entry, 2)}, {entry['covered']} of {entry['patients']}"


def coverage_words(found: Mapping[str, Any], level: str, labels: Sequence[str]) -> str:
    """Where the measured coverage excludes the target, and whether calibrating on few patients explains it."""
    target, sentences, estimated = found["coverage"], [], False
    for label in labels:
        of = found[level][label]
        for word, whose in CLASSES.items():
            entry = of.get(f"coverage_{word}")
            if entry is None or entry["value"] is None:
                continue
            estimated = True
            if entry["low"] <= target <= entry["high"]:
                continue
            side = "below" if entry["high"] < target else "above"
            low, high = entry["expected"]["low"], entry["expected"]["high"]
            explains = "explains it" if low <= entry["value"] <= high else "does not explain it"
            sentences.append(
                f"{display_name(label)}, patients {whose}: covered {entry['covered']} of {entry['patients']}, {side} "
                f"{target:.0%} by more than chance in this test. Limits from {entry['calibration_patients']} patients "
                f"may cover {low:.2f}–{high:.2f} of as many; that {explains}."
            )
    if not estimated:
        return "No coverage could be measured."
    return " ".join(sentences) or f"No interval excludes {target:.0%}."


def disagreement_words(found: Mapping[str, Any], level: str, label: str) -> str:
    """Whether disagreement of the members tells right from wrong decisions."""
    parts = []
    for which, whose in (("members", "the ensemble’s members"), ("all", "all that were trained")):
        of = found["disagreement"][which]
        if "reason" in of:
            parts.append(f"{whose}: {of['reason']}")
            continue
        tells = of[level][label]
        if tells["auc"]["value"] is None:
            parts.append(f"{whose}: {as_text(tells['auc'])}")
            continue
        words = f"{whose}: AUC {as_text(tells['auc'])} for {tells['errors']} wrong decisions"
        low = tells["auc"]["low"]
        if low is not None:
            words += ", which tells wrong from right" if low > 0.5 else ", not shown to tell wrong from right"
        if tells["nearness"]["value"] is not None:
            words += f" (nearness of the score to the threshold: {as_text(tells['nearness'])})"
        parts.append(words)
    words = "; ".join(parts)
    return f"{words[:1].upper()}{words[1:]}."


def calibration_rows(metrics: Mapping[str, Any], labels: Sequence[str]) -> list[dict[str, str]]:
    """Brier score and calibration error of slice probabilities, one row a label."""
    return [
        {
            "finding": display_name(label),
            "Brier score": as_text(metrics["slice"][label].get("brier")),
            "calibration error": as_text(metrics["slice"][label].get("ece")),
        }
        for label in labels
    ]


def card(found: Mapping[str, Any], metrics: Mapping[str, Any], labels: Sequence[str]) -> dict[str, Any]:
    """Everything that the report page says of one test."""
    return {
        "coverage": found["coverage"],
        "cases": coverage_rows(found, "case", labels),
        "case_words": coverage_words(found, "case", labels),
        "slices": coverage_rows(found, "slice", labels),
        "slice_words": coverage_words(found, "slice", labels),
        "disagreement": {level: disagreement_words(found, level, labels[0]) for level in ("case", "slice")},
        "calibration": calibration_rows(metrics, labels),
    }


def uncertainty_markdown(tests: Mapping[str, Mapping[str, Any]], labels: Sequence[str]) -> str:
    """The case sets and the disagreement of all tests as Markdown.

    Args:
        tests: by name, evaluate's ``uncertainty.json``.
        labels: in the order wanted.
    """
    lines: list[str] = []
    for name, found in tests.items():
        lines += [
            "",
            f"## {display_name(name)}, conformal sets of cases at {found['coverage']:.0%} coverage",
            "",
            *markdown_table(coverage_rows(found, "case", labels)),
            "",
            f"{coverage_words(found, 'case', labels)} Disagreement and wrong case decisions: "
            f"{disagreement_words(found, 'case', labels[0])}",
        ]
    return "\n".join(lines) + "\n"
