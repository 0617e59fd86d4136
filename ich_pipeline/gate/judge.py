"""The gate: may a challenger take the champion's place? Both are judged by the same cases, patient by patient.

What is said of the area under the ROC curve of the cases rests on two intervals of the paired difference, the bootstrap's
by patient and DeLong's with patients as clusters, and on the wider end of both. *better*: it lies above 0. *worse*: below 0.
*not worse*: above minus the margin, which params fix beforehand (non-inferiority; Piaggio et al. 2012, doi
10.1001/jama.2012.87802). Anything else is *cannot decide*, and so are too few patients and different cases: never a pass.
Decisions, calibration, subgroups and cautions can only take a pass away.

Both intervals are too short where few patients are ranked almost without error: by chance nobody is ranked otherwise, and
that looks like certainty. So DeLong's variance gets what one patient more of each class would add, who is ranked otherwise
against half of the other class (Agresti and Min 2005, doi 10.1002/sim.1781, do likewise with decisions). Without it more
than twice alpha of inferior challengers pass (``benchmarks/null_challengers.py``).
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.stats import norm

from ich_pipeline.config import GateParams
from ich_pipeline.ensemble.operating_points import OperatingPoint
from ich_pipeline.ensemble.ranking import Ranked
from ich_pipeline.evaluation.agreement import mcnemar
from ich_pipeline.evaluation.bootstrap import draw_counts, interval
from ich_pipeline.evaluation.delong import delong, paired_test
from ich_pipeline.evaluation.metrics import Estimate, Level, label_metrics, ranking_metrics
from ich_pipeline.gate.scores import GAPS, GROUPS, CaseScores

Verdict = Literal["better", "not worse", "worse", "cannot decide"]
PASSES: tuple[Verdict, ...] = ("better", "not worse")
PSEUDO = 0.5  # of the other class, that a patient more would be ranked otherwise against


@dataclass(frozen=True)
class Check:
    """One question and its answer.

    Attributes:
        name: of the question.
        verdict: the answer.
        sentence: with the figures, for people; without a full stop.
        figures: the same as numbers.
    """

    name: str
    verdict: Verdict
    sentence: str
    figures: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Judgement:
    """All answers and what follows from them.

    Attributes:
        test, test_set: by which cases; as of :class:`~ich_pipeline.gate.scores.CaseScores`.
        checks: the one that the verdict *better* or *not worse* is taken from comes first.
    """

    test: str
    test_set: str
    checks: tuple[Check, ...]

    @property
    def verdict(self) -> Verdict:
        """*worse* where one check says so, else *cannot decide* where one says that, else what the first says."""
        said = {check.verdict for check in self.checks}
        return "worse" if "worse" in said else "cannot decide" if "cannot decide" in said else self.checks[0].verdict

    @property
    def passes(self) -> bool:
        """Whether the challenger may become the champion."""
        return self.verdict in PASSES

    @property
    def sentence(self) -> str:
        """The verdict and what it rests on: for a refusal every check that refuses."""
        told = self.checks[:1] if self.passes else [c for c in self.checks if c.verdict not in PASSES]
        return f"{self.verdict} on {self.test}: {'; '.join(check.sentence for check in told)}"

    def to_json(self) -> dict[str, Any]:
        """Plain values, figures to six digits."""
        checks = [
            {
                "name": c.name,
                "verdict": c.verdict,
                "sentence": c.sentence,
                "figures": {key: round(value, 6) for key, value in c.figures.items()},
            }
            for c in self.checks
        ]
        return {"verdict": self.verdict, "test": self.test, "test_set": self.test_set, "checks": checks}


def undecided(test: str, name: str, sentence: str, test_set: str = "") -> Judgement:
    """A judgement of what cannot be compared at all."""
    return Judgement(test, test_set, (Check(name, "cannot decide", sentence),))


def judge(challenger: CaseScores, champion: CaseScores | None, params: GateParams, seed: int) -> Judgement:
    """Compare two versions; without a champion, the first one with the floors.

    Args:
        challenger, champion: of the same test.
        params: margins, floors, the least number of patients.
        seed: of the bootstrap's draws.
    """
    test, cases = challenger.test, challenger.cases
    for asked, reason in (("same cases", _different(challenger, champion)), ("patients", _too_few(cases, params))):
        if reason:
            return undecided(test, asked, reason, challenger.test_set)
    patients = pd.factorize(cases["patient"], sort=True)[0]
    level = Level(patients, draw_counts(int(patients.max()) + 1, params.bootstrap, seed))
    confidence = 1.0 - 2.0 * params.alpha
    if champion is None:
        checks = _floors(cases, level, params, confidence)
    else:
        checks = [
            area(cases, champion.cases, level, params),
            *_decisions(cases, champion.cases, patients, params),
            *_calibration(cases, champion.cases, level, params, confidence),
            _cautions(challenger, champion),
        ]
    return Judgement(test, challenger.test_set, (*checks, _subgroups(cases, params)))


def _different(challenger: CaseScores, champion: CaseScores | None) -> str | None:
    """Why two versions were not judged by the same cases; None where they were."""
    if champion is None:
        return None
    if (challenger.test, challenger.test_set) != (champion.test, champion.test_set):
        return (
            f"the two were not tested on the same cases ({challenger.test} {challenger.test_set[:12]}, the champion's "
            f"{champion.test} {champion.test_set[:12]}), and a champion may have learned from patients of another test"
        )
    same = ["case", "patient", "truth", "slices"]
    if not challenger.cases[same].equals(champion.cases[same]):
        return "the two have different cases, though the labels of their tests are the same"
    return None


def _too_few(cases: pd.DataFrame, params: GateParams) -> str | None:
    """Why this test decides nothing; None where it has enough patients of both classes."""
    counts = cases.groupby("truth")["patient"].nunique()
    positive, negative = int(counts.get(1, 0)), int(counts.get(0, 0))
    if min(positive, negative) >= params.minimum_patients:
        return None
    return f"{positive} positive and {negative} negative patients, {params.minimum_patients} of each are needed"


def area(cases: pd.DataFrame, before: pd.DataFrame, level: Level, params: GateParams) -> Check:
    """The area under the ROC curve of the cases; the one check that can say *better*.

    Args:
        cases, before: of the challenger and of the champion (:attr:`~ich_pipeline.gate.scores.CaseScores.cases`).
        level: whose the cases are, and the bootstrap's draws.
        params: alpha and margin.
    """
    new, old = _auc(cases, level), _auc(before, level)
    gain = new.gain_over(old)
    test = paired_test(cases["score"], before["score"], cases["truth"], level.patients)
    assert new.value is not None and old.value is not None and gain.value is not None
    drawn, (low, high) = _ends(gain, test.standard_error, cases, params.alpha)
    margin = params.margins.auc
    verdict: Verdict = (
        "better" if low > 0 else "worse" if high < 0 else "not worse" if low > -margin else "cannot decide"
    )
    sentence = (
        f"AUC of the cases {new.value:.3f}, the champion's {old.value:.3f}, difference {_signed(gain.value, low, high)}"
    )
    figures = {"challenger": new.value, "champion": old.value, "difference": gain.value, "low": low, "high": high}
    figures["bootstrap_low"], figures["bootstrap_high"] = drawn
    if np.isfinite(test.p):
        figures["delong_p"] = test.p
        sentence += f", DeLong p {test.p:.2g}"
    if verdict == "cannot decide":
        sentence += f": the interval reaches beyond the margin of {margin:g}"
    return Check("AUC", verdict, sentence, figures)


def _auc(cases: pd.DataFrame, level: Level) -> Estimate:
    return ranking_metrics(cases["score"].to_numpy(), cases["truth"].to_numpy(), level, ["auc"])["auc"]


Ends = tuple[float, float]


def _ends(of: Estimate, standard_error: float, cases: pd.DataFrame, alpha: float) -> tuple[Ends, Ends]:
    """The bootstrap's interval, and the wider ends of it and DeLong's with one patient more of each class.

    Args:
        of: an area or a difference of areas.
        standard_error: DeLong's; NaN where nothing varies.
        cases: whose area it is.
        alpha: one-sided.
    """
    assert of.value is not None and of.replicates is not None
    added = (PSEUDO / cases.groupby("truth")["patient"].nunique().to_numpy()) ** 2
    half = float(norm.isf(alpha) * np.sqrt(np.nan_to_num(standard_error) ** 2 + added.sum()))
    drawn = interval(of.replicates, 1.0 - 2.0 * alpha) or (of.value, of.value)
    return drawn, (min(drawn[0], of.value - half), max(drawn[1], of.value + half))


def _decisions(
    cases: pd.DataFrame, before: pd.DataFrame, patients: NDArray[np.integer], params: GateParams
) -> list[Check]:
    """McNemar's mid-p of who decides right, each patient counted once, by the sum over his cases."""
    checks = []
    for name, value in (("sensitivity", 1), ("specificity", 0)):
        kept = cases["truth"].to_numpy() == value
        new, old = (t["called"].to_numpy()[kept] == bool(value) for t in (cases, before))
        net = np.bincount(patients[kept], weights=new.astype(float) - old)
        found = mcnemar(int((net > 0).sum()), int((net < 0).sum()))
        worse = found.only_second > found.only_first and found.mid_p < 2.0 * params.alpha
        checks.append(
            Check(
                name,
                "worse" if worse else "not worse",
                f"{name} {new.mean():.3f}, the champion's {old.mean():.3f}; {found.only_first} patients are decided better, "
                f"{found.only_second} worse (McNemar mid-p {found.mid_p:.2g})",
                {
                    "challenger": float(new.mean()),
                    "champion": float(old.mean()),
                    "better": found.only_first,
                    "worse": found.only_second,
                    "mcnemar_mid_p": found.mid_p,
                },
            )
        )
    return checks


def _calibration(
    cases: pd.DataFrame, before: pd.DataFrame, level: Level, params: GateParams, confidence: float
) -> list[Check]:
    """Brier score and calibration error of the slices, lower is better: how much the challenger's are above."""
    rows = level.by_patient(cases["slices"].to_numpy(float))
    checks = []
    for name, columns, margin in (
        ("Brier score", ["squared"], params.margins.brier),
        ("calibration error", list(GAPS), params.margins.ece),
    ):
        sums = [level.by_patient(table[columns].to_numpy(float)) for table in (cases, before)]
        new, old = (float(np.abs(of.sum(axis=0)).sum() / rows.sum()) for of in sums)
        drawn = [np.abs(level.drawn(of)).sum(axis=1) / level.drawn(rows) for of in sums]
        low, high = interval(drawn[0] - drawn[1], confidence) or (-1.0, 1.0)
        verdict: Verdict = "not worse" if high <= margin else "worse" if low > margin else "cannot decide"
        beyond = "" if verdict == "not worse" else f", beyond the margin of {margin:g}"
        checks.append(
            Check(
                name,
                verdict,
                f"{name} of the slices {new:.4f}, the champion's {old:.4f}, difference {_signed(new - old, low, high, 4)}{beyond}",
                {"challenger": new, "champion": old, "difference": new - old, "low": low, "high": high},
            )
        )
    return checks


def _cautions(challenger: CaseScores, champion: CaseScores) -> Check:
    """Whether the challenger's tests leave open what the champion's show; figures in brackets aside."""
    known = {_plain(one) for one in champion.cautions}
    new = [_plain(one) for one in challenger.cautions if _plain(one) not in known]
    if new:
        return Check("cautions", "cannot decide", f"the champion has not this caution: {' / '.join(new)}")
    return Check("cautions", "not worse", "no caution that the champion has not")


def _plain(caution: str) -> str:
    return caution.partition(" (")[0].removesuffix(".")


def _floors(cases: pd.DataFrame, level: Level, params: GateParams, confidence: float) -> list[Check]:
    """The first model: each figure's lower end has to reach its floor."""
    truth, ranked = cases["truth"].to_numpy(), _auc(cases, level)
    assert ranked.value is not None
    variance = float(delong(cases["score"], truth, level.patients).covariance[0, 0])
    _, (low, high) = _ends(ranked, math.sqrt(variance), cases, params.alpha)
    called = label_metrics(cases["called"].to_numpy(float), truth, {"decision": OperatingPoint(0.5, None, None)}, level)
    found = {"auc": (ranked.value, low, min(high, 1.0))}
    for name in ("sensitivity", "specificity"):
        entry = called[f"{name}@decision"].to_json(confidence)
        low, high = (0.0, 1.0) if entry["low"] is None else (entry["low"], entry["high"])
        found[name] = (entry["value"], low, high)
    checks = []
    for name, (value, low, high) in found.items():
        floor = getattr(params.floors, name)
        verdict: Verdict = "not worse" if low >= floor else "worse" if high < floor else "cannot decide"
        sentence = (
            f"{'AUC of the cases' if name == 'auc' else name} {value:.3f} ({low:.3f} to {high:.3f}), floor {floor:g}"
        )
        checks.append(Check(name, verdict, sentence, {"value": value, "low": low, "high": high, "floor": floor}))
    return checks


def _subgroups(cases: pd.DataFrame, params: GateParams) -> Check:
    """The area in each subgroup with enough patients of both classes, as it was measured: a floor, no test."""
    floor, least = params.subgroups.auc, params.subgroups.minimum_patients
    found: dict[str, float] = {}
    for variable in GROUPS:
        for group, rows in cases[cases[variable] != ""].groupby(variable):
            if rows.groupby("truth")["patient"].nunique().reindex([0, 1], fill_value=0).min() >= least:
                found[f"{variable} {group}"] = float(Ranked(rows["score"], rows["truth"]).auc())
    below = [f"{name} {value:.3f}" for name, value in found.items() if value < floor]
    if below:
        return Check("subgroups", "worse", f"AUC below the floor of {floor:g} in {', '.join(below)}", found)
    said = f"AUC of {floor:g} reached in all {len(found)} subgroups" if found else "no subgroup"
    return Check("subgroups", "not worse", f"{said} with {least} positive and {least} negative patients", found)


def _signed(value: float, low: float, high: float, digits: int = 3) -> str:
    return f"{value:+.{digits}f} ({low:+.{digits}f} to {high:+.{digits}f})"
