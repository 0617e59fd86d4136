"""The method's figures on this data: system overview, outputs, ablation, atlas and prediction basis; attention examples."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ich_pipeline.evaluation.ablation import SEQUENCE
from ich_pipeline.evaluation.style import ACCENT, INK, MUTED, PALETTE, axis_labels, new_figure, save, title
from ich_pipeline.explain.atlas import Atlas
from ich_pipeline.explain.case import ExplainedCase
from ich_pipeline.explain.placed import PlacedMap, peaks, square
from ich_pipeline.report.pictures import map_in_head
from ich_pipeline.report.render import display_name, distance, score
from ich_pipeline.tables.labels import Labels
from ich_pipeline.windowing.windows import WindowLike, window_channels

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

OUTLINE = "#ff8a00"
MASK = "#2fd6ff"
BASIS_ROWS = 2  # findings of the case in the figure of its basis; its page shows all
COLUMNS = 6  # atlas examples a subtype in the figure; the page shows all


@dataclass(frozen=True)
class AttentionExample:
    """A test slice that shows ``label``, with the map of ``map_label`` and that one's lesions."""

    label: str
    map_label: str
    test: str
    case_id: str
    slice_number: int
    probability: float
    hu: NDArray[np.int16]
    attention: PlacedMap | None
    mask: NDArray[np.bool_]
    hit: bool | None


def show_ct(ax: Axes, hu: NDArray[np.integer], window: WindowLike) -> None:
    """A slice in a window, grey on black, no axes."""
    ax.imshow(window_channels(hu, [window])[..., 0], cmap="gray", vmin=0, vmax=1, interpolation="bilinear")
    bare(ax)


def bare(ax: Axes) -> None:
    """No ticks, no frame, no grid."""
    ax.set_xticks([])
    ax.set_yticks([])
    ax.grid(False)
    ax.spines[:].set_visible(False)


def outline(ax: Axes, attention: PlacedMap | None, fraction: float, hu: NDArray[np.integer]) -> bool:
    """The attention outline and peak over a square picture; False where the map locates nothing in the head."""
    values = map_in_head(attention, hu)
    if values is None:
        return False
    _contour(ax, values, fraction * values.max(), hu.shape, OUTLINE, "-")
    at = (np.array(peaks(values, fraction)) + 0.5) * hu.shape / len(values) - 0.5
    ax.plot(at[:, 1], at[:, 0], "+", color=OUTLINE, markersize=7, markeredgewidth=1.4)
    return True


def _contour(ax: Axes, values: NDArray, level: float, shape: tuple[int, ...], colour: str, dash: str) -> None:
    padded = np.pad(values, 1)
    rows, columns = values.shape
    x = (np.arange(-1, columns + 1) + 0.5) * shape[1] / columns - 0.5
    y = (np.arange(-1, rows + 1) + 0.5) * shape[0] / rows - 0.5
    ax.contour(x, y, padded, levels=[level], colors=[colour], linewidths=1.2, linestyles=[dash])
    ax.set_xlim(-0.5, shape[1] - 0.5)
    ax.set_ylim(shape[0] - 0.5, -0.5)


def draw_atlas(atlas: Atlas, windows: Sequence[WindowLike], fraction: float, target: Path) -> None:
    """The first examples of every subtype with the region that speaks for it."""
    entries = atlas.entries
    figure, axes = new_figure(COLUMNS, 1.75 * COLUMNS + 1.2, 1.95 * len(entries) + 0.5, rows=len(entries))
    for row, entry in enumerate(entries):
        for column in range(COLUMNS):
            ax = axes[row * COLUMNS + column]
            bare(ax)
            if column == 0:
                ax.set_ylabel(f"{display_name(entry.label)}\n{len(entry.positives)} positives", fontsize=9, color=INK)
            if column >= len(entry.ranked):
                if column:
                    ax.set_visible(False)
                else:
                    text = ax.text(0.05, 0.5, entry.reason or "", va="center", fontsize=8, color=MUTED)
                    text.set_in_layout(False)  # it runs over the empty columns beside it
                continue
            example = int(entry.ranked[column])
            show_ct(ax, atlas.thumbnails[example], windows[0])
            outline(ax, atlas.attention(example, entry.label), fraction, atlas.thumbnails[example])
            ax.set_title(f"{atlas.case_ids[example]}", fontsize=7, color=MUTED, pad=2)
    _finish(
        figure,
        target,
        11,
        f"Atlas: the most classic training slices. Outline, + maximum: {atlas.method}{one_map(atlas.map_labels, atlas.labels)}",
    )


def _finish(figure: Figure, target: Path, size: float, words: str, **style: str) -> None:
    """Head a figure at its left and write it; ``size`` is of the letters, in points."""
    figure.suptitle(words, x=0.01, ha="left", fontsize=size, color=INK, **style)
    save(figure, target)


def one_map(drawn: Sequence[str], labels: Labels) -> str:
    """What a caption adds where one map stands for all findings."""
    return ", one map for all findings" if tuple(drawn) == (labels.any,) else ""


def draw_ablation(tables: Mapping[str, pd.DataFrame], prevalence: Mapping[str, float | None], target: Path) -> None:
    """Mean average precision step by step, with intervals, one panel a test; the dashed line is chance."""
    figure, axes = new_figure(len(tables), 5.6 * len(tables), 4.2)
    for ax, (test, table) in zip(axes, tables.items(), strict=True):
        steps = list(dict.fromkeys(table["step"]))
        names = [n for n in dict.fromkeys(table["architecture"]) if n != "ensemble"]
        for i, name in enumerate([*names, "ensemble"]):
            rows = table[table["architecture"] == name]
            rows = rows[rows["mean_ap"].notna()]
            if rows.empty:
                continue
            x = np.array([steps.index(s) for s in rows["step"]]) + 0.06 * (i - len(names) / 2)
            y = rows["mean_ap"].to_numpy(float)
            bars = error_bars(y, *rows[["mean_ap_low", "mean_ap_high"]].to_numpy(float).T)
            colour = ACCENT if name == "ensemble" else PALETTE[i % len(PALETTE)]
            # A sequence head reads without slice interpolation: its step does not follow the one before it, so no line.
            apart = (rows["step"] == SEQUENCE).to_numpy()
            for chosen, (marker, line, label) in (
                (~apart, ("o", "solid", name)),
                (apart, ("D", "none", None)),
            ):
                if chosen.any():
                    ax.errorbar(
                        x[chosen],
                        y[chosen],
                        bars[:, chosen],
                        markersize=6,
                        capsize=3,
                        color=colour,
                        linewidth=1.6,
                        marker=marker,
                        linestyle=line,
                        label=label,
                    )
            for at, value in zip(x, y, strict=True):
                ax.annotate(f"{value:.2f}", (at, value), (7, 4), textcoords="offset points", fontsize=8.5, color=colour)
        chance = prevalence.get(test)
        if chance is not None:
            ax.axhline(chance, color=MUTED, linestyle="--", linewidth=1)
            beside = ax.get_yaxis_transform()
            ax.text(1.01, chance, "chance", transform=beside, va="center", fontsize=8.5, color=MUTED)
        ax.set_xticks(range(len(steps)), [textwrap.fill(step, 13, break_long_words=False) for step in steps])
        ax.set_xlim(-0.4, len(steps) - 0.5)
        ax.set_ylim(0, 1.02)
        axis_labels(ax, "", "mean average precision")
        title(ax, display_name(test), "mean over the subtypes, slices; bars are confidence intervals by patient")
        if ax.get_legend_handles_labels()[0]:
            # Above chance, under the later steps: the baselines on the left may be anywhere.
            ax.legend(frameon=False, fontsize=8.5, loc="lower right", bbox_to_anchor=(1.0, 0.08))
    save(figure, target)


def error_bars(
    value: NDArray[np.floating], low: NDArray[np.floating], high: NDArray[np.floating]
) -> NDArray[np.float64]:
    """Lengths below and above ``value``, shape (2, n); 0 where there is no interval.

    A percentile interval need not hold its value: an arm that would point the wrong way has no length.
    """
    return np.clip(np.nan_to_num(np.stack([value - low, high - value])), 0, None)


def draw_outputs(case: ExplainedCase, fraction: float, target: Path) -> None:
    """One case as the system answers it: scores by slice, the most suspicious slice in every window, its attention."""
    from matplotlib.gridspec import GridSpec

    row = next(iter(case.attention), int(np.argmax(case.final[:, 0])))
    hu = square(case.hu[row], int(case.hu[row].min()))
    figure, axes = new_figure(1, 11, 5.2)
    figure.delaxes(axes[0])
    grid = GridSpec(2, 4, figure=figure, height_ratios=[1.15, 1])
    for k, window in enumerate(case.windows[:3]):
        ax = figure.add_subplot(grid[0, k])
        show_ct(ax, hu, window)
        ax.set_title(f"{display_name(window.name)} {window.center:.0f}/{window.width:.0f} HU", fontsize=9, color=INK)
    ax = figure.add_subplot(grid[0, 3])
    show_ct(ax, hu, case.windows[0])
    label, found = next(iter(case.attention.get(row, {}).items()), (None, None))
    drawn = outline(ax, found.map if found else None, fraction, hu)
    what = f"attention: {display_name(label).lower()}" if label and drawn else "no localisation"
    ax.set_title(what, fontsize=9, color=INK)
    ax = figure.add_subplot(grid[1, :])
    _by_slice(ax, case)
    words = "suspected" if case.decision else "not suspected"
    _finish(
        figure,
        target,
        12,
        f"Case {case.case_id}: {words}, case score {score(float(case.case_scores[0]))} (threshold {score(case.threshold)})",
        fontweight="bold",
    )


def _by_slice(ax: Axes, case: ExplainedCase) -> None:
    from matplotlib.ticker import MaxNLocator

    x = np.arange(1, len(case.final) + 1)
    ax.plot(x, case.first[:, 0], color=MUTED, linestyle=":", marker=".", label="Any, first reading")
    ax.plot(x, case.final[:, 0], color=INK, marker="o", markersize=4, label="Any, final")
    for k, label in enumerate(case.labels.subtypes):
        ax.plot(
            x, case.final[:, k + 1], color=PALETTE[k % len(PALETTE)], linewidth=1.3, label=_by_slice_label(case, label)
        )
    ax.axhline(case.gate, color=MUTED, linewidth=0.9, linestyle="--")
    ax.text(x[-1], case.gate, "gate ", ha="right", va="bottom", fontsize=8, color=MUTED)
    ax.set_ylim(0, 1.02)
    ax.xaxis.set_major_locator(MaxNLocator(integer=True))
    ax.spines[["top", "right"]].set_visible(False)
    axis_labels(ax, "slice", "probability")
    ax.legend(frameon=False, fontsize=8, ncols=1, loc="center left", bbox_to_anchor=(1.0, 0.5))


def _by_slice_label(case: ExplainedCase, label: str) -> str:
    return f"{display_name(label)}{', not calibrated' if label in case.uncalibrated else ''}"


def draw_basis(case: ExplainedCase, fraction: float, target: Path) -> bool:
    """A predicted slice beside its prediction basis, one row a predicted subtype; False where there is nothing to draw."""
    pairs = [(i, n, e) for i, found in case.basis.items() for n, e in found.items() if e][:BASIS_ROWS]
    if not pairs:
        return False
    columns = 1 + max(len(e) for _, _, e in pairs)
    figure, axes = new_figure(columns, 2.5 * columns, 2.9 * len(pairs) + 0.4, rows=len(pairs))
    for ax in axes:
        bare(ax)
    for row, (i, label, examples) in enumerate(pairs):
        ax = axes[row * columns]
        hu = square(case.hu[i], int(case.hu[i].min()))
        show_ct(ax, hu, case.windows[0])
        maps = case.attention[i]
        outline(ax, maps[label if label in maps else case.labels.any].map, fraction, hu)
        probability = score(float(case.final[i, case.labels.index(label)]))
        ax.set_title(f"slice {i + 1} of the case\n{display_name(label)} {probability}", fontsize=9, color=INK)
        for k, example in enumerate(examples, start=1):
            ax = axes[row * columns + k]
            show_ct(ax, example.thumbnail, case.windows[0])
            outline(ax, example.attention, fraction, example.thumbnail)
            place = "" if example.standing is None else f", percentile {example.standing.percentile:.0f}"
            names = ", ".join(map(display_name, example.truth))
            ax.set_title(f"{names}\ndistance {distance(example.distance)}{place}", fontsize=9, color=INK)
    _finish(
        figure,
        target,
        12,
        # A figure of few columns is narrow.
        textwrap.fill(
            f"Prediction basis of case {case.case_id}: the nearest training slices of each finding"
            + one_map([name for maps in case.attention.values() for name in maps][:1], case.labels).replace(",", ";"),
            28 * columns,
        ),
    )
    return True


def draw_attention(examples: Sequence[AttentionExample], window: WindowLike, fraction: float, target: Path) -> None:
    """Test slices with the attention outline (orange) and the lesion's mask (blue, dashed), one column a subtype."""
    labels = list(dict.fromkeys(e.label for e in examples))
    rows = max(sum(e.label == label for e in examples) for label in labels)
    figure, axes = new_figure(len(labels), 2.6 * len(labels) + 0.4, 2.95 * rows + 0.6, rows=rows)
    for ax in axes:
        bare(ax)
    for column, label in enumerate(labels):
        for row, example in enumerate(e for e in examples if e.label == label):
            ax = axes[row * len(labels) + column]
            show_ct(ax, example.hu, window)
            outline(ax, example.attention, fraction, example.hu)
            _contour(ax, example.mask.astype(float), 0.5, example.hu.shape, MASK, "--")
            words = "no localisation" if example.hit is None else "hit" if example.hit else "miss"
            ax.set_title(
                f"{display_name(label)}; {example.map_label} {score(example.probability)}: {words}\n{example.case_id}, slice {example.slice_number}",
                fontsize=8.5, color=INK,
            )  # fmt: skip
    _finish(
        figure,
        target,
        10,
        # Short lines: one column is narrow.
        f"{display_name(examples[0].test)}: attention (orange, + maximum),\nlesions (blue); slices drawn at random",
    )


def draw_overview(steps: Sequence[tuple[str, str]], target: Path) -> None:
    """The system as a row of boxes: (name, what it does)."""
    from matplotlib.patches import FancyBboxPatch

    half = (len(steps) + 1) // 2
    figure, axes = new_figure(1, 12.5, 4.6)
    ax = axes[0]
    bare(ax)
    ax.set_xlim(0, half)
    ax.set_ylim(0, 2)
    for i, (name, words) in enumerate(steps):
        line, place = divmod(i, half)
        x, y = place + 0.06, 1.12 - line
        box = FancyBboxPatch(
            (x, y),
            0.82,
            0.72,
            boxstyle="round,pad=0.01,rounding_size=0.03",
            facecolor="#f1f6fa",
            edgecolor=ACCENT,
            linewidth=1.1,
        )
        ax.add_patch(box)
        ax.text(x + 0.41, y + 0.66, name, ha="center", va="top", fontsize=10.5, fontweight="bold", color=INK)
        ax.text(x + 0.41, y + 0.50, words, ha="center", va="top", fontsize=9.2, color=INK, linespacing=1.35)
        if i + 1 < len(steps):
            _arrow(ax, (x + 0.84, y + 0.36), (x + 0.99, y + 0.36) if place < half - 1 else None)
    _turn(figure, ax, half)
    save(figure, target)


def _arrow(ax: Axes, start: tuple[float, float], end: tuple[float, float] | None) -> None:
    if end is not None:
        ax.annotate("", end, start, arrowprops={"arrowstyle": "-|>", "color": MUTED, "linewidth": 1.2})


def _turn(figure: Figure, ax: Axes, half: int) -> None:
    """The line from the end of the first row back to the start of the second."""
    ax.plot([half - 0.53, half - 0.53, 0.47], [1.1, 0.98, 0.98], color=MUTED, linewidth=1.2)
    ax.annotate("", (0.47, 0.86), (0.47, 0.985), arrowprops={"arrowstyle": "-|>", "color": MUTED, "linewidth": 1.2})
