"""Coverage on a test is counted by patient, with exact intervals; disagreement is judged by the errors that it tells."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from scipy.special import expit
from scipy.stats import beta
from sklearn.metrics import roc_auc_score

from ich_pipeline.ensemble.calibration import Calibration
from ich_pipeline.ensemble.conformal import ConformalLabel, fit_conformal
from ich_pipeline.ensemble.uncertainty import ONE_MEMBER, Uncertainty, disagreement
from ich_pipeline.evaluation.tables import case_table
from ich_pipeline.evaluation.uncertainty import headline, uncertainty_of_test
from ich_pipeline.report.uncertainty import card, coverage_words
from tests.evaluation.conftest import SUBTYPES, make_cohort


def certain(cohort, networks: int = 2):
    """The cohort read by an ensemble that was taught certainty on 30 patients of each class; epidural had too few."""
    rng = np.random.default_rng(5)
    names = [chr(ord("a") + i) for i in range(networks)]
    noise = {name: (rng.normal(0, 1.0, cohort.reading.final.shape)) for name in names}
    original = {n: expit(np.log(cohort.reading.final / (1 - cohort.reading.final)) + noise[n]) for n in names}
    limits = {
        name: fit_conformal(rng.beta(2, 3, 30), rng.beta(4, 2, 30), 0.9) if name != "epidural"
        else ConformalLabel(None, None, 30, 2, "validation has 2 patients with the finding")
        for name in cohort.labels.columns
    }  # fmt: skip
    known = Uncertainty(0.9, limits, limits, {name: (Calibration("identity"),) * 6 for name in names})
    reading = replace(cohort.reading, original=original)
    return replace(cohort, ensemble=replace(cohort.ensemble, uncertainty=known), reading=reading)


def judged(cohort):
    slices = [f"1.2.{i}" for i in range(len(cohort.labelled))]
    cases = [f"C{i}" for i in range(len(cohort.case_truth))]
    return uncertainty_of_test(cohort, slices, cases)


@pytest.fixture(scope="module")
def tested():
    cohort = certain(make_cohort())
    return cohort, judged(cohort)


def test_case_coverage_by_hand(tested) -> None:
    cohort, found = tested
    scores, truth = cohort.reading.case_scores, cohort.case_truth
    for k, name in enumerate(cohort.labels.columns):
        limits, of = cohort.ensemble.uncertainty.cases[name], found["case"][name]
        if name == "epidural":
            assert of == {"reason": "validation has 2 patients with the finding"}
            continue
        for word, inside in (
            ("absent", scores[:, k] <= limits.absent_to),
            ("present", scores[:, k] >= limits.present_from),
        ):
            mine = truth[:, k] == (word == "present")
            x, n = int(inside[mine].sum()), int(mine.sum())
            entry = of[f"coverage_{word}"]
            assert (entry["covered"], entry["patients"], entry["calibration_patients"]) == (x, n, 30)
            assert entry["value"] == x / n
            # Clopper and Pearson by the beta quantiles.
            assert entry["low"] == pytest.approx(beta.ppf(0.025, x, n - x + 1) if x else 0.0, abs=1e-9)
            assert entry["high"] == pytest.approx(beta.ppf(0.975, x + 1, n - x) if x < n else 1.0, abs=1e-9)
        assert sum(of["sets"].values()) == len(truth)
        both = (scores[:, k] <= limits.absent_to) & (scores[:, k] >= limits.present_from)
        assert of["undecided"]["value"] == pytest.approx(both.mean())


def test_slices_count_once_a_patient(tested) -> None:
    cohort, found = tested
    of = found["slice"]["any"]
    bleeding = len(np.unique(cohort.patients[cohort.truth[:, 0] == 1]))
    assert of["coverage_present"]["patients"] == bleeding < cohort.truth[:, 0].sum()
    assert of["coverage_absent"]["patients"] == 40
    assert sum(of["sets"].values()) == len(cohort.truth)


def test_expected_range_holds_the_count_as_often_as_it_says(tested) -> None:
    """Simulated: calibrate on 30, count among as many as the test has."""
    _, found = tested
    entry = found["case"]["any"]["coverage_absent"]
    rng = np.random.default_rng(1)
    inside = 0
    for _ in range(2000):
        limits = fit_conformal(rng.normal(size=30), rng.normal(size=30), 0.9)
        share = limits.holds(rng.normal(size=entry["patients"]))[0].mean()
        inside += entry["expected"]["low"] <= share <= entry["expected"]["high"]
    assert inside / 2000 >= 0.94  # 0.95 or more: counts are whole


def test_disagreement_tells_errors_as_scikit_learn_counts(tested) -> None:
    cohort, found = tested
    spread = disagreement(
        cohort.ensemble.uncertainty, cohort.reading.original, ("a", "b"), cohort.ensemble.case_score,
        cohort.case_index, cohort.neighbours,
    )  # fmt: skip
    assert spread is not None
    wrong = cohort.reading.decisions != (cohort.case_truth[:, 0] == 1)
    of = found["disagreement"]["all"]["case"]["any"]
    assert of["errors"] == wrong.sum() > 1
    assert of["auc"]["value"] == pytest.approx(roc_auc_score(wrong, spread.cases[:, 0]), abs=1e-12)
    assert of["auc"]["low"] <= of["auc"]["value"] <= of["auc"]["high"]
    assert of["right"] == pytest.approx(spread.cases[~wrong, 0].mean())
    assert of["gain"]["value"] == pytest.approx(of["auc"]["value"] - of["nearness"]["value"])
    # The ensemble itself has one member.
    assert found["disagreement"]["members"] == {"networks": ["a"], "reason": ONE_MEMBER}


def test_disagreement_that_knows_the_errors_is_found() -> None:
    cohort = certain(make_cohort())
    threshold = cohort.ensemble.slice_points["any"]["balanced"].threshold
    assert threshold is not None
    wrong = (cohort.reading.final[:, 0] >= threshold) != (cohort.truth[:, 0] == 1)
    a = np.full(cohort.truth.shape, 0.5)
    b = np.where(wrong[:, None], 0.9, 0.6) * np.ones_like(a)
    told = judged(replace(cohort, reading=replace(cohort.reading, original={"a": a, "b": b})))
    assert told["disagreement"]["all"]["slice"]["any"]["auc"]["value"] == 1.0


def test_metrics_and_tables_carry_it(tested) -> None:
    cohort, found = tested
    entries = headline(found, "case", "any")
    assert set(entries) == {
        "conformal_coverage_present", "conformal_coverage_absent", "conformal_undecided", "conformal_neither",
        "disagreement_auc",
    }  # fmt: skip
    assert all({"value", "low", "high"} <= set(entry) for entry in entries.values())
    missing = headline(found, "case", "epidural")["conformal_undecided"]
    assert missing["value"] is None and "2 patients" in missing["reason"]
    slices = {"case_id": [f"C{c}" for c in cohort.case_index], "patient_key": [f"P{c}" for c in cohort.case_index]}
    table = case_table(cohort, pd.DataFrame(slices))
    counts = table["set_any"].value_counts().to_dict()
    assert counts == {word: n for word, n in found["case"]["any"]["sets"].items() if n}
    assert set(table["set_epidural"]) == {"not available"}
    single = judged(certain(make_cohort(), networks=1))
    assert headline(single, "case", "any")["disagreement_auc"]["reason"] == ONE_MEMBER


def _found(value: float, low: float, high: float, expected: tuple[float, float]) -> dict:
    share = {"value": 0.1, "low": 0.05, "high": 0.2}
    entry = {
        "value": value, "low": low, "high": high, "covered": 31, "patients": 40, "calibration_patients": 39,
        "expected": {"low": expected[0], "high": expected[1]},
    }  # fmt: skip
    fine = {**entry, "value": 0.9, "low": 0.8, "high": 0.95}
    of = {"coverage_absent": fine, "coverage_present": entry, "undecided": share, "neither": share}
    return {"coverage": 0.9, "case": {"any": of, **{name: {"reason": "too few"} for name in SUBTYPES}}}


def test_a_miss_of_the_target_is_said_with_what_few_calibration_patients_explain() -> None:
    words = coverage_words(_found(0.775, 0.61, 0.89, (0.75, 1.0)), "case", ("any", *SUBTYPES))
    assert words == (
        "Any, patients with the finding: covered 31 of 40, below 90% by more than chance in this test. Limits from 39 "
        "patients may cover 0.75–1.00 of as many; that explains it."
    )
    assert "does not explain it" in coverage_words(_found(0.6, 0.4, 0.7, (0.75, 1.0)), "case", ("any",))
    assert "above 90%" in coverage_words(_found(1.0, 0.91, 1.0, (0.75, 1.0)), "case", ("any",))
    assert coverage_words(_found(0.9, 0.8, 1.0, (0.75, 1.0)), "case", ("any",)) == "No interval excludes 90%."


def test_the_card_has_a_row_a_finding(tested) -> None:
    cohort, found = tested
    shown = card(found, cohort.metrics(), cohort.labels.columns)
    assert [row["finding"] for row in shown["cases"]] == ["Any", *(name.capitalize() for name in SUBTYPES)]
    assert shown["cases"][1]["without it"] == "not available: validation has 2 patients with the finding"
    assert "one member: no disagreement; all that were trained: AUC" in shown["disagreement"]["case"].lower().replace(
        "auc", "AUC"
    )
    assert " wrong from right" in shown["disagreement"]["slice"]
    assert all("(" in row["calibration error"] for row in shown["calibration"])
