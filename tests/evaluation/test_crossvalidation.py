"""Pooled figures: patients dealt to folds of one and the same system give the figures of that system's single test."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import expit
from sklearn.metrics import roc_auc_score

from ich_pipeline.ensemble.calibration import logit
from ich_pipeline.ensemble.one_scale import Scale
from ich_pipeline.ensemble.operating_points import OperatingPoint
from ich_pipeline.evaluation.cohort import TestCohort
from ich_pipeline.evaluation.crossvalidation import FoldReading, fold_table, numbered, pooled_metrics
from ich_pipeline.evaluation.tables import case_table, slice_table
from tests.evaluation.conftest import make_cohort


def tables(cohort: TestCohort) -> tuple[pd.DataFrame, pd.DataFrame]:
    slices = pd.DataFrame(
        {
            "SOPInstanceUID": [f"1.{i}" for i in range(len(cohort.labelled))],
            "case_id": [f"C{c:03d}" for c in cohort.case_index],
            "patient_key": [f"P{p:03d}" for p in cohort.patients],
        }
    )
    return slice_table(cohort, slices), case_table(cohort, slices)


def folds_of(cohort: TestCohort, count: int) -> list[FoldReading]:
    slices, cases = tables(cohort)

    def part(table: pd.DataFrame, fold: int) -> pd.DataFrame:
        return table.loc[table["patient_key"].str[1:].astype(int) % count == fold].reset_index(drop=True)

    same = {"final": {level: dict.fromkeys(cohort.labels.columns, Scale(-1.0, 2.0)) for level in ("slice", "case")}}
    return [FoldReading(cohort.ensemble, part(slices, fold), part(cases, fold), same) for fold in range(count)]


def test_folds_that_speak_on_other_scales_are_ranked_on_one() -> None:
    """A system is the same system after its log-odds are moved and stretched, if what it is known by moves with them."""
    cohort = make_cohort(seed=5)
    folds = folds_of(cohort, 4)
    alone = cohort.metrics()
    other = []
    for fold, factor, shift in zip(folds, (0.3, 1.0, 2.5, 1.0), (2.0, -3.0, 0.5, 0.0), strict=True):
        tables, scales = {}, {}
        for level in ("slice", "case"):
            table = fold.rows(level).copy()
            for name in cohort.labels.columns:
                table[f"final_{name}"] = expit(factor * logit(table[f"final_{name}"]) + shift)
            tables[level] = table
            scales[level] = dict.fromkeys(cohort.labels.columns, Scale(shift - factor, 2.0 * factor))
        other.append(replace(fold, slices=tables["slice"], cases=tables["case"], scales={"final": scales}))
    pooled = pooled_metrics(other, cohort.params, cohort.seed)
    for level in ("slice", "case"):
        for label in cohort.labels.columns:
            for key in ("auc", "ap"):
                assert pooled[level][label][key]["value"] == pytest.approx(alone[level][label][key]["value"], abs=1e-9)


@settings(max_examples=50, deadline=None)
@given(st.lists(st.floats(1e-6, 1 - 1e-6), min_size=2, max_size=30))
def test_a_scale_keeps_the_order_and_takes_mean_and_spread_away(scores: list[float]) -> None:
    scaled = logit(Scale.of(scores)(scores))
    order = np.argsort(scores, kind="stable")
    assert (np.diff(scaled[order]) >= 0).all()
    assert abs(scaled.mean()) < 1e-6
    assert Scale.from_json(Scale.of(scores).to_json()) == Scale.of(scores)
    if np.ptp(scores) > 1e-3:
        assert scaled.std() == pytest.approx(1.0)


@pytest.mark.parametrize("count", [1, 4])
def test_folds_of_one_system_pool_to_its_own_figures(count: int) -> None:
    cohort = make_cohort()
    pooled = pooled_metrics(folds_of(cohort, count), cohort.params, cohort.seed)
    alone = cohort.metrics()
    for level in ("slice", "case"):
        for label in (*cohort.labels.columns, "mean"):
            for key in ("auc", "ap", "sensitivity@balanced", "specificity@high_sensitivity", "npv@balanced"):
                mine, other = pooled[level][label][key], alone[level][label][key]
                for part in ("value", "low", "high"):
                    assert mine[part] == pytest.approx(other[part], abs=1e-12), (level, label, key)


def test_the_pooled_auc_is_scikit_learns_of_all_rows() -> None:
    cohort = make_cohort(seed=3)
    folds = folds_of(cohort, 5)
    rows = pd.concat([fold.slices for fold in folds])
    found = pooled_metrics(folds, cohort.params, 0)["slice"]["any"]["auc"]["value"]
    assert found == pytest.approx(roc_auc_score(rows["truth_any"], rows["final_any"]), abs=1e-12)


def test_each_fold_decides_by_its_own_threshold_and_a_fold_without_one_counts_nowhere() -> None:
    cohort = make_cohort(seed=4)
    one, two = folds_of(cohort, 2)

    def with_threshold(fold: FoldReading, threshold: float | None) -> FoldReading:
        points = {name: dict(named) for name, named in fold.ensemble.slice_points.items()}
        points["any"]["balanced"] = OperatingPoint(threshold, None, None, "no positive on validation")
        return replace(fold, ensemble=replace(fold.ensemble, slice_points=points))

    def sensitivity(folds: list[FoldReading]) -> dict:
        return pooled_metrics(folds, cohort.params, 0)["slice"]["any"]["sensitivity@balanced"]

    def found(fold: FoldReading, threshold: float) -> np.ndarray:
        positive = fold.slices.loc[fold.slices["truth_any"] == 1, "final_any"].to_numpy()
        return positive >= threshold

    both = sensitivity([with_threshold(one, 0.2), with_threshold(two, 0.8)])["value"]
    assert both == pytest.approx(np.concatenate([found(one, 0.2), found(two, 0.8)]).mean())
    first = sensitivity([with_threshold(one, 0.2), with_threshold(two, None)])["value"]
    assert first == pytest.approx(found(one, 0.2).mean())
    none = sensitivity([with_threshold(one, None), with_threshold(two, None)])
    assert none["value"] is None
    assert "no fold could choose" in none["reason"]


def test_a_patient_in_two_folds_is_refused() -> None:
    cohort = make_cohort()
    [fold] = folds_of(cohort, 1)
    with pytest.raises(ValueError, match="two folds"):
        pooled_metrics([fold, fold], cohort.params, 0)


def test_the_fold_table_has_every_label_at_both_levels() -> None:
    cohort = make_cohort()
    table = fold_table([cohort.metrics(), cohort.metrics()], cohort.labels)
    assert len(table) == 2 * 2 * 7
    assert table.groupby(["fold", "level"])["label"].nunique().eq(7).all()


def test_numbers_stand_for_patients_and_slices_and_lead_back_by_the_key_alone() -> None:
    folds = folds_of(make_cohort(), 3)
    slices, cases, key = numbered(folds)
    for table, level in ((slices, "slices"), (cases, "cases")):
        before = pd.concat([getattr(fold, level).assign(fold=i) for i, fold in enumerate(folds, start=1)])
        assert not {"SOPInstanceUID", "case_id", "patient_key"} & set(table)
        text = table.to_csv()
        assert not any(name in text for column in ("case_id", "patient_key") for name in before[column])
        back = table.merge(key, on=["case", "patient", "fold"], validate="many_to_one")
        for column in ("case_id", "patient_key", "final_any", "truth_any", "fold"):
            assert back[column].tolist() == before[column].tolist(), column
    assert key["case"].tolist() == list(range(1, len(key) + 1)) and key["case_id"].is_unique
    assert (slices["slice"] == slices.groupby("case").cumcount() + 1).all()
