"""The choice of the case score's rule: it finds what a cohort calls for, and stays with the simplest where nothing does."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from scipy.special import expit
from sklearn.metrics import roc_auc_score

from ich_pipeline.ensemble import case_rule, ranking
from ich_pipeline.ensemble.case_rule import Places, candidates, choose_case_score
from ich_pipeline.ensemble.case_score import CaseScore
from ich_pipeline.ensemble.cross_reading import CrossReading, cross_read
from ich_pipeline.ensemble.selection import leave_out

RULES = (CaseScore("max"), CaseScore("top_k_mean", 3), CaseScore("neighbours"), CaseScore("noisy_or"))
SLICES = 12


def drawn(patients: int, lengths: tuple[int, int], artefacts: float, seed: int = 0):
    """Cases of 12 slices: every second has a lesion of so many neighbouring slices; noise, and lonely bright slices."""
    rng = np.random.default_rng(seed)
    x = rng.normal(-2.0, 0.8, (patients, SLICES))
    truth = np.zeros((patients, SLICES), np.int8)
    for case in range(0, patients, 2):
        length = int(rng.integers(*lengths, endpoint=True))
        start = int(rng.integers(0, SLICES - length, endpoint=True))
        truth[case, start : start + length] = 1
    x += 3.0 * truth + (rng.random(x.shape) < artefacts) * rng.exponential(4.0, x.shape)
    rows = np.arange(patients * SLICES)
    chain = [np.where(rows % SLICES > 0, rows - 1, -1), np.where(rows % SLICES < SLICES - 1, rows + 1, -1)]
    places = Places(rows // SLICES, np.stack(chain, axis=1), rows // SLICES)
    return expit(x).reshape(-1, 1), truth.reshape(-1, 1), places


@pytest.mark.parametrize(("lengths", "artefacts", "rule"), [((2, 2), 0.03, "neighbours"), ((1, 1), 0.0, "max")])
def test_the_rule_fits_what_blood_and_errors_look_like(lengths: tuple[int, int], artefacts: float, rule: str) -> None:
    final, truth, places = drawn(120, lengths, artefacts)
    found = choose_case_score(RULES, final, final[:, 0] > 0.05, truth, places)
    assert found.score.rule == rule
    best = max(found.figures, key=lambda figure: figure.auc)
    assert best.score == found.score


def test_figures_are_aucs_in_which_stopped_cases_rank_last_and_errors_those_of_leaving_each_patient_out() -> None:
    final, truth, places = drawn(30, (2, 4), 0.05)
    places = replace(places, patients=places.case_index // 2)  # two cases a patient
    suspicious = final[:, 0] > 0.4
    found = choose_case_score(RULES, final, suspicious, truth, places)
    passed = np.array([suspicious[places.case_index == case].any() for case in range(30)])
    assert not passed.all()
    positive = np.array([truth[places.case_index == case].any() for case in range(30)])
    of = {r: np.where(passed, r(final, places.case_index, places.neighbours)[:, 0], -1) for r in RULES}
    for figure in found.figures:
        assert figure.auc == pytest.approx(roc_auc_score(positive, of[figure.score]))
        assert figure.gain == pytest.approx(figure.auc - roc_auc_score(positive, of[RULES[0]]))
        without = [np.arange(30) // 2 != patient for patient in range(15)]
        gains = [
            roc_auc_score(positive[kept], of[figure.score][kept]) - roc_auc_score(positive[kept], of[RULES[0]][kept])
            for kept in without
        ]
        assert figure.error == pytest.approx(math.sqrt(14 / 15 * np.sum((np.asarray(gains) - np.mean(gains)) ** 2)))


def test_equal_figures_one_class_and_one_positive_patient_leave_the_first_candidate() -> None:
    final, truth, places = drawn(20, (3, 6), 0.05)
    everything = np.ones(len(final), bool)
    assert choose_case_score(RULES, np.full_like(final, 0.5), everything, truth, places).score == RULES[0]
    assert choose_case_score(RULES, final, everything, np.zeros_like(truth), places).score == RULES[0]
    alone = truth * (places.case_index == 0)[:, None].astype(np.int8)
    found = choose_case_score(RULES, final, everything, alone, places)
    assert found.score == RULES[0] and all(math.isnan(f.error) for f in found.figures)


def test_groups_of_patients_give_about_the_error_of_single_patients(monkeypatch: pytest.MonkeyPatch) -> None:
    final, truth, places = drawn(240, (1, 4), 0.03)
    single = choose_case_score(RULES, final, final[:, 0] > 0.05, truth, places)
    monkeypatch.setattr(ranking, "JACKKNIFE_GROUPS", 60)
    grouped = choose_case_score(RULES, final, final[:, 0] > 0.05, truth, places)
    for one, other in zip(single.figures[1:], grouped.figures[1:], strict=True):
        assert other.error == pytest.approx(one.error, rel=0.5) and other.auc == one.auc


def test_settings_name_the_candidates(ensemble_params) -> None:
    several = ensemble_params.model_copy(update={"case_top_k": (3, 5)})
    assert candidates(several) == (CaseScore("max"),)
    top = several.model_copy(update={"case_score": "top_k_mean"})
    assert candidates(top) == (CaseScore("top_k_mean", 3), CaseScore("top_k_mean", 5))
    tried = candidates(several.model_copy(update={"case_score": "auto"}))
    assert [str(rule) for rule in tried] == [
        "max", "top 3 mean", "top 5 mean", "agreement of neighbours", "noisy or",
    ]  # fmt: skip


def test_places_of_some_cases_keep_who_is_beside_whom() -> None:
    _, _, places = drawn(4, (1, 1), 0.0)
    kept = np.isin(places.case_index, [1, 3])
    some = places.of(kept)
    rows = np.flatnonzero(kept)
    np.testing.assert_array_equal(some.case_index, np.repeat([0, 1], SLICES))
    np.testing.assert_array_equal(some.patients, np.repeat([1, 3], SLICES))
    back = np.where(some.neighbours >= 0, rows[some.neighbours], -1)
    np.testing.assert_array_equal(back, places.neighbours[kept])


def test_no_label_of_a_fold_has_a_say_in_its_rule_or_its_case_scores(cohort, ensemble_params) -> None:
    params = ensemble_params.model_copy(update={"folds": 3, "case_score": "auto"})
    names = ("inception_v3",)
    predictions = replace(cohort.predictions, probabilities={n: cohort.predictions.probabilities[n] for n in names})
    left_out = leave_out(predictions, 3)
    before = cross_read(predictions, cohort.case_index, cohort.neighbours, left_out, params)
    own = left_out[0].rows
    turned = predictions.truth.copy()
    turned[own] = 1 - turned[own]
    after = cross_read(replace(predictions, truth=turned), cohort.case_index, cohort.neighbours, left_out, params)
    assert isinstance(before, CrossReading) and isinstance(after, CrossReading)
    assert len(before.rules) == 3 and before.rules[0] == after.rules[0]
    mine = np.unique(cohort.case_index[own])
    order = [np.argsort(found.case_ranking[mine], kind="stable") for found in (before, after)]
    np.testing.assert_array_equal(order[0], order[1])
    np.testing.assert_array_equal(before.final[own], after.final[own])
    assert not np.array_equal(before.final[~own], after.final[~own])


def test_scores_of_folds_that_took_different_rules_are_on_one_scale(
    cohort, ensemble_params, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One fold ranks by noisy-or, the others by the highest slice: each becomes a probability, in its own order."""
    import ich_pipeline.ensemble.cross_reading as module

    rules = iter([CaseScore("noisy_or"), CaseScore("max"), CaseScore("max")])
    monkeypatch.setattr(module, "choose_case_score", lambda tried, *_: case_rule.CaseChoice(next(rules), ()))
    params = ensemble_params.model_copy(update={"folds": 3})
    predictions = replace(cohort.predictions, probabilities={"resnet50": cohort.predictions.probabilities["resnet50"]})
    left_out = leave_out(predictions, 3)
    mixed = cross_read(predictions, cohort.case_index, cohort.neighbours, left_out, params)
    rules = iter([CaseScore("noisy_or")] * 3)
    alike = cross_read(predictions, cohort.case_index, cohort.neighbours, left_out, params)
    assert isinstance(mixed, CrossReading) and isinstance(alike, CrossReading)
    first = np.isin(np.arange(60), cohort.case_index[left_out[0].rows])
    passed = first & (alike.case_ranking >= 0)
    scaled, raw = mixed.case_ranking[passed], alike.case_ranking[passed]
    order = np.argsort(raw)
    assert (
        (np.diff(scaled[order]) >= 0).all() and scaled.std() > 0 and (mixed.case_ranking[first & ~passed] == -1).all()
    )
    bleeding = np.array([predictions.truth[cohort.case_index == case, 0].any() for case in range(60)])
    assert abs(scaled.mean() - bleeding[passed].mean()) < 0.1 and not np.allclose(scaled, raw)
