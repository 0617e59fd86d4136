"""ROC figures of a joined table: one panel a finding, with band, operating points and readers."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ich_pipeline.core.progress import Track, quiet
from ich_pipeline.evaluation import style
from ich_pipeline.evaluation.curves import has_curve, roc_band, roc_curve
from ich_pipeline.evaluation.figures import draw_readers
from ich_pipeline.evaluation.metrics import Level
from ich_pipeline.studies.against import compared_rows, other_of
from ich_pipeline.studies.study import DECIDED, GIVEN, Study

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_COLUMNS = 3
_GRID = np.linspace(0.0, 1.0, 101)
_POINTS = {GIVEN: ("o", "threshold {:g}"), DECIDED: ("^", "its own decision")}


def draw_study(study: Study, results: Mapping[str, Any], folder: Path, track: Track = quiet) -> dict[str, Path]:
    """Write ``roc.png`` and ``roc.svg`` of all findings and ``roc_<number>.png`` of each; returns the latter by finding."""
    labels = study.table.labels
    rows = -(-len(labels) // _COLUMNS)
    columns = min(_COLUMNS, len(labels))
    figure, axes = style.new_figure(columns, 4.6 * columns, 5.1 * rows, rows)
    for k, ax in enumerate(axes):
        if k < len(labels):
            _panel(ax, study, results, k)
        else:
            ax.set_visible(False)
    for suffix in (".png", ".svg"):
        style.save(figure, folder / f"roc{suffix}")
    single = {}
    for k, name in track(list(enumerate(labels)), "figures", len(labels)):
        figure, (ax,) = style.new_figure(1, 5.4, 5.8)
        _panel(ax, study, results, k)
        single[name] = folder / f"roc_{k + 1}.png"
        style.save(figure, single[name])
    return single


def _panel(ax: Axes, study: Study, results: Mapping[str, Any], label: int) -> None:
    name, kept = study.table.labels[label], study.rows(label)
    scores, truth = study.table.scores[kept, label], study.table.truth[kept, label]
    found = results[study.table.level][name]
    style.chance(ax)
    if has_curve(truth):
        level = Level(study.table.patients[kept], study.counts)
        ax.fill_between(
            _GRID,
            *roc_band(scores, truth, level, study.options.confidence, _GRID),
            color=style.INK,
            alpha=0.10,
            linewidth=0,
        )
        ax.plot(*roc_curve(scores, truth), color=style.INK, linewidth=2.0, label=_area(found["auc"]))
    _other(ax, study, results, label)
    for point, (marker, text) in _POINTS.items():
        y, x = found.get(f"sensitivity@{point}"), found.get(f"specificity@{point}")
        if x and y and x["value"] is not None and y["value"] is not None:
            shown = text.format(study.options.thresholds[name])
            style.mark(
                ax, 1 - x["value"], y["value"], marker, f"{shown}: sens. {y['value']:.2f}, spec. {x['value']:.2f}"
            )
    draw_readers(ax, results["readers"][name])
    style.unit_square(ax)
    style.axis_labels(ax, "1 − specificity", "sensitivity")
    style.title(ax, name, f"{int(truth.sum())} of {len(truth)} {study.table.level}s positive")
    style.show_legend(ax, "lower right")


def _other(ax: Axes, study: Study, results: Mapping[str, Any], label: int) -> None:
    """The curve of the system that is compared with, dashed, on the rows that both score."""
    found = results.get("against", {}).get("findings", {}).get(study.table.labels[label])
    if found is None:
        return
    kept = compared_rows(study, label)
    truth = study.table.truth[kept, label]
    if has_curve(truth):
        curve = roc_curve(other_of(study).scores[kept, label], truth)
        text = f"B: {_area(found['auc']['other'])}"
        ax.plot(*curve, color=style.PALETTE[1], linewidth=1.6, linestyle=(0, (5, 2)), label=text)


def _area(entry: Mapping[str, Any]) -> str:
    if entry["value"] is None:
        return f"AUC not estimable ({entry['reason']})"
    bounds = entry.get("delong")
    return f"AUC {entry['value']:.4f}" + (f" ({bounds['low']:.3f}–{bounds['high']:.3f})" if bounds else "")
