"""How every chart of the evaluation looks: quiet axes, colours that colour-blind readers can tell apart."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from contextvars import ContextVar
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from ich_pipeline.core.files import atomic_file
from ich_pipeline.tables.cohort_mark import SYNTHETIC

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

INK = "#1d2733"
MUTED = "#8a94a0"
ACCENT = "#0b5d8f"
# Okabe and Ito (2008), without yellow (too faint as a line) and black (kept for "any").
PALETTE = ("#d55e00", "#0072b2", "#009e73", "#cc79a7", "#e69f00", "#56b4e9")
POINT_MARKERS = {"high_sensitivity": "^", "balanced": "o", "high_specificity": "v"}
READER_MARKERS = ("D", "s", "P", "X", "p", "h")
DPI = 150
SVG_DPI = 100  # of pictures inside an SVG: a figure of 10 inches is shown about 1,000 pixels wide
_footer: ContextVar[str] = ContextVar("footer", default="")


def new_figure(columns: int, width: float, height: float, rows: int = 1) -> tuple[Figure, list[Axes]]:
    """A figure of ``rows`` × ``columns`` styled axes, sizes in inches; no pyplot, so no global state."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained", facecolor="white")
    FigureCanvasAgg(figure)
    axes = [figure.add_subplot(rows, columns, i + 1) for i in range(rows * columns)]
    for ax in axes:
        ax.spines[["top", "right"]].set_visible(False)
        ax.spines[["left", "bottom"]].set_color(MUTED)
        ax.tick_params(colors=INK, labelsize=9, length=3, color=MUTED)
        ax.grid(color="#e6e9ec", linewidth=0.7)
        ax.set_axisbelow(True)
    return figure, axes


def title(ax: Axes, text: str, note: str = "") -> None:
    """A left-aligned title with a smaller note under it."""
    ax.set_title(text, loc="left", fontsize=12, fontweight="bold", color=INK, pad=22 if note else 8)
    if note:
        ax.text(0, 1.015, note, transform=ax.transAxes, fontsize=9, color=MUTED, va="bottom")


def axis_labels(ax: Axes, x: str, y: str) -> None:
    """Name both axes."""
    ax.set_xlabel(x, fontsize=10, color=INK)
    ax.set_ylabel(y, fontsize=10, color=INK)


def chance(ax: Axes) -> None:
    """The diagonal."""
    ax.plot([0, 1], [0, 1], color=MUTED, linewidth=1, linestyle=(0, (4, 3)), label="chance")


def mark(ax: Axes, x: float, y: float, marker: str, label: str, colour: str = INK) -> None:
    """A hollow point above the curves."""
    ax.plot(
        [x],
        [y],
        marker,
        color="white",
        markeredgecolor=colour,
        markeredgewidth=1.6,
        markersize=8,
        label=label,
        zorder=5,
        clip_on=False,
    )


def show_legend(ax: Axes, where: Literal["upper left", "lower right"]) -> None:
    """A legend inside the axes."""
    ax.legend(loc=where, fontsize=8, frameon=True, framealpha=0.92, edgecolor="none", labelcolor=INK)


def unit_square(ax: Axes) -> None:
    """Both axes 0 to 1, of equal length."""
    ax.set_xlim(-0.01, 1.01)
    ax.set_ylim(-0.01, 1.01)
    ax.set_aspect("equal", anchor="N")  # what room is left goes below, where a legend may stand


@contextlib.contextmanager
def marked(data: str) -> Iterator[None]:
    """Every figure that is saved inside says in its footer what heads it is of, where these are synthetic.

    Args:
        data: see :func:`ich_pipeline.tables.cohort_mark.data_words`.
    """
    token = _footer.set("synthetic heads (phantom): not a figure of patients" if data == SYNTHETIC else "")
    try:
        yield
    finally:
        _footer.reset(token)


def save(figure: Figure, *targets: Path) -> None:
    """Write a PNG, or an SVG by its suffix, atomically, without date, name and version of the software in it.

    CT pictures inside an SVG are PNGs of :data:`SVG_DPI`, its letters are text.

    Dollar signs in it are dollar signs: names of findings and readers come from tables, and are no formulas.
    """
    import matplotlib as mpl
    from matplotlib.text import Text

    if _footer.get():
        figure.supxlabel(_footer.get(), x=0.995, ha="right", fontsize=7, color=MUTED)

    # Without a salt the names inside an SVG are drawn at random.
    settings: dict[Any, Any] = {"svg.hashsalt": "ich", "svg.fonttype": "none", "text.parse_math": False}
    for text in figure.findobj(Text):
        text.set_parse_math(False)  # type: ignore[attr-defined]  # of what was made before; ticks are made as it is drawn
    for target in targets:
        vector = target.suffix == ".svg"
        metadata = {"Date": None, "Creator": None} if vector else {"Software": None}
        with atomic_file(target) as partial, mpl.rc_context(settings):
            figure.savefig(partial, dpi=SVG_DPI if vector else DPI, metadata=metadata)
