"""How far this machine reproduced the recorded run: dvc.lock and the metrics against those that git holds, and what the profile leads to expect."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

from flows.engine import layout
from ich_pipeline.config import Params
from ich_pipeline.config.profile import current
from ich_pipeline.core.files import read_json
from ich_pipeline.core.yaml_text import read_yaml

LOCK = Path("dvc.lock")
METRICS = layout.REPORTS / "metrics.json"


@dataclass(frozen=True)
class Comparison:
    """Stages whose inputs are another run's, whose outputs differ though the inputs are the same, and the metrics."""

    stages: int
    other_inputs: tuple[str, ...]  # code, data or params differ from the record: nothing to reproduce
    other_outputs: tuple[str, ...]  # the same inputs gave other bytes, or follow from such a stage
    largest: tuple[str, float, float] | None  # the metric that differs most: where, recorded, now
    only_in_one: int = 0  # figures that only one of the two runs could give
    other_data: bool = False  # the record is of another cohort

    def sentence(self) -> str:
        """One sentence for a person."""
        if self.other_data:
            return "The run recorded in git is of other data: nothing to compare. Commit data.dvc, dvc.lock and reports/metrics.json to record this one."
        if not self.other_inputs and not self.other_outputs:
            return f"Reproduced byte for byte: all {self.stages} stages as recorded in git."
        parts = []
        if self.other_inputs:
            parts.append(f"other code, data or params than recorded in {_names(self.other_inputs)}")
        if self.other_outputs:
            parts.append(f"other bytes than recorded in {_names(self.other_outputs)}")
        text = f"Compared with the run recorded in git, {len(self.other_inputs) + len(self.other_outputs)} of {self.stages} stages differ: "
        text += "; ".join(parts) + "."
        if self.largest:
            where, before, now = self.largest
            text += f" The largest difference of a metric is at {where}: recorded {before:.4f}, now {now:.4f}."
        elif not self.only_in_one:
            text += " All metrics are equal."
        if self.only_in_one:
            text += f" {self.only_in_one} figures stand in only one of the two runs."
        return text


def _names(stages: tuple[str, ...]) -> str:
    return ", ".join(stages) if len(stages) <= 4 else f"{', '.join(stages[:3])} and {len(stages) - 3} more"


def compare_locks(recorded: dict[str, Any], now: dict[str, Any]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """(stages with other inputs, stages with other outputs) of two parsed dvc.lock files.

    Inputs that are outputs of another stage do not count as "other inputs": they follow from that stage.
    """
    before, after = recorded.get("stages", {}), now.get("stages", {})
    made = [out["path"] for stage in after.values() for out in stage.get("outs", [])]

    def given(stage: dict[str, Any]) -> Any:
        deps = {d["path"]: d.get("md5") for d in stage.get("deps", []) if not any(_within(d["path"], m) for m in made)}
        return deps, stage.get("params")

    def outs(stage: dict[str, Any]) -> dict[str, str | None]:
        return {o["path"]: o.get("md5") for o in stage.get("outs", [])}

    gone = tuple(n for n in before if n not in after)
    other_inputs = gone + tuple(n for n in after if n not in before or given(before[n]) != given(after[n]))
    other_outputs = tuple(
        n for n in after if n in before and n not in other_inputs and outs(before[n]) != outs(after[n])
    )
    return other_inputs, other_outputs


def _within(path: str, out: str) -> bool:
    return path == out or path.startswith(out + "/") or out.startswith(path + "/")


def numbers(value: Any, where: str = "") -> Iterator[tuple[str, float]]:
    """All numbers of nested JSON with the path to each."""
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from numbers(inner, f"{where} {key}".strip())
    elif isinstance(value, int | float) and not isinstance(value, bool):
        yield where, float(value)


def largest_difference(recorded: Any, now: Any) -> tuple[str, float, float] | None:
    """Where two metric files differ most; None where they are equal in all they share."""
    before = dict(numbers(recorded))
    shared = [(abs(v - before[w]), w, before[w], v) for w, v in numbers(now) if w in before and v != before[w]]
    return max(shared)[1:] if shared else None


def only_in_one(recorded: Any, now: Any) -> int:
    """How many figures only one of two metric files can give (the other has null, or lacks them)."""
    return len({where for where, _ in numbers(recorded)} ^ {where for where, _ in numbers(now)})


def compare() -> Comparison | None:
    """Compare with what git's HEAD holds; None where it holds no run."""
    lock, metrics = _recorded(LOCK), _recorded(METRICS)
    if lock is None or not LOCK.is_file():
        return None
    now = read_yaml(LOCK.read_text(encoding="utf-8"))
    before_lock = read_yaml(lock)
    other_inputs, other_outputs = compare_locks(before_lock, now)
    before, after = json.loads(metrics or "{}"), json.loads(METRICS.read_text(encoding="utf-8"))
    largest, alone = largest_difference(before, after), only_in_one(before, after)
    other_data = _data(before_lock) != _data(now)
    return Comparison(len(now.get("stages", {})), other_inputs, other_outputs, largest, alone, other_data)


def _data(lock: dict[str, Any]) -> str | None:
    """Hash of the images that the first stage read."""
    deps = lock.get("stages", {}).get("ingest", {}).get("deps", [])
    return next((dep.get("md5") for dep in deps if dep["path"] == layout.DICOM.as_posix()), None)


def _recorded(path: Path) -> str | None:
    try:
        shown = subprocess.run(["git", "show", f"HEAD:./{path.as_posix()}"], capture_output=True, text=True)
    except FileNotFoundError:  # no git here: nothing to compare with
        return None
    return shown.stdout if shown.returncode == 0 else None


TITLES = {"auc": "slice AUC", "ap": "slice mAP"}


def as_expected(params: Params) -> str | None:
    """``As expected: …`` or ``Not as expected: …``; None where nothing is known to expect.

    The same seed on another kind of processor gives other last bits, and after thousands of steps other figures. So equal
    bytes are one question, figures within their usual range another. ``ich_pipeline/profiles/<profile>.expected.json`` has
    the lowest that each may be; it holds for the profile as packaged, not for edited settings or data of one's own.
    """
    path = files("ich_pipeline") / "profiles" / f"{params.profile}.expected.json"
    if not path.is_file() or current() != params.profile:
        return None
    metrics = read_json(layout.REPORTS / "metrics.json")
    return judged(json.loads(path.read_text(encoding="utf-8")), metrics, params.labels.any)


def judged(expected: dict[str, dict[str, float]], metrics: dict[str, Any], any_name: str) -> str:
    """Every expected figure beside the least that it may be."""
    words, fine = [], True
    for test, least in expected.items():
        of_slices = metrics[test]["slice"]
        for key, floor in least.items():
            value = of_slices[any_name if key == "auc" else "mean"][key]["value"]
            met = value is not None and value >= floor
            fine &= met
            found = "not estimable" if value is None else f"{value:.3f}"
            words.append(f"{TITLES[key]} {found} on {test} ({floor:.2f} or more{'' if met else ': MISSED'})")
    return f"{'As expected' if fine else 'Not as expected'}: {', '.join(words)}."
