"""What the tests do not show: said where people would otherwise read a figure as a promise."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ich_pipeline.report.baselines import BLOCK, baseline_caution
from ich_pipeline.report.metrics import as_text
from ich_pipeline.report.render import display_name

CHANCE = 0.5  # area under the ROC curve of a score without knowledge


def cautions(blocks: Mapping[str, Mapping[str, Any]], tests: Sequence[str], any_label: str) -> list[str]:
    """For each test a sentence where the system is not shown to be better than chance, and one for each baseline that it is not
    shown to be better than; empty where all is shown.

    The former is shown where the interval of the AUC of "any", of slices and of cases, lies above 0.5, and that of the slices' mean
    average precision above their prevalence; the latter where the intervals of all the paired differences lie above 0.

    Args:
        blocks: ``{test: {"slice"|"case": {label: {metric: {"value", "low", "high", "reason"?}}}, "baselines"?: …}}``, as in
            metrics.json.
        tests: which, in their order.
        any_label: the label of any haemorrhage.
    """
    sentences = []
    for test in tests:
        missing = [
            f"AUC of “{any_label}” by {level} {as_text(entry)}"
            for level in ("slice", "case")
            if not _above(entry := blocks[test][level][any_label]["auc"], CHANCE)
        ]
        mean = blocks[test]["slice"].get("mean", {})  # a single label has none
        precision, prevalence = mean.get("ap"), mean.get("prevalence", {}).get("value")
        if precision and not (prevalence and _above(precision, prevalence)):
            beside = f" at prevalence {prevalence:.3f}" if prevalence else ""
            missing.append(f"mean average precision by slice {as_text(precision)}{beside}")
        if missing:
            sentences.append(f"{display_name(test)}: better than chance is not shown ({'; '.join(missing)}).")
        said = [baseline_caution(test, found, any_label) for found in blocks[test].get(BLOCK, {}).values()]
        sentences += [sentence for sentence in said if sentence]
    return sentences


def _above(entry: Mapping[str, Any], bound: float) -> bool:
    return entry["low"] is not None and entry["low"] > bound
