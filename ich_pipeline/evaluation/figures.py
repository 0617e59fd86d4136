"""ROC, precision-recall and reliability figures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ich_pipeline.evaluation import style
from ich_pipeline.evaluation.cohort import TestCohort
from ich_pipeline.evaluation.curves import Curve, has_curve, pr_curve, roc_band, roc_curve
from ich_pipeline.evaluation.metrics import Estimate, Level
from ich_pipeline.tables.labels import Labels

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_BAND_GRID = np.linspace(0.0, 1.0, 101)
_RELIABILITY_GROUPS = 10
_ROC_HEIGHT, _PR_LEGEND = 5.9, 1.9  # inches
_PR_HEIGHT = _ROC_HEIGHT + _PR_LEGEND


def curves_of(cohort: TestCohort) -> tuple[dict[str, dict[str, Curve]], dict[str, dict[str, Curve]]]:
    """ROC and precision-recall curves by level and label; a label without both classes has none.

    Cases that the first reading stopped are the curve's last step: no threshold calls them.
    """
    roc: dict[str, dict[str, Curve]] = {}
    pr: dict[str, dict[str, Curve]] = {}
    for level, (scores, truth) in _levels(cohort).items():
        shown = [(k, name) for k, name in enumerate(cohort.labels.columns) if has_curve(truth[:, k])]
        roc[level] = {name: roc_curve(scores[:, k], truth[:, k]) for k, name in shown}
        pr[level] = {name: pr_curve(scores[:, k], truth[:, k]) for k, name in shown}
    return roc, pr


def draw_roc(
    cohort: TestCohort,
    curves: dict[str, dict[str, Curve]],
    name: str,
    *targets: Path,
    readers: Sequence[Mapping[str, Any]] = (),
) -> None:
    """Slices: "any" with its band and operating points, and the subtypes. Cases: "any", and the readers' points.

    Args:
        targets: files, PNG or SVG by their suffix.
        readers: entries of :func:`~ich_pipeline.evaluation.readers.compare_readers` for "any".
    """
    figure, axes = style.new_figure(2, 11, _ROC_HEIGHT)
    for ax, level in zip(axes, ("slice", "case"), strict=True):
        scores, truth = _levels(cohort)[level]
        style.chance(ax)
        if level == "slice":
            _subtypes(ax, cohort, curves[level], "auc", "AUC", None)
        any_name = cohort.labels.any
        if any_name in curves[level]:
            band = roc_band(scores[:, 0], truth[:, 0], _level(cohort, level), cohort.params.confidence, _BAND_GRID)
            ax.fill_between(_BAND_GRID, *band, color=style.INK, alpha=0.10, linewidth=0)
            ax.plot(
                *curves[level][any_name],
                color=style.INK,
                linewidth=2.2,
                label=_legend(cohort, level, any_name, "auc", "AUC"),
            )
        drawn: list[tuple[float, float]] = []
        for point, marker in style.POINT_MARKERS.items():
            found = cohort.estimates[level][any_name]
            x, y = found[f"specificity@{point}"].value, found[f"sensitivity@{point}"].value
            if x is not None and y is not None:
                text = f"{point.replace('_', ' ')}: sens. {y:.2f}, spec. {x:.2f}"
                shift = _beside(drawn, 1 - x, y)
                style.mark(ax, 1 - x + shift, y, marker, text + (" (drawn beside)" if shift else ""))
        if level == "case":
            draw_readers(ax, readers)
        style.unit_square(ax)
        style.axis_labels(ax, "1 − specificity", "sensitivity")
        style.title(ax, f"{_title(name)}: ROC, {level} level", _note(cohort, level, name))
        _explain_gate(ax, level)
        style.show_legend(ax, "lower right")
    style.save(figure, *targets)


def draw_readers(ax: Axes, readers: Sequence[Mapping[str, Any]]) -> None:
    """One point a reader who read enough."""
    for i, entry in enumerate(readers):
        if "reason" not in entry:
            x, y = 1 - entry["specificity"]["value"], entry["sensitivity"]["value"]
            text = f"reader {entry['reader']}: sens. {y:.2f}, spec. {1 - x:.2f}"
            style.mark(ax, x, y, style.READER_MARKERS[i % len(style.READER_MARKERS)], text, style.PALETTE[0])


def draw_pr(cohort: TestCohort, curves: dict[str, dict[str, Curve]], name: str, *targets: Path) -> None:
    """Precision over recall, as :func:`draw_roc`; chance is the prevalence of "any"."""
    # The plots are as large as the ROC's: a strip below them is kept for the legends, whatever their length.
    figure, axes = style.new_figure(2, 11, _PR_HEIGHT)
    layout = figure.get_layout_engine()
    assert layout is not None
    layout.set(rect=(0, _PR_LEGEND / _PR_HEIGHT, 1, 1 - _PR_LEGEND / _PR_HEIGHT))  # pyright: ignore[reportCallIssue]
    for ax, level in zip(axes, ("slice", "case"), strict=True):
        _, truth = _levels(cohort)[level]
        any_name = cohort.labels.any
        share = float(truth[:, 0].mean())
        ax.axhline(
            share, color=style.MUTED, linewidth=1, linestyle=(0, (4, 3)), label=f"chance for {any_name} {share:.2f}"
        )
        if level == "slice":
            _subtypes(ax, cohort, curves[level], "ap", "AP", "steps-pre")
        if any_name in curves[level]:
            label = _legend(cohort, level, any_name, "ap", "AP")
            ax.plot(
                *_from_zero(curves[level][any_name]), color=style.INK, linewidth=2.2, drawstyle="steps-pre", label=label
            )
        drawn: list[tuple[float, float]] = []
        for point, marker in style.POINT_MARKERS.items():
            found = cohort.estimates[level][any_name]
            x, y = found[f"sensitivity@{point}"].value, found[f"ppv@{point}"].value
            if x is not None and y is not None:
                text = f"{point.replace('_', ' ')}: recall {x:.2f}, precision {y:.2f}"
                shift = -_beside(drawn, x, y)
                style.mark(ax, x + shift, y, marker, text + (" (drawn beside)" if shift else ""))
        style.unit_square(ax)
        style.axis_labels(ax, "recall (sensitivity)", "precision (PPV)")
        style.title(ax, f"{_title(name)}: precision and recall, {level} level", _note(cohort, level, name))
        _explain_gate(ax, level)
        _legend_below(ax)
    style.save(figure, *targets)


def draw_reliability(
    labels: Labels,
    before: NDArray[np.float64],
    after: NDArray[np.float64],
    truth: NDArray[np.integer],
    folds: int,
    of: str,
    target: Path,
) -> None:
    """Observed against predicted share out of sample, before and after calibration, one panel a label.

    Args:
        before: combined scores, shape (slices, labels).
        after: the same, calibrated without each slice's fold.
        truth: 0 and 1.
        folds, of: named in the picture: of the calibration, and whose scores they are ("validation, 98 patients").
    """
    columns = 3
    rows = -(-len(labels) // columns)
    figure, axes = style.new_figure(columns, 11, 4.15 * rows + 0.3, rows)
    for k, (ax, name) in enumerate(zip(axes, labels.columns, strict=False)):
        ax.plot([0, 1], [0, 1], color=style.MUTED, linewidth=1, linestyle=(0, (4, 3)), label="perfect")
        for scores, colour, text in ((before, style.MUTED, "before"), (after, style.ACCENT, "after")):
            predicted, observed = reliability(scores[:, k], truth[:, k])
            brier = float(((scores[:, k] - truth[:, k]) ** 2).mean())
            ax.plot(predicted, observed, color=colour, marker="o", markersize=4, label=f"{text}: Brier {brier:.3f}")
        style.unit_square(ax)
        style.axis_labels(ax, "predicted probability", "observed share")
        style.title(ax, name, f"{int(truth[:, k].sum())} of {len(truth)} slices positive; tenths of the slices")
        style.show_legend(ax, "upper left")
    for ax in axes[len(labels) :]:
        ax.set_visible(False)
    figure.suptitle(
        f"Calibration of the second reading ({of}), cross-fitted in {folds} folds of patients",
        x=0.01, ha="left", fontsize=13, fontweight="bold", color=style.INK,
    )  # fmt: skip
    style.save(figure, target)


def reliability(scores: NDArray[np.float64], truth: NDArray[np.integer]) -> Curve:
    """Mean score and share of positives in tenths of the slices, from the lowest scores up."""
    order = np.argsort(scores, kind="stable")
    groups = [g for g in np.array_split(order, _RELIABILITY_GROUPS) if len(g)]
    return np.array([scores[g].mean() for g in groups]), np.array([truth[g].mean() for g in groups])


def _levels(cohort: TestCohort) -> dict[str, tuple[NDArray[np.float64], NDArray[np.integer]]]:
    """Scores to rank by, and truth."""
    return {
        "slice": (cohort.reading.final[cohort.labelled], cohort.truth),
        "case": (cohort.cases.ranking(cohort.reading.case_scores[cohort.labelled_cases]), cohort.case_truth),
    }


def _level(cohort: TestCohort, level: str) -> Level:
    return cohort.slices if level == "slice" else cohort.cases


def _subtypes(
    ax: Axes, cohort: TestCohort, curves: dict[str, Curve], metric: str, word: str, drawstyle: str | None
) -> None:
    for k, name in enumerate(cohort.labels.subtypes):
        colour = style.PALETTE[k % len(style.PALETTE)]
        label = _legend(cohort, "slice", name, metric, word)
        if name in curves:
            curve = _from_zero(curves[name]) if drawstyle else curves[name]
            ax.plot(
                *curve,
                color=colour,
                linewidth=1.3,
                alpha=0.9,
                drawstyle=drawstyle or "default",
                label=label,
                solid_capstyle="butt",
            )
        else:
            ax.plot([], [], color=colour, linewidth=1.3, label=label)


def _from_zero(curve: Curve) -> Curve:
    """A precision-recall curve drawn from recall 0 at its first precision."""
    x, y = curve
    return np.append(0.0, x), np.append(y[:1], y)


def _legend(cohort: TestCohort, level: str, label: str, metric: str, word: str) -> str:
    estimate: Estimate = cohort.estimates[level][label][metric]
    if estimate.value is None:
        return f"{label}: {word} not estimable ({estimate.reason})"
    entry = estimate.to_json(cohort.params.confidence)
    bounds = "" if entry["low"] is None else f" ({entry['low']:.2f}–{entry['high']:.2f})"
    return f"{label}: {word} {estimate.value:.3f}{bounds}"


_MARKER = 0.03  # width of a marker in a unit square


def _beside(drawn: list[tuple[float, float]], x: float, y: float) -> float:
    """How far to the side a marker goes that would hide under one drawn already; notes it as drawn."""
    hidden = sum(abs(x - a) < _MARKER / 2 and abs(y - b) < _MARKER / 2 for a, b in drawn)
    drawn.append((x, y))
    return hidden * _MARKER


def _title(name: str) -> str:
    return name.replace("_", " ").capitalize()


def _note(cohort: TestCohort, level: str, name: str) -> str:
    _, truth = _levels(cohort)[level]
    what = "slices" if level == "slice" else "cases"
    patients = cohort.counts.shape[1]
    return f"{name.replace('_', ' ')}: {len(truth)} {what} of {patients} patients, {int(truth[:, 0].sum())} positive"


def _explain_gate(ax: Axes, level: str) -> None:
    """Why a case curve ends in one straight step."""
    if level == "case":
        ax.plot([], [], " ", label="cases that the first reading stops rank last")


def _legend_below(ax: Axes) -> None:
    """Precision-recall curves fill their square: nothing may cover them."""
    where = (-0.02, -0.11)
    legend = ax.legend(loc="upper left", bbox_to_anchor=where, fontsize=8, frameon=False, labelcolor=style.INK)
    legend.set_in_layout(False)  # a long entry would else shrink the plot
