"""ROC and precision-recall curves as points."""

from __future__ import annotations

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ich_pipeline.ensemble.ranking import Ranked
from ich_pipeline.evaluation.metrics import Level

Curve = tuple[NDArray[np.float64], NDArray[np.float64]]


def roc_curve(scores: NDArray[np.floating], truth: NDArray[np.integer]) -> Curve:
    """1 - specificity and sensitivity at every distinct threshold, from (0, 0) to (1, 1); needs both classes."""
    true, false = Ranked(scores, truth).counts()
    return np.append(0.0, false / false[-1]), np.append(0.0, true / true[-1])


def pr_curve(scores: NDArray[np.floating], truth: NDArray[np.integer]) -> Curve:
    """Recall and precision at every distinct threshold, recall rising; needs a positive.

    Between two points the precision is that of the right one (``steps-pre``): the area is the average precision.
    """
    true, false = Ranked(scores, truth).counts()
    return true / true[-1], true / (true + false)


def roc_band(
    scores: NDArray[np.floating], truth: NDArray[np.integer], level: Level, confidence: float, grid: NDArray[np.float64]
) -> Curve:
    """Pointwise interval of the sensitivity over a grid of 1 - specificity, from the level's bootstrap draws."""
    ranked = Ranked(scores, truth)
    heights = []
    for weights in level.weights():
        for true, false in zip(*ranked.counts(weights), strict=True):
            if true[-1] > 0 and false[-1] > 0:
                heights.append(np.interp(grid, np.append(0.0, false / false[-1]), np.append(0.0, true / true[-1])))
    tail = (1.0 - confidence) / 2.0
    low, high = np.quantile(heights, [tail, 1.0 - tail], axis=0)
    return low, high


def has_curve(truth: NDArray[np.integer]) -> bool:
    """Whether both classes are there."""
    return bool(0 < np.sum(truth) < len(truth))


def curve_tables(levels: dict[str, dict[str, Curve]]) -> pd.DataFrame:
    """Level to label to curve, as rows ``level``, ``label``, ``x``, ``y``."""
    parts = [
        pd.DataFrame({"level": level, "label": label, "x": x, "y": y})
        for level, curves in levels.items()
        for label, (x, y) in curves.items()
    ]
    return pd.concat(parts, ignore_index=True) if parts else pd.DataFrame(columns=["level", "label", "x", "y"])
