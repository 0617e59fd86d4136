"""Another system beside the first (``ich evaluate --against``) as rows of text: A the first, B the other."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ich_pipeline.report.metrics import as_text, difference_text, markdown_table, p_text
from ich_pipeline.studies.study import DECIDED, GIVEN

TERMINAL = ("finding", "positives", "AUC of A", "AUC of B", "A − B (DeLong)", "p")
_POINTS = {GIVEN: "threshold", DECIDED: "own decision"}
_RATES = ("sensitivity", "specificity")


def area_rows(against: Mapping[str, Any]) -> list[dict[str, str]]:
    """One row a finding that both systems score."""
    rows = []
    for name, found in against["findings"].items():
        row = {"finding": name, "positives": f"{found['positives']} of {found['n']}"}
        if "reason" in found:
            rows.append({**row, **dict.fromkeys((*TERMINAL[2:], "AP of A", "AP of B", "AP, A − B"), "–")})
            rows[-1]["AUC of A"] = f"not estimable: {found['reason']}"
            continue
        auc, ap = found["auc"], found["ap"]
        test = auc["difference"].get("delong")
        rows.append(
            {
                **row,
                "AUC of A": as_text(_delong(auc["system"]), 4),
                "AUC of B": as_text(_delong(auc["other"]), 4),
                "A − B (DeLong)": difference_text(auc["difference"]["value"], test, 4),
                "p": p_text(None if test is None else test["p"]),
                "AP of A": as_text(ap["system"]),
                "AP of B": as_text(ap["other"]),
                "AP, A − B": difference_text(ap["difference"]["value"], ap["difference"]),
            }
        )
    return rows


def terminal_rows(against: Mapping[str, Any]) -> list[dict[str, str]]:
    """:func:`area_rows` for 80 columns: of each system the area alone, of the difference the interval too."""
    plain = ("AUC of A", "AUC of B")
    return [{**row, **{key: row[key].partition(" (")[0] for key in plain}} for row in area_rows(against)]


def decision_rows(against: Mapping[str, Any], thresholds: Mapping[str, float]) -> list[dict[str, str]]:
    """One row a finding, operating point and rate; ``thresholds`` are A's."""
    rows = []
    for name, found in against["findings"].items():
        for point, entry in found.get("points", {}).items():
            shown = _POINTS[point]
            if point == GIVEN:
                shown += f" {thresholds[name]:g} of A, {against['thresholds'][name]:g} of B"
            for rate in _RATES:
                row = {"finding": name, "decided by": shown, "rate": rate}
                values = (
                    dict.fromkeys(("A", "B", "A − B (Tango)", "A alone right", "B alone right", "p (McNemar)"), "–")
                    | {"A": f"not estimable: {entry['reason']}"}
                    if "reason" in entry
                    else _rate(entry[rate])
                )
                rows.append({**row, **values})
    return rows


def against_markdown(results: Mapping[str, Any]) -> list[str]:
    """Both tables, with what a reader must know."""
    against = results["against"]
    lines = ["", "## Against another system", "", *(f"- {note}" for note in against_notes(results)), ""]
    lines += [*markdown_table(area_rows(against)), ""]
    decisions = decision_rows(against, results["about"]["thresholds"])
    return lines + (markdown_table(decisions) if decisions else [])


def against_notes(results: Mapping[str, Any]) -> list[str]:
    """What a reader of the comparison must know, in sentences."""
    against, files = results["against"], results["about"]["files"]
    said = [
        f"A is {files['predictions']['name']}, B is {files['against']['name']}; both on the rows that both score. A positive "
        "difference favours A."
    ]
    if against["not_compared"]:
        said.append(f"Not compared, for B has no such column: {', '.join(against['not_compared'])}.")
    for name, found in against["findings"].items():
        reason = found.get("auc", {}).get("difference", {}).get("delong", {}).get("reason")
        said += [f"{name} has no p: {reason}."] if reason else []
    notes = {p["note"] for f in against["findings"].values() for p in f.get("points", {}).values() if "note" in p}
    said += [
        f"{note[0].upper()}{note[1:]}, so their p are too small and their intervals too narrow."
        for note in sorted(notes)
    ]
    if against["excluded"]:
        left = "; ".join(f"{e['what']}: {e['count']:,}" for e in against["excluded"])
        said.append(f"Left out of the comparison: {left}.")
    return said


def _rate(entry: Mapping[str, Any]) -> dict[str, str]:
    test = entry["mcnemar"]
    return {
        "A": as_text(entry["system"]),
        "B": as_text(entry["other"]),
        "A − B (Tango)": difference_text(entry["difference"]["value"], entry["difference"]),
        "A alone right": f"{test['system_alone_right']:,}",
        "B alone right": f"{test['other_alone_right']:,}",
        "p (McNemar)": p_text(test["mid_p"]),
    }


def _delong(entry: Mapping[str, Any]) -> dict[str, Any]:
    return {**entry, "low": None, "high": None, **entry.get("delong", {})}
