"""Operating points side by side: what was asked for, what calibration gave, what the test gave."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ich_pipeline.config import EnsembleParams
from ich_pipeline.ensemble.model import Ensemble
from ich_pipeline.ensemble.operating_points import NAMES, OperatingPoint
from ich_pipeline.report.metrics import as_text
from ich_pipeline.report.render import display_name, score


def point_rows(
    ensemble: Ensemble, params: EnsembleParams, metrics: Mapping[str, Any], any_label: str
) -> list[dict[str, str]]:
    """One row a level and operating point of "any", for people.

    Args:
        ensemble: with its points.
        params: their targets.
        metrics: of one test, ``{level: {label: {metric: entry}}}``.
        any_label: name of "any".
    """
    rows = []
    for level, points in (("slice", ensemble.slice_points), ("case", ensemble.case_points)):
        found = metrics[level][any_label]
        for name in NAMES:
            point = points[any_label][name]
            rows.append(
                {
                    "level": display_name(level),
                    "operating point": display_name(name) + (" (decides)" if _decides(ensemble, level, name) else ""),
                    "target": _target(name, params),
                    "threshold": _threshold(point),
                    "calibration": _pair(score(point.sensitivity, 3), score(point.specificity, 3)),
                    "test": _pair(as_text(found.get(f"sensitivity@{name}")), as_text(found.get(f"specificity@{name}"))),
                }
            )
    return rows


def _decides(ensemble: Ensemble, level: str, name: str) -> bool:
    return level == "case" and name == ensemble.decision


def _target(name: str, params: EnsembleParams) -> str:
    targets = {
        "high_sensitivity": f"sensitivity ≥ {params.sensitivity_target:g}",
        "high_specificity": f"specificity ≥ {params.specificity_target:g}",
    }
    return targets.get(name, "largest sensitivity + specificity")


def _threshold(point: OperatingPoint) -> str:
    value = "–" if point.threshold is None else f"{point.threshold:.4f}"
    return f"{value} ({point.reason})" if point.reason else value


def _pair(sensitivity: str, specificity: str) -> str:
    return f"{sensitivity} / {specificity}"
