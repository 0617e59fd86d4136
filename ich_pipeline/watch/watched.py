"""One look at what the live version served: the windows, an alarm in words, a page and JSON."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ich_pipeline.config import Params, WatchParams
from ich_pipeline.core.errors import InputError
from ich_pipeline.core.files import write_json, write_text
from ich_pipeline.evaluation.proportions import wilson
from ich_pipeline.evaluation.style import ACCENT, MUTED, PALETTE, axis_labels, marked, new_figure, save, show_legend
from ich_pipeline.registry import versions
from ich_pipeline.registry.remembered import Version
from ich_pipeline.report.render import embedded, render
from ich_pipeline.serving.bundle import REFERENCE, read_origin
from ich_pipeline.serving.code import BUNDLE
from ich_pipeline.watch.compare import Finding, Look, look
from ich_pipeline.watch.measurements import Measurements
from ich_pipeline.watch.record import Log, Served, one_a_patient, place, read

if TYPE_CHECKING:
    from matplotlib.axes import Axes

PAGE, JSON = "watch.html", "watch.json"
NAMED = 3  # measurements in a sentence, at most
BINS = 24
LEAST_DAYS = 28  # of a record from which cases a year can be told
SIDES = (MUTED, PALETTE[0])  # reference, served


@dataclass(frozen=True)
class Watched:
    """What a look found.

    Attributes:
        version: that is watched.
        lines: of it, one a patient.
        unread: lines of the record that were cut off or changed.
        looks: the windows that are complete, small ones first.
        reference: of the version.
        params: the settings.
        data: what it learned from, and so what it is served: pictures of synthetic heads are marked.
    """

    version: Version
    lines: tuple[Served, ...]
    unread: int
    looks: tuple[Look, ...]
    reference: Measurements
    params: WatchParams
    data: str

    @property
    def alarm(self) -> bool:
        """Whether anything moved."""
        return any(one.moved for one in self.looks)

    @property
    def sentence(self) -> str:
        """What a person needs to know."""
        called = f"{self.version.name} version {self.version.number}"
        moved = [one for one in self.looks if one.moved]
        if moved:
            widest = moved[-1]
            named = "; ".join(one.sentence for one in widest.moved[:NAMED])
            more = len(widest.moved) - NAMED
            advice = "; ".join(dict.fromkeys(one.advice for one in widest.moved))
            return (
                f"Alarm: of the last {widest.cases} cases that {called} read ({_day(widest.begin)} to {_day(widest.end)}), "
                f"{named}{f'; and {more} more' if more > 0 else ''}. What to do: {advice}."
            )
        if not self.looks:
            return (
                f"{called} has read {len(self.lines)} patients that are in the record; the first window is complete with "
                f"{self.params.windows[0]}."
            )
        return (
            f"Nothing moved: {len(self.looks[-1].findings)} measurements of the last {self.looks[-1].cases} cases of {called} "
            f"(to {_day(self.looks[-1].end)}) are as in its reference."
        )

    @property
    def cautions(self) -> list[str]:
        """What to beware of in that sentence, a sentence each."""
        found = []
        if self.unread:
            found.append(f"{self.unread} lines of {place()} could not be read and do not count.")
        cases = self.reference.shares["suspected"][1]
        if cases < self.params.windows[-1]:
            found.append(f"The reference has {cases} cases: small shifts are not found, however many cases are served.")
        if (yearly := self._cases_a_year()) > self.params.cases_a_year:
            found.append(
                f"About {yearly:,.0f} cases are served a year, watch.cases_a_year in params.yaml says {self.params.cases_a_year:,}: "
                "raise it, or false alarms are more than it promises."
            )
        return found

    def to_json(self) -> dict[str, Any]:
        """``watch.json``."""
        return {
            "model": self.version.name,
            "version": self.version.number,
            "cases": len(self.lines),
            "lines_not_read": self.unread,
            "alarm": self.alarm,
            "sentence": self.sentence,
            "cautions": self.cautions,
            "windows": [one.to_json() for one in self.looks],
        }

    def publish(self, folder: Path) -> None:
        """Write page and JSON into a folder."""
        write_json(folder / JSON, self.to_json())
        write_text(folder / PAGE, self.page())

    def page(self) -> str:
        """One self-contained page."""
        with marked(self.data):
            looks = [
                {
                    "look": one,
                    "begin": _day(one.begin),
                    "end": _day(one.end),
                    "pictures": [(found, _picture(found, self.reference, one.served)) for found in one.moved],
                }
                for one in reversed(self.looks)
            ]
        waiting = [size for size in self.params.windows if size > len(self.lines)]
        return render("watch.html.j2", watched=self, looks=looks, waiting=waiting)

    def _cases_a_year(self) -> float:
        if not self.lines:
            return 0.0
        days = (datetime.now(UTC) - datetime.fromisoformat(self.lines[0].time)).total_seconds() / 86400
        return 365.25 * len(self.lines) / days if days >= LEAST_DAYS else 0.0


def watch(params: Params, record: Log | None = None) -> Watched:
    """Look at the live version.

    Args:
        params: the model's name, and how to watch.
        record: instead of what is kept here.

    Raises:
        InputError: there is no version, its files are not what was registered, or it carries no reference.
    """
    version = versions.live(params.registry.model_name)
    bundle = versions.verified_folder(version) / BUNDLE
    path = bundle / REFERENCE
    if not path.is_file():
        raise InputError(
            f"{version.name} version {version.number} was registered before served cases were watched, and carries nothing to "
            "compare them with: `make repro` registers one that does."
        )
    reference, log = Measurements.load(path), record or read()
    lines = tuple(one_a_patient(log.lines, version.name, version.number))
    found = [look(lines, window, reference, params.watch) for window in params.watch.windows]
    looks = tuple(one for one in found if one is not None)
    return Watched(version, lines, log.unread, looks, reference, params.watch, read_origin(bundle).data)


def _day(time: str) -> str:
    return time[:10]


def _picture(found: Finding, reference: Measurements, served: Measurements) -> str:
    """Reference beside served, as a data URI."""
    figure, (ax,) = new_figure(1, 6.4, 2.6)
    if found.name in reference.numbers:
        _draw_numbers(ax, found, reference, served)
    elif found.name in reference.shares:
        _draw_bars(ax, {"": (reference.shares[found.name], served.shares[found.name])})
    else:
        sides = (reference.groups[found.name], served.groups[found.name])
        totals = [sum(side.values()) for side in sides]
        names = sorted({*sides[0], *sides[1]}, key=lambda name: -sides[0].get(name, 0))
        before, now = (
            [(side.get(name, 0), total) for name in names] for side, total in zip(sides, totals, strict=True)
        )
        _draw_bars(ax, {name or "not stated": pair for name, *pair in zip(names, before, now, strict=True)})
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "picture.svg"
        save(figure, path)
        return embedded(path)


def _draw_numbers(ax: Axes, found: Finding, reference: Measurements, served: Measurements) -> None:
    sides = {"reference": reference.numbers[found.name], "served": served.numbers[found.name]}
    every = np.concatenate(list(sides.values()))
    low, high = every.min(), every.max()
    edges = np.linspace(low, high if high > low else low + 1, BINS + 1)
    for (name, values), colour in zip(sides.items(), SIDES, strict=True):
        weights = np.full(len(values), 100 / len(values))
        ax.hist(values, edges, weights=weights, color=colour, alpha=0.55, label=f"{name} ({len(values)})")
    axis_labels(ax, found.words, "% of cases")
    show_legend(ax, "upper left")


def _draw_bars(ax: Axes, rows: dict[str, Any]) -> None:
    """A pair of bars a row, with 95 % intervals."""
    for side, (name, colour) in enumerate(zip(("reference", "served"), SIDES, strict=True)):
        pairs = [pair[side] for pair in rows.values()]
        at = np.arange(len(rows)) + (0.2 if side else -0.2)
        shares = np.array([n / of for n, of in pairs])
        ends = np.array([wilson(n, of, 0.95) for n, of in pairs]).T
        off = np.abs(ends - shares)
        label = f"{name} ({pairs[0][1]})"
        ax.barh(at, 100 * shares, 0.36, color=colour, alpha=0.7, label=label, xerr=100 * off, ecolor=ACCENT)
    ax.set_yticks(np.arange(len(rows)), list(rows))
    ax.invert_yaxis()
    axis_labels(ax, "% of cases", "")
    show_legend(ax, "lower right")
