"""Whether a run came out as this profile's runs do: its figures against what they were in other runs.

The same seed on another kind of processor gives other last bits, and after thousands of steps other figures. So equal bytes are one
question (:mod:`flows.engine.reproduction`), figures within their usual range another. ``ich_pipeline/profiles/<profile>.expected.json`` has
the lowest that each may be; it holds for the profile as packaged, not for edited settings or data of one's own.
"""

from __future__ import annotations

import json
from importlib.resources import files
from typing import Any

from flows.engine import layout
from ich_pipeline.config import Params
from ich_pipeline.config.profile import current
from ich_pipeline.core.files import read_json

TITLES = {"auc": "slice AUC", "ap": "slice mAP"}


def sentence(params: Params) -> str | None:
    """``As expected: …`` or ``Not as expected: …``; None where nothing is known to expect."""
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
