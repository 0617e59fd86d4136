"""The verdict *not read*: a scan that is unlike all that the system learned from.

A case is described by its scan numbers (:mod:`.scan_numbers`), and by the distance of its slices to the nearest training slices
in the network's features and in what lies where (:mod:`.nearest`); each is compared with the training cases', in their spreads.
The largest excess decides. Its limit is that of split conformal prediction (Vovk et al. 2005): of cases of the training kind that
the description never saw, the stated share is turned away. (With folds the limit is from descriptions of the other folds each, and
the description that ships is of all: nearly the same, and not exactly what that theory is about.) Nothing here reads a label.

Each slice has its two distances as well, with a limit of its own from the slices of the same cases: they say which slices of a scan
are strange, and turn no case away.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from math import ceil
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ich_pipeline.core.described_arrays import read_described, write_described
from ich_pipeline.core.errors import InputError
from ich_pipeline.precedent.nearest import Neighbourhood, layouts
from ich_pipeline.precedent.scan_numbers import MEASURED, looked_at, scan_numbers
from ich_pipeline.precedent.scans import Scans

SCHEMA = "precedent/2"
FILE = "precedent.npz"
AGAIN = "run `dvc repro -f precedent`, and register the model again"
DISTANCES = {
    "features": "what the network sees in its slices",
    "layout": "what lies where in its slices",
}
WORDS = (*MEASURED.values(), *DISTANCES.values())
NAMES = (*MEASURED, *DISTANCES)
# A training cohort of one scanner may have hardly any spread; smaller differences than these tell no kind of scan.
SMALLEST_SPREAD = {
    "brain_found": 0.05, "brain_median": 1.0, "brain_spread": 1.0, "brain_brightest": 2.0, "brain_low": 0.01, "sides": 0.5,
    "shape": 0.02, "grain": 0.1, "grain_size": 0.05, "thin": 0.1, "head_share": 0.02, "head_shape": 0.02, "tilt": 2.0,
    "skull_height": 0.01, "skull_side": 0.005, "skull_share": 0.01, "features": 0.05, "layout": 0.05,
}  # fmt: skip
# Share of the training cases by whose distance from the middle the spread is taken, and how many standard deviations that is
# where values are normal: far out, so that what a few training cases have is not unlike training.
OUTER, OUT = 0.95, 1.96
ALWAYS = 0.95  # of the training cases have a number that every scan is expected to have
NOT_MEASURED = 10.0  # spreads: in place of such a number where a scan has none
GROUPS = 5  # of patients, for the distances of training cases
NAMED = 3  # reasons in a sentence, at most
ARRAYS = ("centre", "spread", "expected", "slice_centre", "slice_spread")  # of the file, beside those of the spaces


@dataclass(frozen=True)
class SliceDistances:
    """How far each slice of a case is from the training slices.

    Attributes:
        excess: by a name of :data:`DISTANCES`, of every slice, how far beyond the middle of the held-out cases' slices, in
            their spreads; 0 where it is nearer than that.
        limit: of the larger of the two; of the held-out cases' slices about the share that was asked for lies beyond it.
    """

    excess: Mapping[str, tuple[float, ...]]
    limit: float

    @property
    def unlike(self) -> tuple[int, ...]:
        """Indices of the slices beyond the limit."""
        largest = np.max(list(self.excess.values()), axis=0)
        return tuple(np.flatnonzero(largest > self.limit).tolist())


@dataclass(frozen=True)
class Judgement:
    """Of one case.

    Attributes:
        unlike: what is beyond the limit, most first, for people; empty for a scan of the training kind.
        excess: by name, how far beyond the training cases' middle, in their spreads; of what is ``missing``, what counts in its
            place.
        missing: names of what this scan does not have, and was not measured.
        limit: of the largest excess.
        false_alarms: share of scans of the training kind that lies beyond ``limit``, as far as known. It is not the slices' share:
            their limit is from many more rows.
        slices: of the slices that were judged.
        described: by name, what was measured, NaN for what is ``missing``.
    """

    unlike: tuple[str, ...]
    excess: Mapping[str, float]
    missing: frozenset[str]
    limit: float
    false_alarms: float
    slices: SliceDistances
    described: Mapping[str, float]

    @property
    def measured(self) -> Mapping[str, float | None]:
        """The excess by name; None where this scan has no such number."""
        return {name: None if name in self.missing else value for name, value in self.excess.items()}

    @property
    def ranked(self) -> tuple[tuple[str, float | None], ...]:
        """What is compared, in words, and its excess as in ``measured``; what counts most first, as in ``unlike``."""
        words, found = dict(zip(NAMES, WORDS, strict=True)), self.measured
        return tuple((words[name], found[name]) for name in sorted(NAMES, key=lambda name: -self.excess[name]))

    @property
    def no_answer(self) -> str:
        """Why there is no answer; empty where there is one."""
        if not self.unlike:
            return ""
        more = len(self.unlike) - NAMED
        named = "; ".join(self.unlike[:NAMED]) + (f"; {more} more" if more > 0 else "")
        return f"not read: unlike the scans that the system learned from in {named}"


@dataclass(frozen=True)
class Precedent:
    """What scans the system learned from.

    Attributes:
        architecture: whose features.
        image_size: of the slices that are measured, pixels.
        lowest, highest: ends of the range that these are clipped to, HU.
        neighbours: nearest training slices that a distance is the mean over.
        features, layouts: the training slices.
        centre, spread: of each of :data:`NAMES` over the training cases.
        expected: which of them nearly every training case has.
        limit: of the largest excess.
        false_alarms: share of cases of the training kind that are turned away, as far as known.
        held_out: how many cases the limit is from.
        slice_centre, slice_spread: of the logs of :data:`DISTANCES` over the slices of these cases.
        slice_limit: of the larger excess of a slice.
        held: what was measured of the cases held out, (held_out, NAMES), for the watch over served cases
            (:mod:`ich_pipeline.watch`); None in versions from before there was one.
    """

    architecture: str
    image_size: int
    lowest: float
    highest: float
    neighbours: int
    features: Neighbourhood
    layouts: Neighbourhood
    centre: NDArray[np.float64]
    spread: NDArray[np.float64]
    expected: NDArray[np.bool_]
    limit: float
    false_alarms: float
    held_out: int
    slice_centre: NDArray[np.float64]
    slice_spread: NDArray[np.float64]
    slice_limit: float
    held: NDArray[np.float64] | None = None

    def judge_slices(
        self, pictures: Any, features_of: Callable[[NDArray[np.integer]], NDArray[np.floating]]
    ) -> Judgement:
        """One case by its slices.

        Args:
            pictures: (n, image_size, image_size) prepared slices, HU.
            features_of: pooled features (m, F) of chosen ones of these slices, by ``architecture``.
        """
        every, rows = np.asarray(pictures), looked_at(len(pictures))
        numbers = scan_numbers(every[rows], self.lowest, self.highest)
        return self.judge(numbers, features_of(np.arange(len(every))), layouts(every, self.lowest), rows)

    def judge(
        self,
        numbers: NDArray[np.float64],
        features: NDArray[np.floating],
        layouts: NDArray[np.floating],
        rows: NDArray[np.integer] | None = None,
    ) -> Judgement:
        """One case.

        Args:
            numbers: of the case, (numbers,).
            features, layouts: of its slices, (n, F) and (n, fields).
            rows: the slices that the case is judged by; None: all of them.
        """
        whole = Scans(numbers[None], features, layouts, np.zeros(len(features), np.intp), np.zeros(1, np.intp))
        apart = self._apart(whole)
        by = apart if rows is None else apart[rows]
        return self._judged(_of_cases(numbers[None], by, np.zeros(len(by), np.intp))[0], apart)

    def judge_all(self, scans: Scans) -> list[Judgement]:
        """Of many cases, in their order."""
        apart = self._apart(scans)
        described = _of_cases(scans.numbers, apart, scans.case)
        return [self._judged(of_case, apart[scans.case == k]) for k, of_case in enumerate(described)]

    def not_read(self, described: NDArray[np.float64]) -> NDArray[np.bool_]:
        """Which of cases that are described as :attr:`held` are beyond the limit, (cases,)."""
        return self._excess(described).max(axis=1, initial=0.0) > self.limit

    def _judged(self, described: NDArray[np.float64], apart: NDArray[np.float64]) -> Judgement:
        excess = self._excess(described[None])[0]
        order = np.argsort(-excess, kind="stable")
        unlike = tuple(WORDS[k] for k in order if excess[k] > self.limit)
        named = {name: float(value) for name, value in zip(NAMES, excess, strict=True)}
        missing = frozenset(name for name, value in zip(NAMES, described, strict=True) if np.isnan(value))
        columns = _slice_excess(apart, self.slice_centre, self.slice_spread).T
        by_slice = {name: tuple(column.tolist()) for name, column in zip(DISTANCES, columns, strict=True)}
        slices = SliceDistances(by_slice, self.slice_limit)
        values = {name: float(value) for name, value in zip(NAMES, described, strict=True)}
        return Judgement(unlike, named, missing, self.limit, self.false_alarms, slices, values)

    def _apart(self, scans: Scans) -> NDArray[np.float64]:
        """Log distances of the slices to the training slices, (slices, DISTANCES)."""
        spaces = ((self.features, scans.features), (self.layouts, scans.layouts))
        return np.stack([space.distances(of_slices, self.neighbours) for space, of_slices in spaces], axis=1)

    def _described(self, scans: Scans) -> NDArray[np.float64]:
        """(cases, NAMES)."""
        return _of_cases(scans.numbers, self._apart(scans), scans.case)

    def _excess(self, described: NDArray[np.float64]) -> NDArray[np.float64]:
        """How far from the middle, in spreads, (cases, NAMES); a distance only where it is large.

        Where a case has no such number it is what counts in its place: :data:`NOT_MEASURED` if it was expected, else 0.
        """
        away = (described - self.centre) / self.spread
        first = len(MEASURED)
        away[:, :first] = np.abs(away[:, :first])
        return np.where(np.isnan(away), np.where(self.expected, NOT_MEASURED, 0.0), np.maximum(away, 0.0))

    def save(self, path: Path) -> None:
        """Write one ``.npz``; equal content gives equal bytes."""
        names = ("architecture", "image_size", "lowest", "highest", "neighbours", "limit", "false_alarms", "held_out")
        about = {"names": NAMES, **{name: getattr(self, name) for name in (*names, "slice_limit")}}
        arrays = {**self.features.to_arrays("features"), **self.layouts.to_arrays("layouts")}
        arrays |= {name: getattr(self, name) for name in ARRAYS}
        arrays |= {} if self.held is None else {"held": self.held}
        write_described(path, SCHEMA, about, arrays)

    @classmethod
    def load(cls, path: Path) -> Precedent:
        """Read what :meth:`save` wrote.

        Raises:
            InputError: the file is missing, damaged, or of another version.
        """
        about, arrays = read_described(path, SCHEMA, AGAIN)
        if tuple(about.pop("names")) != NAMES:
            raise InputError(f"{path} describes scans by other numbers than this version: {AGAIN}.")
        return cls(
            **about,
            features=Neighbourhood.from_arrays("features", arrays),
            layouts=Neighbourhood.from_arrays("layouts", arrays),
            centre=arrays["centre"],
            spread=arrays["spread"],
            expected=arrays["expected"],
            slice_centre=arrays["slice_centre"],
            slice_spread=arrays["slice_spread"],
            held=arrays.get("held"),
        )


@dataclass(frozen=True)
class Seen:
    """What is measured, and how: the part of :class:`Precedent` that no cohort decides."""

    architecture: str
    image_size: int
    lowest: float
    highest: float
    neighbours: int


def fit_precedent(
    seen: Seen, learned: Scans, held_out: Scans | Sequence[NDArray[np.bool_]], false_alarms: float
) -> Precedent:
    """Describe the training cases, and choose the limit by cases that the description does not know.

    Args:
        seen: what is measured.
        learned: cases that the system learned from.
        held_out: cases of the same kind that it did not learn from; or, where there are none, the folds of ``learned``, each of
            which is held out in its turn.
        false_alarms: share of cases of the training kind to turn away. With few cases held out (of 5 %: up to 38) the limit is the
            largest excess among them, and :attr:`Precedent.false_alarms` says what that gives: with under 19 more than 5 %.

    Raises:
        InputError: no case is held out.
    """
    whole = _describe(seen, learned)
    if isinstance(held_out, Scans):
        parts = [(whole, held_out)]
    else:
        parts = [(_describe(seen, learned.of(~fold)), learned.of(fold)) for fold in held_out]
    count = sum(len(scans.numbers) for _, scans in parts)
    if not count:
        raise InputError(
            "There is no case to choose the limit of strange scans by: raise split.validation in params.yaml."
        )
    apart = [precedent._apart(scans) for precedent, scans in parts]
    held = [_of_cases(scans.numbers, of_slices, scans.case) for (_, scans), of_slices in zip(parts, apart, strict=True)]
    largest = [precedent._excess(of_cases).max(axis=1) for (precedent, _), of_cases in zip(parts, held, strict=True)]
    limit, rank = _limit(np.concatenate(largest), false_alarms)
    slices = np.concatenate(apart)
    centre, spread = _middle(slices, [SMALLEST_SPREAD[name] for name in DISTANCES])
    return replace(
        whole,
        limit=limit,
        false_alarms=1 - rank / (count + 1),
        held_out=count,
        slice_centre=centre,
        slice_spread=spread,
        slice_limit=_limit(_slice_excess(slices, centre, spread).max(axis=1), false_alarms)[0],
        held=np.concatenate(held),
    )


def _limit(largest: NDArray[np.float64], false_alarms: float) -> tuple[float, int]:
    """The limit of split conformal prediction, and its rank among what was held out."""
    rank = min(ceil((len(largest) + 1) * (1 - false_alarms)), len(largest))
    # Cases held out may be fewer and more alike than those described: what some of these have is never strange.
    return max(float(np.sort(largest)[rank - 1]), OUT), rank


def _middle(
    described: NDArray[np.float64], smallest: Sequence[float]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Middle and spread of each column, which may hold NaN."""
    columns = [column[~np.isnan(column)] for column in described.T]
    columns = [column if len(column) else np.zeros(1) for column in columns]
    centre = np.array([np.median(column) for column in columns])
    outer = [np.quantile(np.abs(column - middle), OUTER) for column, middle in zip(columns, centre, strict=True)]
    return centre, np.maximum(np.array(outer) / OUT, smallest)


def _slice_excess(
    apart: NDArray[np.float64], centre: NDArray[np.float64], spread: NDArray[np.float64]
) -> NDArray[np.float64]:
    """(slices, DISTANCES), in spreads."""
    return np.maximum((apart - centre) / spread, 0.0)


def _of_cases(
    numbers: NDArray[np.float64], apart: NDArray[np.float64], case: NDArray[np.integer]
) -> NDArray[np.float64]:
    """(cases, NAMES): the numbers of cases, and the medians over their slices of these slices' log distances."""
    medians = [np.median(apart[case == k], axis=0) for k in range(len(numbers))]
    return np.concatenate([numbers, np.stack(medians)], axis=1)


def _describe(seen: Seen, learned: Scans) -> Precedent:
    """Without a limit."""
    made = _spaces(seen, learned)
    described = np.empty((len(learned.numbers), len(NAMES)))
    # As far as a slice of a stranger would be: from spaces that know nothing of its patient.
    group = np.unique(learned.owners, return_inverse=True)[1] % GROUPS
    for k in np.unique(group):
        rest = learned.of(group != k) if (group != k).any() else learned
        described[group == k] = _spaces(seen, rest)._described(learned.of(group == k))
    centre, spread = _middle(described, [SMALLEST_SPREAD[name] for name in NAMES])
    return replace(made, centre=centre, spread=spread, expected=(~np.isnan(described)).mean(axis=0) >= ALWAYS)


def _spaces(seen: Seen, learned: Scans) -> Precedent:
    """With the spaces of the slices alone."""
    return Precedent(
        **vars(seen),
        features=Neighbourhood.of(learned.features),
        layouts=Neighbourhood.of(learned.layouts),
        centre=np.zeros(len(NAMES)),
        spread=np.ones(len(NAMES)),
        expected=np.ones(len(NAMES), bool),
        limit=np.inf,
        false_alarms=0.0,
        held_out=0,
        slice_centre=np.zeros(len(DISTANCES)),
        slice_spread=np.ones(len(DISTANCES)),
        slice_limit=np.inf,
    )
