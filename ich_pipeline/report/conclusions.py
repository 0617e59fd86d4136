"""What reading again, slice interpolation and sequence heads brought: figures beside each other, and the conclusion that they allow."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from ich_pipeline.ensemble.model import Ensemble
from ich_pipeline.evaluation.ablation import SEQUENCE
from ich_pipeline.report.metrics import as_text

INTERPOLATION = "with slice interpolation"
WORDS = {"auc_any": "AUC of “any”", "mean_ap": "mean average precision"}
ENDS = {"value": "", "low": "_low", "high": "_high"}
READINGS = {
    "first": "first reading",
    "final": "final, after the second reading",
    "second_everywhere": "second reading of every slice",
}


def reading_rows(reading: Mapping[str, Any]) -> list[dict[str, str]]:
    """One row a reading: slice AUC of "any" and mean average precision with intervals."""
    return [
        {"reading": words, **{text: as_text(reading[name][key]) for key, text in WORDS.items()}}
        for name, words in READINGS.items()
        if name in reading
    ]


def reading_conclusion(reading: Mapping[str, Any]) -> str:
    """What reading again changed, in words.

    Args:
        reading: evaluate's ``reading.json``; ``gain`` there holds the paired difference of each metric.
    """
    share = reading["slices_reread"] / reading["slices"] if reading["slices"] else 0.0
    parts = [_change(reading["first"][k], reading["final"][k], reading["gain"][k], text) for k, text in WORDS.items()]
    words = f"{share:.0%} of the slices were read again. " + " ".join(part for part in parts if part)
    if share > 0.5:
        words += " The gate spares little of the reading: most slices pass it."
    return words


def interpolation_conclusion(ablation: pd.DataFrame, ensemble: Ensemble, architectures: Sequence[str]) -> str:
    """What slice interpolation brought on this test, and how many networks use it at all."""
    without = [name for name in architectures if ensemble.degrees[name] == 0]
    words = f"In calibration slice interpolation was not clearly better for {len(without)} of {len(architectures)} networks (degree 0)"
    words += f": {', '.join(without)}." if without else "."
    for row in ablation[ablation["step"] == INTERPOLATION].to_dict("records"):
        name = row["architecture"]
        if ensemble.degrees[name] == 0:
            words += f" {name} has degree 0: the step changes nothing."
            continue
        words += f" {name}, degree {ensemble.degrees[name]:g}, on this test: {_gains(row)}."
    return words


def sequence_conclusion(ablation: pd.DataFrame, ensemble: Ensemble, wanted: Sequence[str]) -> str:
    """Whether the sequence heads of the ``wanted`` networks help on this test, and whether the system uses them.

    A head that changes nothing is read by nobody, so the ablation has no row of it.
    """
    parts = []
    rows = {row["architecture"]: row for row in ablation[ablation["step"] == SEQUENCE].to_dict("records")}
    for name in wanted:
        row = rows.get(name)
        if row is None:
            parts.append(f"Sequence head of {name}: no epoch was better on validation than the network alone.")
            continue
        used = "The ensemble uses it." if name in ensemble.heads else "The ensemble does not use it."
        parts.append(f"Sequence head of {name} against the network alone, on this test: {_gains(row)}. {used}")
    return " ".join(parts)


def _gains(row: Mapping[Any, Any]) -> str:
    """The gains of a row of the ablation over the one before it."""
    gains = [
        f"{text} {_gain({bound: row[f'{key}_gain{end}'] for bound, end in ENDS.items()})}"
        for key, text in WORDS.items()
        if pd.notna(row[f"{key}_gain"])
    ]
    return "; ".join(gains) or "not estimable"


def _change(first: Mapping[str, Any], final: Mapping[str, Any], gain: Mapping[str, Any], text: str) -> str:
    if gain["value"] is None:
        return ""
    capital = f"{text[:1].upper()}{text[1:]}"
    if gain["value"] == 0 and gain["low"] is None:
        return f"{capital} stayed at {final['value']:.3f}: both readings rank the slices alike."
    return f"{capital} went from {first['value']:.3f} to {final['value']:.3f}: {_gain(gain)}."


def _gain(gain: Mapping[str, Any]) -> str:
    low, high = gain["low"], gain["high"]
    if low is None or pd.isna(low):
        return f"{gain['value']:+.3f}, without an interval"
    shown = "a gain" if low > 0 else "a loss" if high < 0 else "no difference shown"
    return f"{gain['value']:+.3f} ({low:+.3f} to {high:+.3f}), {shown}"
