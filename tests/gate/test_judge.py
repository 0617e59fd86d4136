"""The gate: every figure against an independent computation, every verdict, and how often it is wrong."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import norm
from sklearn.metrics import roc_auc_score

from ich_pipeline.config import GateParams
from ich_pipeline.evaluation.bootstrap import draw_counts
from ich_pipeline.evaluation.metrics import Level
from ich_pipeline.gate.judge import PASSES, Judgement, area, judge
from ich_pipeline.gate.scores import GAPS, CaseScores
from tests.made.gate_cases import changed, drawn_pair

PARAMS = GateParams(bootstrap=150)


def pair(seed: int, areas: tuple[float, float] = (0.9, 0.9), patients=(60, 60), cases: int = 1):
    return drawn_pair(np.random.default_rng(seed), areas, patients, cases_a_patient=cases)


def said(found: Judgement, name: str) -> str:
    return next(check.verdict for check in found.checks if check.name == name)


def test_the_area_is_that_of_other_programs() -> None:
    challenger, champion = pair(3)
    new, old = (one.cases["score"].to_numpy() for one in (challenger, champion))
    truth = challenger.cases["truth"].to_numpy()
    figures = judge(challenger, champion, PARAMS, seed=5).checks[0].figures
    gain = roc_auc_score(truth, new) - roc_auc_score(truth, old)
    assert figures["difference"] == pytest.approx(gain, abs=1e-12)
    drawn = [
        roc_auc_score(truth, new, sample_weight=weights) - roc_auc_score(truth, old, sample_weight=weights)
        for weights in draw_counts(len(truth), PARAMS.bootstrap, 5)
    ]
    bounds = np.quantile(drawn, [PARAMS.alpha, 1 - PARAMS.alpha])
    assert (figures["bootstrap_low"], figures["bootstrap_high"]) == pytest.approx(tuple(bounds), abs=1e-9)
    # DeLong as U-statistics, from its definition.
    differ = np.subtract(*((s[truth == 1][:, None] > s[truth == 0]).astype(float) for s in (new, old)))
    variance = differ.mean(1).var(ddof=1) / 60 + differ.mean(0).var(ddof=1) / 60
    assert figures["delong_p"] == pytest.approx(2 * norm.sf(abs(gain) / np.sqrt(variance)), abs=1e-9)
    half = norm.isf(PARAMS.alpha) * np.sqrt(variance + 2 * (0.5 / 60) ** 2)
    assert figures["low"] == pytest.approx(min(bounds[0], gain - half), abs=1e-9)


def test_mcnemar_of_the_published_table() -> None:
    """Fagerland, Lydersen and Laake 2013, table 1 (airway reactivity, 1 and 7 discordant pairs): mid-p 0.039."""
    challenger, champion = pair(1)
    right = np.ones(120, bool)
    new, old = right.copy(), right.copy()
    new[:7], old[7] = False, False  # the first 60 are positive
    both = [changed(one, called=c) for one, c in ((challenger, new), (champion, old))]
    found = judge(both[0], both[1], PARAMS, seed=0)
    check = next(c for c in found.checks if c.name == "sensitivity")
    assert check.figures["mcnemar_mid_p"] == pytest.approx(0.0391, abs=5e-5)
    assert (check.figures["better"], check.figures["worse"], check.verdict) == (1, 7, "worse")
    assert found.verdict == "worse" and "McNemar mid-p 0.039" in found.sentence
    assert said(judge(both[1], both[0], PARAMS, seed=0), "sensitivity") == "not worse"


@pytest.mark.parametrize(
    ("areas", "patients", "verdict"),
    [
        ((0.97, 0.75), (60, 60), "better"),
        ((0.75, 0.97), (60, 60), "worse"),
        ((0.98, 0.98), (150, 150), "not worse"),
        ((0.8, 0.8), (25, 25), "cannot decide"),
        ((0.97, 0.75), (19, 200), "cannot decide"),
    ],
)
def test_one_of_four_verdicts(areas: tuple[float, float], patients: tuple[int, int], verdict: str) -> None:
    found = judge(*pair(2, areas, patients), PARAMS, seed=0)
    assert found.verdict == verdict and found.passes == (verdict in ("better", "not worse"))
    assert found.sentence.startswith(f"{verdict} on test_prospective: ")


def test_too_few_patients_decide_nothing_whatever_their_scores_say() -> None:
    found = judge(*pair(2, (0.97, 0.75), (19, 200)), PARAMS, seed=0)
    assert found.sentence == (
        "cannot decide on test_prospective: 19 positive and 200 negative patients, 20 of each are needed"
    )
    # Twenty cases of ten patients are ten patients.
    assert judge(*pair(2, (0.97, 0.75), (10, 50), cases=2), PARAMS, seed=0).verdict == "cannot decide"


def test_two_that_rank_everybody_right_are_not_worse_only_with_enough_patients() -> None:
    for patients, verdict in ((20, "cannot decide"), (50, "not worse")):
        one, other = pair(4, patients=(patients, patients))
        perfect = [changed(s, score=s.cases["truth"] + 0.0, called=s.cases["truth"] == 1) for s in (one, other)]
        assert judge(perfect[0], perfect[1], PARAMS, seed=0).verdict == verdict


def test_other_cases_are_refused() -> None:
    challenger, champion = pair(2, (0.97, 0.75))
    for other in (replace(champion, test_set="b" * 64), replace(champion, test="test_retrospective")):
        found = judge(challenger, other, PARAMS, seed=0)
        assert found.verdict == "cannot decide" and "not tested on the same cases" in found.sentence
    relabelled = changed(champion, truth=1 - champion.cases["truth"])
    assert "have different cases" in judge(challenger, relabelled, PARAMS, seed=0).sentence


def test_a_patient_counts_once_however_many_cases_he_has() -> None:
    once = pair(6, (0.93, 0.9))
    twice = tuple(
        CaseScores(s.test, s.test_set, (), s.cases.loc[s.cases.index.repeat(3)].reset_index(drop=True)) for s in once
    )
    found, again = (judge(two[0], two[1], PARAMS, seed=1) for two in (once, twice))
    for check, other in zip(found.checks, again.checks, strict=True):
        assert other.verdict == check.verdict
        assert other.figures == pytest.approx(check.figures, abs=1e-9)


def test_calibration_can_take_a_pass_away() -> None:
    challenger, champion = pair(2, (0.97, 0.75))
    assert judge(challenger, champion, PARAMS, seed=0).verdict == "better"
    squared = changed(challenger, squared=0.5)  # of 10 slices: a Brier score of 0.05 beside 0.01
    found = judge(squared, champion, PARAMS, seed=0)
    assert (found.verdict, said(found, "Brier score"), said(found, "AUC")) == ("worse", "worse", "better")
    assert "Brier score of the slices 0.0500, the champion's 0.0100" in found.sentence
    gaps = changed(challenger, **dict.fromkeys(GAPS, 0.06))  # ten bins of 0.006 beside 0.001
    assert said(judge(gaps, champion, PARAMS, seed=0), "calibration error") == "worse"
    one = changed(challenger, squared=np.where(np.arange(120) == 0, 12.0, 0.1))  # one patient says too little
    assert judge(one, champion, PARAMS, seed=0).verdict == "cannot decide"


def test_a_subgroup_below_its_floor_and_one_too_small_to_judge() -> None:
    challenger, champion = pair(2, (0.97, 0.75))
    score = challenger.cases["score"].to_numpy(copy=True)
    rows = np.r_[0:10, 60:70]
    score[rows] = -score[rows]
    sex = np.where(np.isin(np.arange(120), rows), "F", "M")
    found = judge(changed(challenger, score=score, sex=sex), champion, PARAMS, seed=0)
    assert said(found, "subgroups") == "worse" and "AUC below the floor of 0.7 in sex F 0." in found.sentence
    sex[0] = "M"
    assert said(judge(changed(challenger, score=score, sex=sex), champion, PARAMS, seed=0), "subgroups") == "not worse"


def test_a_caution_that_the_champion_has_not_is_no_pass() -> None:
    challenger, champion = pair(2, (0.97, 0.75))
    old = replace(champion, cautions=("Test: better than the HU rule is not shown (AUC +0.01).",))
    same = replace(challenger, cautions=("Test: better than the HU rule is not shown (AUC +0.02).",))
    assert judge(same, old, PARAMS, seed=0).verdict == "better", "figures in brackets are another matter"
    found = judge(same, champion, PARAMS, seed=0)
    assert found.verdict == "cannot decide" and "Test: better than the HU rule is not shown" in found.sentence


def test_the_first_model_has_to_reach_the_floors_with_its_lower_ends() -> None:
    first, _ = pair(2, (0.97, 0.75), (80, 80))
    found = judge(first, None, PARAMS, seed=0)
    assert (found.verdict, [c.name for c in found.checks]) == (
        "not worse",
        ["auc", "sensitivity", "specificity", "subgroups"],
    )
    for floors, verdict in (({"auc": 0.999}, "worse"), ({"specificity": 0.9}, "cannot decide")):
        strict = PARAMS.model_copy(update={"floors": PARAMS.floors.model_copy(update=floors)})
        assert judge(first, None, strict, seed=0).verdict == verdict
    nobody = changed(first, called=False)
    assert said(judge(nobody, None, PARAMS, seed=0), "sensitivity") == "worse"


@settings(max_examples=12, deadline=None)
@given(st.integers(0, 10**6), st.sampled_from([0.6, 0.8, 0.95, 1 - 1e-9]), st.sampled_from([0.6, 0.95]))
def test_a_pass_rests_on_every_check_and_the_champion_turned_challenger_says_the_opposite(
    seed: int, new: float, old: float
) -> None:
    challenger, champion = pair(seed, (new, old), (25, 30))
    few = PARAMS.model_copy(update={"bootstrap": 100})
    found, turned = judge(challenger, champion, few, seed=1), judge(champion, challenger, few, seed=1)
    opposite = {"better": ("worse",), "worse": ("better",)}.get(said(found, "AUC"), ("not worse", "cannot decide"))
    assert said(turned, "AUC") in opposite
    if found.passes:
        assert found.checks[0].figures["low"] > -few.margins.auc
        assert all(check.verdict in ("better", "not worse") for check in found.checks)
    assert found.to_json()["verdict"] == found.verdict


def test_inferior_challengers_pass_no_more_often_than_alpha() -> None:
    """As ``benchmarks/null_challengers.py``, shorter: 100 whose true area is smaller by the margin, where it is hardest."""
    rng, level = np.random.default_rng(0), Level(np.arange(100), draw_counts(100, PARAMS.bootstrap, 0))
    pairs = [drawn_pair(rng, (0.95, 0.98), (50, 50)) for _ in range(100)]
    found = [area(challenger.cases, champion.cases, level, PARAMS) for challenger, champion in pairs]
    plain = sum(check.figures["bootstrap_low"] > -PARAMS.margins.auc for check in found)
    passed = sum(check.verdict in PASSES for check in found)
    assert passed <= 5 < plain
