"""Served cases against the reference of their version: what moved, and how often that is said of what did not.

Cases are compared in windows of several sizes (``watch.windows``), each the last complete one of its size, counted from the first
case of the version: 1–100, 101–200, …. So a look is decided by the cases and not by who looks how often, and each case stands in one
window of a size. Small windows find large shifts soon, large ones small shifts.

A window has many measurements, each with a two-sample test: Kolmogorov and Smirnov's for numbers, Fisher's for shares and groups.
Benjamini and Hochberg's procedure says which moved. While nothing moves, whatever it names is false, and it names
something in at most the share *level* of the windows (were the measurements independent; related ones name less, see the
benchmark). The levels are such that all windows of a year give ``watch.false_alarms_a_year`` together:
level = false alarms a year ÷ sizes × size ÷ cases a year, at most :data:`HIGHEST`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ich_pipeline.config import WatchParams
from ich_pipeline.watch.measurements import GROUPS, NUMBERS, SCORE, SHARES, Measurements, of_served
from ich_pipeline.watch.record import Served

LEAST = 10  # cases with a measurement, on both sides; with fewer it is not compared
HIGHEST = 0.05  # level of a window, whatever the budget: who serves few cases looks seldom
FILES = ("set_aside", "rejected", "failed")
DO_SCANS = (
    "ask radiology whether a scanner, a kernel or a protocol changed; until verdicts on such scans say how well they are read "
    "(`ich feedback`), take their scores with care, and let them join the next training"
)
DO_SCORES = (
    "ask whether other patients are sent now; collect verdicts (`ich feedback`), and where sensitivity or predictive value fell, "
    "go back (`ich rollback`) or train anew"
)
DO_FILES = "compare an export of today with one of before: `ich ingest` says of each file why it is not used"


@dataclass(frozen=True)
class Finding:
    """One measurement in one window.

    Attributes:
        name: of :mod:`ich_pipeline.watch.measurements`.
        words: what it is, for people.
        reference, served: how it is there, for people.
        p: of the two-sample test.
        adjusted: for all measurements of the window (Benjamini and Hochberg).
        moved: whether that is below the window's level.
    """

    name: str
    words: str
    reference: str
    served: str
    p: float
    adjusted: float
    moved: bool

    @property
    def sentence(self) -> str:
        """What moved, and by how much."""
        return f"{self.words}: {self.served}, was {self.reference}"

    @property
    def advice(self) -> str:
        """What to do."""
        if self.name in FILES:
            return DO_FILES
        return DO_SCORES if self.name.startswith(SCORE) or self.name == "suspected" else DO_SCANS


@dataclass(frozen=True)
class Look:
    """One window.

    Attributes:
        cases: its size.
        begin, end: times of its first and last case.
        level: share of such windows that name something while nothing moves, at most.
        findings: those that moved first, by p.
        served: its measurements.
    """

    cases: int
    begin: str
    end: str
    level: float
    findings: tuple[Finding, ...]
    served: Measurements

    @property
    def moved(self) -> tuple[Finding, ...]:
        """What moved."""
        return tuple(one for one in self.findings if one.moved)

    def to_json(self) -> dict[str, Any]:
        """JSON values, without the measurements."""
        findings = [{**vars(one), "advice": one.advice if one.moved else None} for one in self.findings]
        return {"cases": self.cases, "begin": self.begin, "end": self.end, "level": self.level, "findings": findings}


def level(window: int, params: WatchParams) -> float:
    """Of windows of a size."""
    looks = params.cases_a_year / window
    return min(HIGHEST, params.false_alarms_a_year / len(params.windows) / looks)


def look(lines: Sequence[Served], window: int, reference: Measurements, params: WatchParams) -> Look | None:
    """The last complete window of a size; None where there is none yet.

    Args:
        lines: of one version, one a patient, in their order.
        window: its size.
        reference: of the version.
        params: the other sizes, and how many false alarms there may be.
    """
    end = len(lines) // window * window
    if not end:
        return None
    chosen = lines[end - window : end]
    served, of_window = of_served(chosen), level(window, params)
    found = tuple(compare(reference, served, of_window))
    return Look(window, chosen[0].time, chosen[-1].time, of_window, found, served)


def compare(reference: Measurements, served: Measurements, level: float) -> list[Finding]:
    """Every measurement that both have of :data:`LEAST` cases or more, by p.

    Args:
        reference, served: of two samples of cases.
        level: of the false discovery rate.
    """
    from statsmodels.stats.multitest import multipletests

    found = [*_numbers(reference, served), *_shares(reference, served), *_groups(reference, served)]
    if not found:
        return []
    p = [one[-1] for one in found]
    moved, adjusted = (np.asarray(one) for one in multipletests(p, alpha=level, method="fdr_bh")[:2])
    findings = [
        Finding(*words, p=of, adjusted=float(a), moved=bool(m))
        for (*words, of), a, m in zip(found, adjusted, moved, strict=True)
    ]
    return sorted(findings, key=lambda one: (one.p, one.name))


def words_of(name: str) -> str:
    """A measurement for people."""
    if name.startswith(SCORE):
        return f"the case score of {name.removeprefix(SCORE).replace('_', ' ')}"
    return {**NUMBERS, **SHARES, **GROUPS}[name]


_Found = tuple[str, str, str, str, float]  # the fields of Finding up to p


def _numbers(reference: Measurements, served: Measurements) -> list[_Found]:
    from scipy.stats import ks_2samp

    found = []
    for name, before in reference.numbers.items():
        now = served.numbers.get(name, np.empty(0))
        if min(len(before), len(now)) >= LEAST:
            test: Any = ks_2samp(before, now)
            texts = (_quartiles(before), _quartiles(now) + _most(name, reference, served))
            found.append((name, words_of(name), *texts, float(test.pvalue)))
    return found


def _shares(reference: Measurements, served: Measurements) -> list[_Found]:
    found = []
    for name, (before, of_before) in reference.shares.items():
        now, of_now = served.shares[name]
        if min(of_before, of_now) >= LEAST:
            p = _fisher([[before, of_before - before], [now, of_now - now]])
            texts = [f"{100 * n / of:.3g} % ({n} of {of})" for n, of in ((before, of_before), (now, of_now))]
            found.append((name, words_of(name), *texts, p))
    return found


def _groups(reference: Measurements, served: Measurements) -> list[_Found]:
    """Each group against all others, by Fisher's test; the smallest p times their number (Bonferroni): a new scanner is one group."""
    found = []
    for name, before in reference.groups.items():
        now = served.groups[name]
        totals = [sum(side.values()) for side in (before, now)]
        if min(totals) < LEAST:
            continue
        counts = [[side.get(key, 0) for side in (before, now)] for key in {*before, *now}]
        p = [_fisher([of_group, np.subtract(totals, of_group)]) for of_group in counts]
        found.append((name, words_of(name), _shown(before), _shown(now), min(1.0, len(p) * min(p))))
    return found


def _fisher(table: Any) -> float:
    from scipy.stats import fisher_exact

    found: Any = fisher_exact(table)
    return float(found.pvalue)


def _quartiles(values: NDArray[np.float64]) -> str:
    low, middle, high = np.quantile(values, (0.25, 0.5, 0.75))
    return f"median {middle:.3g} ({low:.3g} to {high:.3g})"


def _most(name: str, reference: Measurements, served: Measurements) -> str:
    """Of files that are not used: the reason that rose most."""
    if name not in FILES:
        return ""
    rose = {code: share - reference.reasons.get(code, 0.0) for code, share in served.reasons.items() if code != "used"}
    code = max(rose, key=lambda one: rose[one], default="")
    before = reference.reasons.get(code, 0.0)
    return f", {code} in {100 * served.reasons[code]:.0f} % of cases, was {100 * before:.0f} %" if code else ""


def _shown(counts: Mapping[str, int]) -> str:
    total = sum(counts.values())
    most = sorted(counts, key=lambda key: (-counts[key], key))
    return ", ".join(f"{key or 'not stated'} {100 * counts[key] / total:.0f} %" for key in most)
