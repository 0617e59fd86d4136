"""The system beside readers without a trained network: rows of text, and what they allow to say. Differences are the system's less the baseline's."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ich_pipeline.report.metrics import as_text, difference_text, markdown_table, p_text
from ich_pipeline.report.render import display_name

BLOCK = "baselines"  # of a test in metrics.json; results of before there were any have none
Block = Mapping[str, Any]


def figures(any_label: str) -> dict[str, str]:
    """In words, what is compared."""
    return {
        "slice_auc_any": f"AUC of “{any_label}” by slice",
        "mean_ap": "mean average precision by slice",
        "case_auc_any": f"AUC of “{any_label}” by case",
    }


def comparison_rows(block: Block, found: Block, any_label: str) -> list[dict[str, str]]:
    """One row a figure.

    Args:
        block: a test's block of metrics.json.
        found: its entry of one baseline.
        any_label: the label of any haemorrhage.
    """
    of_slices, of_cases = block["slice"], block["case"]
    system = {
        "slice_auc_any": of_slices[any_label]["auc"],
        "mean_ap": of_slices["mean"]["ap"],
        "case_auc_any": of_cases[any_label]["auc"],
    }
    return [
        {
            "figure": words,
            "system": as_text(system[key]),
            found["title"]: as_text(found[key]),
            "system − baseline": gain_text(found["difference"][key]),
            "p (DeLong)": p_text(found["difference"][key].get("p")),
            "better": "shown" if is_better(found["difference"][key]) else "not shown",
        }
        for key, words in figures(any_label).items()
    ]


def is_better(difference: Block) -> bool:
    """Whether the whole interval of a difference lies above 0."""
    return difference["low"] is not None and difference["low"] > 0


def gain_text(difference: Block) -> str:
    """The difference with its interval, or why there is none."""
    if difference["value"] is None:
        return as_text(difference)
    return difference_text(difference["value"], difference)


def baseline_conclusion(found: Block, any_label: str) -> str:
    """In one sentence by which figures the system is shown to be better than the baseline."""
    better = [words for key, words in figures(any_label).items() if is_better(found["difference"][key])]
    if len(better) == len(figures(any_label)):
        return f"The system is better than the baseline “{found['title']}” by all three figures."
    if not better:
        return f"By none of the three figures is the system shown to be better than the baseline “{found['title']}”."
    return f"The system is shown to be better than the baseline “{found['title']}” by {' and '.join(better)} alone."


def baseline_caution(test: str, found: Block, any_label: str) -> str | None:
    """What a person must know where the system is not shown to be better by every figure; None where it is."""
    missing = [
        f"{words} {gain_text(found['difference'][key])}"
        for key, words in figures(any_label).items()
        if not is_better(found["difference"][key])
    ]
    if not missing:
        return None
    what = f"better than the baseline “{found['title']}”, which has no trained network, is not shown"
    return f"{display_name(test)}: {what} (system less baseline: {'; '.join(missing)})."


def baselines_markdown(blocks: Mapping[str, Block], tests: Sequence[str], any_label: str) -> str:
    """A table a test and baseline, with the conclusion; empty where there are no baselines."""
    lines = []
    for test in tests:
        for found in blocks[test].get(BLOCK, {}).values():
            lines += ["", f"## {display_name(test)}, against the baseline “{found['title']}”", ""]
            lines += [f"{found['title']}: {found['how']}. {baseline_conclusion(found, any_label)}", ""]
            lines += markdown_table(comparison_rows(blocks[test], found, any_label))
    return "".join(f"{line}\n" for line in lines)
