"""Metrics by hand and by scikit-learn; what cannot be estimated is null with a reason."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
from sklearn.metrics import average_precision_score, brier_score_loss, f1_score, roc_auc_score
from statsmodels.stats.proportion import proportion_confint

from ich_pipeline.ensemble.operating_points import OperatingPoint
from ich_pipeline.evaluation.bootstrap import draw_counts
from ich_pipeline.evaluation.delong import auc_interval, delong
from ich_pipeline.evaluation.metrics import Level, label_metrics, mean_metrics

POINT = {"balanced": OperatingPoint(0.5, 0.0, 0.0)}


def level(patients, eligible=None) -> Level:
    who = np.asarray(patients)
    return Level(who, draw_counts(int(who.max()) + 1, 50, 1), eligible)


def test_hand_computed_two_by_two_table() -> None:
    # tp 3, fp 1, fn 1, tn 5
    scores = np.array([0.9, 0.8, 0.5, 0.2, 0.6, 0.1, 0.1, 0.1, 0.1, 0.4])
    truth = np.array([1, 1, 1, 1, 0, 0, 0, 0, 0, 0])
    found = label_metrics(scores, truth, POINT, level(range(10)))
    expected = {"sensitivity": 3 / 4, "specificity": 5 / 6, "ppv": 3 / 4, "npv": 5 / 6, "f1": 6 / 8}
    for key, value in expected.items():
        assert found[f"{key}@balanced"].value == pytest.approx(value), key
    assert found["prevalence"].value == 0.4
    assert found["n"].value == 10 and found["positives"].value == 4
    assert found["threshold@balanced"].value == 0.5


def test_hand_computed_calibration_error() -> None:
    # Bin 0.0–0.1: mean 0.05, observed 0.5 → 0.45 × 2/4. Bin 0.9–1.0: mean 0.95, observed 1 → 0.05 × 2/4.
    scores, truth = np.array([0.05, 0.05, 0.95, 0.95]), np.array([0, 1, 1, 1])
    assert label_metrics(scores, truth, {}, level(range(4)))["ece"].value == pytest.approx(0.25)


def test_equals_scikit_learn(cohort) -> None:
    for k, name in enumerate(cohort.labels.columns):
        scores, truth, found = cohort.reading.final[:, k], cohort.truth[:, k], cohort.estimates["slice"][name]
        assert found["auc"].value == pytest.approx(roc_auc_score(truth, scores), abs=1e-9)
        assert found["ap"].value == pytest.approx(average_precision_score(truth, scores), abs=1e-9)
        assert found["brier"].value == pytest.approx(brier_score_loss(truth, scores), abs=1e-12)


def test_what_may_not_be_called_counts_as_negative() -> None:
    scores, truth = np.array([0.9, 0.9, 0.1, 0.1]), np.array([1, 1, 0, 0])
    found = label_metrics(scores, truth, POINT, level(range(4), np.array([True, False, True, True])))
    assert found["sensitivity@balanced"].value == 0.5
    # The curve obeys the same rule: the second positive is found after both negatives, together with nothing else.
    assert found["auc"].value == 0.5
    assert found["ap"].value == pytest.approx(0.5 * 1 + 0.5 * 2 / 4)


def test_a_case_score_has_no_calibration(cohort) -> None:
    block = cohort.metrics()
    for name in cohort.labels.columns:
        for key in ("brier", "ece"):
            entry = block["case"][name][key]
            assert entry["value"] is None and entry["low"] is None
            assert entry["reason"] == "a case score is the max of slice probabilities, not a calibrated probability"
            assert block["slice"][name][key]["value"] is not None


@pytest.mark.parametrize(
    ("truth", "reason"),
    [([0, 0, 0, 0, 0, 0], "no positives"), ([1, 1, 0, 0, 0, 0], "positives in one patient only")],
)
def test_a_finding_in_nobody_or_one_patient_is_null_with_a_reason(truth, reason) -> None:
    scores = np.array([0.9, 0.6, 0.2, 0.3, 0.1, 0.4])
    found = label_metrics(scores, np.array(truth), POINT, level([0, 0, 1, 1, 2, 2]))
    for key in ("auc", "ap", "sensitivity@balanced", "ppv@balanced", "npv@balanced", "f1@balanced"):
        entry = found[key].to_json(0.95)
        assert entry == {"value": None, "low": None, "high": None, "reason": reason}, key
    assert found["specificity@balanced"].value is not None
    prevalence = found["prevalence"].to_json(0.95)
    assert prevalence["value"] == sum(truth) / 6 and prevalence["low"] is None and prevalence["reason"] == reason


def test_nothing_called_and_no_threshold_are_null_with_a_reason() -> None:
    scores, truth = np.full(4, 0.1), np.array([1, 1, 0, 0])
    points = {**POINT, "high_sensitivity": OperatingPoint(None, None, None, "no positive on validation")}
    found = label_metrics(scores, truth, points, level(range(4)))
    assert found["ppv@balanced"].to_json(0.95)["reason"] == "nothing is called positive"
    assert found["sensitivity@balanced"].value == 0.0
    assert found["sensitivity@high_sensitivity"].value is None
    assert found["sensitivity@high_sensitivity"].reason == "no threshold: no positive on validation"


def test_an_interval_without_width_is_clopper_pearson_by_patient_or_null() -> None:
    # Two slices a patient, all of them right: certainty over 20 patients is not 1.000–1.000.
    truth = np.repeat([1, 0], [40, 20])
    found = label_metrics(np.where(truth == 1, 0.9, 0.2), truth, POINT, level(np.repeat(np.arange(30), 2)))
    entry = found["sensitivity@balanced"].to_json(0.95)
    assert entry["value"] == 1.0 and entry["high"] == 1.0
    assert entry["low"] == pytest.approx(0.025 ** (1 / 20))
    assert entry["method"] == "clopper-pearson" and "reason" not in entry
    specificity = found["specificity@balanced"].to_json(0.95)
    assert specificity["low"] == pytest.approx(0.025 ** (1 / 10))
    for key in ("auc", "ap", "f1@balanced"):
        entry = found[key].to_json(0.95)
        assert entry["value"] == 1.0 and entry["low"] is None and entry["high"] is None, key
        assert entry["reason"].startswith("equal in all bootstrap replicates")
    assert "method" not in found["prevalence"].to_json(0.95)


def test_the_mean_leaves_out_what_is_null_and_counts_the_rest() -> None:
    patients = np.repeat(np.arange(6), 2)
    rng = np.random.default_rng(2)
    there = np.array([1, 0] * 3 + [0, 0] * 3)
    labels = [label_metrics(rng.random(12), y, POINT, level(patients)) for y in (there, there[::-1].copy(), there * 0)]
    mean = mean_metrics(labels)
    assert mean["ap"].labels == 2
    assert mean["ap"].value == pytest.approx(sum(label["ap"].value or 0 for label in labels[:2]) / 2)
    assert mean["prevalence"].value == pytest.approx(0.25)  # over the labels that have an average precision
    assert mean["brier"].labels == 3
    assert mean_metrics([labels[2]])["auc"].to_json(0.95) == {
        "value": None, "low": None, "high": None, "reason": "no label gives it", "labels": 0,
    }  # fmt: skip


def test_block_for_metrics_json(build) -> None:
    cohort = build(bleeding={"epidural": 1, "subdural": 0})
    block = json.loads(json.dumps(cohort.metrics(), allow_nan=False))
    assert set(block) == {"slice", "case"}
    for entries in block.values():
        assert list(entries) == [*cohort.labels.columns, "mean"]
        assert entries["epidural"]["ap"]["reason"] == "positives in one patient only"
        assert entries["subdural"]["ap"]["reason"] == "no positives"
        assert entries["mean"]["ap"]["labels"] == 3
        for label in entries.values():
            for key, entry in label.items():
                assert {"value", "low", "high"} <= set(entry), key
                assert ("reason" in entry) == (entry["low"] is None), key
                if entry["low"] is not None:
                    assert entry["low"] <= entry["high"]


def test_unlabelled_slices_are_in_no_metric(cohort) -> None:
    labelled = np.ones(len(cohort.labelled), dtype=bool)
    labelled[:10] = False  # a whole case
    labelled[15] = False
    part = replace(cohort, labelled=labelled, truth=cohort.truth[labelled])
    assert part.metrics()["slice"]["any"]["n"]["value"] == len(cohort.labelled) - 11
    assert part.metrics()["case"]["any"]["n"]["value"] == 39
    expected = roc_auc_score(cohort.truth[labelled, 0], cohort.reading.final[labelled, 0])
    assert part.metrics()["slice"]["any"]["auc"]["value"] == pytest.approx(expected)


def test_the_account_of_the_first_threshold(cohort) -> None:
    account = cohort.reading_account()
    lost = [
        case
        for case in range(40)
        if cohort.case_truth[case, 0]
        and not (cohort.reading.first[cohort.case_index == case, 0] >= account["gate"]["threshold"]).any()
    ]
    assert account["true_cases_lost"] == len(lost)
    assert account["true_cases"] == cohort.case_truth[:, 0].sum()
    assert account["cases_let_through"] == cohort.reading.let_through.sum()
    assert account["final"]["mean_ap"] == cohort.metrics()["slice"]["mean"]["ap"]
    for key in ("mean_ap", "auc_any"):
        gain, first, final = account["gain"][key], account["first"][key], account["final"][key]
        assert gain["value"] == pytest.approx(final["value"] - first["value"])
        # Paired: narrower than the difference of two independent figures, and around what was found.
        assert gain["low"] <= gain["value"] <= gain["high"]
        assert gain["high"] - gain["low"] < final["high"] - final["low"] + first["high"] - first["low"]


def test_intervals_by_formula_stand_beside_the_bootstrap(cohort) -> None:
    """DeLong by patient at both levels; Wilson and Clopper-Pearson where no patient has two rows: in cases, not slices."""
    block = cohort.metrics()
    truth, scores = cohort.case_truth[:, 0], cohort.cases.ranking(cohort.reading.case_scores[:, 0])
    found = delong(scores, truth)
    entry = block["case"]["any"]["auc"]
    expected = auc_interval(float(found.auc[0]), float(found.covariance[0, 0]), 0.95)
    assert (entry["delong"]["low"], entry["delong"]["high"]) == pytest.approx(expected)
    assert entry["value"] == pytest.approx(float(found.auc[0]), abs=1e-9)
    by_patient = delong(cohort.reading.final[:, 0], cohort.truth[:, 0], cohort.patients)
    expected = auc_interval(float(by_patient.auc[0]), float(by_patient.covariance[0, 0]), 0.95)
    entry = block["slice"]["any"]["auc"]["delong"]
    assert (entry["low"], entry["high"]) == pytest.approx(expected)
    called = cohort.reading.decisions
    for key, of, right in (
        ("sensitivity", truth == 1, called),
        ("specificity", truth == 0, ~called),
        ("ppv", called, truth == 1),
    ):
        entry = block["case"]["any"][f"{key}@balanced"]
        for method, name in (("wilson", "wilson"), ("beta", "clopper_pearson")):
            expected = proportion_confint(int((of & right).sum()), int(of.sum()), 0.05, method=method)
            assert (entry[name]["low"], entry[name]["high"]) == pytest.approx(expected, abs=1e-9), (key, name)
        assert "wilson" not in block["slice"]["any"][f"{key}@balanced"]
    f1 = block["case"]["any"]["f1@balanced"]
    assert f1["value"] == pytest.approx(f1_score(truth, called))
    assert f1["wilson"]["low"] < f1["value"] < f1["wilson"]["high"]
