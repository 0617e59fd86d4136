"""Ablation rows are paired and end in the figure that the metrics report."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from sklearn.metrics import average_precision_score

from ich_pipeline.evaluation.ablation import SEQUENCE, STEPS, ablation_rows
from ich_pipeline.evaluation.delong import paired_test


def test_rows_values_and_paired_gains(cohort) -> None:
    single = np.random.default_rng(1).random(cohort.truth.shape).astype(np.float32)
    rows = ablation_rows(cohort, {"a": single})
    assert list(rows["step"]) == list(STEPS)
    assert list(rows["architecture"]) == ["a", "a", "a", "ensemble"]
    for scores, value in zip(
        (single, cohort.reading.original["a"], cohort.reading.interpolated["a"]), rows["mean_ap"], strict=False
    ):
        expected = np.mean([average_precision_score(cohort.truth[:, k], scores[:, k]) for k in range(1, 6)])
        assert value == pytest.approx(expected, abs=1e-9)
    reported = cohort.metrics()["slice"]
    assert rows["mean_ap"].iloc[-1] == reported["mean"]["ap"]["value"]
    assert rows["auc_any_high"].iloc[-1] == reported["any"]["auc"]["high"]
    np.testing.assert_allclose(rows["mean_ap_gain"][1:], np.diff(rows["mean_ap"]), atol=1e-12)
    assert np.isnan(rows["mean_ap_gain"][0])
    # Random scores against useful ones: the paired gain is clear of zero.
    assert rows["auc_any_gain_low"][1] > 0
    test = paired_test(cohort.reading.original["a"][:, 0], single[:, 0], cohort.truth[:, 0], cohort.patients)
    assert rows["auc_any_gain_p"][1] == test.p < 0.001


def test_the_ensembles_gain_is_over_a_named_architecture_not_the_best_on_this_test(cohort) -> None:
    rng = np.random.default_rng(2)
    poor = rng.random(cohort.truth.shape)
    reading = replace(
        cohort.reading,
        original={"a": poor, "b": cohort.reading.original["a"]},
        interpolated={"a": poor, "b": cohort.reading.interpolated["a"]},
    )
    rows = ablation_rows(replace(cohort, reading=reading), {"a": poor, "b": poor})
    assert list(rows["gain_over"]) == [
        "", "a, single window", "a, multi-window",
        "", "b, single window", "b, multi-window",
        "a, with slice interpolation",
    ]  # fmt: skip
    assert rows["mean_ap"][2] < rows["mean_ap"][5]
    assert rows["mean_ap_gain"][6] == pytest.approx(rows["mean_ap"][6] - rows["mean_ap"][2])


def test_what_cannot_be_estimated_is_empty_with_a_reason(build) -> None:
    cohort = build(
        bleeding=dict.fromkeys(("epidural", "intraparenchymal", "intraventricular", "subarachnoid", "subdural"), 0)
        | {"subdural": 1}
    )
    rows = ablation_rows(cohort, {"a": cohort.reading.original["a"]})
    assert rows["mean_ap"].isna().all()
    assert rows["reason"].str.contains("mean_ap: no label gives it").all()


def test_a_sequence_head_is_measured_against_its_network_alone(cohort) -> None:
    rng = np.random.default_rng(4)
    better = np.clip(cohort.reading.original["a"] + 0.4 * (2 * cohort.truth - 1) * rng.random(cohort.truth.shape), 0, 1)
    other = rng.random(cohort.truth.shape)
    original = {**cohort.reading.original, "b": other, "a+sequence": better, "b+sequence": other}
    rows = ablation_rows(replace(cohort, reading=replace(cohort.reading, original=original)), {"a": other})
    heads = rows[rows["step"] == SEQUENCE].set_index("architecture")
    assert list(rows["architecture"]) == ["a", "a", "a", "a", "b", "b", "ensemble"]
    assert list(heads["gain_over"]) == ["a, multi-window", "b, multi-window"]
    alone = rows[rows["step"] == "multi-window"].set_index("architecture")
    gain = heads["mean_ap"] - alone["mean_ap"]
    np.testing.assert_allclose(heads["mean_ap_gain"], gain, atol=1e-12)
    helped, idle = heads.to_dict("records")
    assert helped["mean_ap_gain_low"] > 0 and helped["auc_any_gain_p"] < 0.001
    assert idle["mean_ap_gain"] == 0
    assert rows["gain_over"].iloc[-1] == "a, with slice interpolation", "the ensemble's gain is where it was"
