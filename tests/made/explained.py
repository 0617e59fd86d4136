"""A small case as the page shows it, made by hand."""

from __future__ import annotations

import numpy as np

from ich_pipeline.explain.case import AttentionMap, ExplainedCase
from ich_pipeline.explain.geometry import CellGrid
from ich_pipeline.explain.placed import PlacedMap


def head(side: int = 64) -> np.ndarray:
    """A slice in HU: a round head of 30 HU in air, and a bright table that is none of it."""
    y, x = np.mgrid[:side, :side] / side - 0.5
    hu = np.full((side, side), -1000, np.int16)
    hu[np.hypot(x, y) < 0.35] = 30
    hu[-2:] = 400
    return hu


def placed(values: np.ndarray) -> PlacedMap:
    rows, columns = values.shape
    return PlacedMap(values.astype(np.float32), CellGrid((0.5 / rows, 0.5 / columns), (1 / rows, 1 / columns)))


def made_case(
    params, values, *, slice_thresholds, shown, attention, decision: bool | None = True, **changed
) -> ExplainedCase:
    labels = params.label_set
    scores = np.asarray(values, float)
    made = {
        "case_id": "C1",
        "labels": labels,
        "sop_instance_uids": tuple(f"1.{i}" for i in range(len(scores))),
        "positions_mm": np.arange(len(scores)) * 5.0,
        "hu": np.repeat(head()[None], len(scores), axis=0),
        "windows": params.windowing.windows,
        "first": scores,
        "second": scores,
        "final": scores,
        "reread": np.ones(len(scores), bool),
        "case_scores": scores.max(axis=0),
        "case_score_rule": "max",
        "decision": decision,
        "operating_point": "balanced",
        "threshold": 0.5,
        "gate": 0.3,
        "slice_thresholds": np.asarray(slice_thresholds, float),
        "case_thresholds": np.full(len(labels), 0.5),
        "shown": shown,
        "attention": attention,
        "basis": {i: {name: [] for name in names} for i, names in shown.items()},
        "reasons": {},
        "uncalibrated": {},
        "uncertainty": None,
    }
    return ExplainedCase(**{**made, **changed})


def maps(*names: str) -> dict[str, AttentionMap]:
    return {name: AttentionMap(placed(np.eye(4)), "LayerCAM") for name in names}
