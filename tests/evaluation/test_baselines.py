"""The system against a baseline: the definitions, the tables, folds pooled, and what people are told."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import average_precision_score, roc_auc_score

from ich_pipeline.baselines.stored import Baseline, write_baseline
from ich_pipeline.core.files import write_table
from ich_pipeline.ensemble.one_scale import Scale
from ich_pipeline.evaluation.ablation import ablation_rows
from ich_pipeline.evaluation.baselines import STEP, baselines_of_test
from ich_pipeline.evaluation.cohort import TestCohort
from ich_pipeline.evaluation.crossvalidation import FoldReading, pooled_metrics
from ich_pipeline.evaluation.delong import paired_test
from ich_pipeline.evaluation.tables import case_table, slice_table
from ich_pipeline.report.baselines import baselines_markdown
from ich_pipeline.report.cautions import cautions
from ich_pipeline.studies.match import match_tables
from ich_pipeline.studies.matched import Choices
from ich_pipeline.tables.schemas import PREDICTIONS_TABLE
from tests.evaluation.conftest import make_cohort


@pytest.fixture(scope="module")
def judged() -> tuple[TestCohort, dict]:
    """A baseline that knows nothing, and one that is the system itself; a third of the slices without labels."""
    made = make_cohort(patients=24, slices=6, replicates=60, bleeding=dict.fromkeys(("subdural", "epidural"), 4))
    labelled = np.arange(len(made.labelled)) % 6 < 4
    drawn = np.random.default_rng(5).random(made.truth.shape)
    others = (Baseline("drawn", "Drawn", "chance", drawn), Baseline("same", "Same", "itself", made.reading.final))
    reading = replace(made.reading, let_through=np.ones(len(made.reading.let_through), bool))
    cohort = replace(made, reading=reading, labelled=labelled, truth=made.truth[labelled], baselines=others)
    return cohort, baselines_of_test(cohort)


def test_figures_and_paired_differences_are_those_of_the_definitions(judged) -> None:
    cohort, block = judged
    drawn, kept = cohort.baselines[0].scores[cohort.labelled], cohort.reading.final[cohort.labelled]
    found = block["drawn"]
    auc = roc_auc_score(cohort.truth[:, 0], drawn[:, 0])
    precision = np.mean([average_precision_score(cohort.truth[:, k], drawn[:, k]) for k in range(1, 6)])
    of_cases = np.array([cohort.baselines[0].scores[cohort.case_index == c, 0].max() for c in range(24)])
    assert found["slice_auc_any"]["value"] == pytest.approx(auc, abs=1e-12)
    assert found["mean_ap"]["value"] == pytest.approx(precision, abs=1e-12)
    assert found["case_auc_any"]["value"] == pytest.approx(roc_auc_score(cohort.case_truth[:, 0], of_cases), abs=1e-12)
    gains, system = found["difference"], cohort.metrics()
    for key, entry in (
        ("slice_auc_any", system["slice"]["any"]["auc"]),
        ("mean_ap", system["slice"]["mean"]["ap"]),
        ("case_auc_any", system["case"]["any"]["auc"]),
    ):
        assert gains[key]["value"] == pytest.approx(entry["value"] - found[key]["value"], abs=1e-12)
        assert gains[key]["low"] <= gains[key]["value"] <= gains[key]["high"]
    test = paired_test(kept[:, 0], drawn[:, 0], cohort.truth[:, 0], cohort.patients[cohort.labelled])
    assert gains["slice_auc_any"]["p"] == test.p and "p" not in gains["mean_ap"]


def test_a_system_does_not_beat_itself(judged) -> None:
    cohort, block = judged
    for entry in block["same"]["difference"].values():
        assert entry["value"] == 0 and entry["low"] is None and "equal in all" in entry["reason"]
        assert entry.get("p") is None
    blocks = {"test_a": {**cohort.metrics(), "baselines": block}}
    said = cautions(blocks, ["test_a"], "any")
    (own,) = [sentence for sentence in said if "“Same”" in sentence]
    assert own == (
        "Test a: better than the baseline “Same”, which has no trained network, is not shown (system less baseline: AUC of “any” by "
        "slice +0.000; mean average precision by slice +0.000; AUC of “any” by case +0.000)."
    )
    assert not any("“Drawn”" in sentence for sentence in said), "every interval lies above 0"
    text = baselines_markdown(blocks, ["test_a"], "any")
    assert "The system is better than the baseline “Drawn” by all three figures." in text
    assert "By none of the three figures is the system shown to be better than the baseline “Same”." in text
    assert text.count("| not shown |") == text.count("| shown |") == 3
    without = {"test_a": cohort.metrics()}  # of a version from before there were baselines
    assert set(said) == {own, *cautions(without, ["test_a"], "any")}
    assert baselines_markdown(without, ["test_a"], "any") == ""


def test_one_interval_that_reaches_zero_is_named_alone(judged) -> None:
    cohort, block = judged
    drawn = {**block["drawn"], "difference": {**block["drawn"]["difference"]}}
    drawn["difference"]["case_auc_any"] = {"value": 0.02, "low": -0.01, "high": 0.05, "p": 0.2}
    drawn["difference"]["mean_ap"] = {"value": None, "low": None, "high": None, "reason": "no label gives it"}
    blocks = {"test_a": {**cohort.metrics(), "baselines": {"drawn": drawn}}}
    (sentence,) = [said for said in cautions(blocks, ["test_a"], "any") if "baseline" in said]
    assert sentence.endswith(
        "(system less baseline: mean average precision by slice not estimable: no label gives it; AUC of “any” by case +0.020 (-0.010 "
        "to +0.050))."
    )
    assert "by AUC of “any” by slice alone." in baselines_markdown(blocks, ["test_a"], "any")


def test_baselines_are_rows_of_the_ablation(judged) -> None:
    cohort, block = judged
    rows = ablation_rows(cohort, {"a": cohort.reading.original["a"]}, block)
    assert list(rows["architecture"][:3]) == ["Drawn", "Same", "a"] and list(rows["step"][:2]) == [STEP, STEP]
    assert rows["architecture"].iloc[-1] == "ensemble" and rows["gain_over"].iloc[-1] == "a, with slice interpolation"
    first, difference = rows.iloc[0], block["drawn"]["difference"]
    assert first["mean_ap"] == block["drawn"]["mean_ap"]["value"]
    assert first["auc_any"] == block["drawn"]["slice_auc_any"]["value"]
    assert first["system_gain_case_auc_any_low"] == difference["case_auc_any"]["low"]
    assert first["system_gain_auc_any_p"] == difference["slice_auc_any"]["p"]
    assert rows["system_gain_mean_ap"][2:].isna().all()
    assert "system_gain_mean_ap: equal in all" in rows["reason"][1]
    plain = ablation_rows(cohort, {"a": cohort.reading.original["a"]})
    assert list(plain.columns) == list(rows.columns[: len(plain.columns)])


def test_folds_pool_to_the_tests_own_comparison(judged) -> None:
    cohort, block = judged
    slices = pd.DataFrame(
        {
            "SOPInstanceUID": [f"1.{i}" for i in range(len(cohort.labelled))],
            "case_id": [f"C{c:03d}" for c in cohort.case_index],
            "patient_key": [f"P{p:03d}" for p in cohort.patients],
        }
    )
    tables = slice_table(cohort, slices), case_table(cohort, slices)
    np.testing.assert_array_equal(tables[0]["baseline_drawn_any"], cohort.baselines[0].scores[:, 0])
    np.testing.assert_array_equal(
        tables[1]["baseline_drawn_any"], tables[0].groupby("case_id")["baseline_drawn_any"].max()
    )
    parts = [[t[t["patient_key"].str[1:].astype(int) % 3 == fold] for t in tables] for fold in range(3)]
    scales = {
        prefix: {level: dict.fromkeys(cohort.labels.columns, Scale(0.0, 1.0)) for level in ("slice", "case")}
        for prefix in ("final", *(f"baseline_{baseline.name}" for baseline in cohort.baselines))
    }
    folds = [FoldReading(cohort.ensemble, part[0], part[1], scales) for part in parts]
    pooled = pooled_metrics(folds, cohort.params, cohort.seed, block)["baselines"]
    assert pooled["drawn"]["title"] == "Drawn"
    for key in ("slice_auc_any", "mean_ap", "case_auc_any"):
        for mine, other in (
            (pooled["drawn"][key], block["drawn"][key]),
            (pooled["drawn"]["difference"][key], block["drawn"]["difference"][key]),
        ):
            for part in ("value", "low", "high"):
                assert mine[part] == pytest.approx(other[part], abs=1e-12), (key, part)


def test_a_baselines_own_table_is_another_system_for_ich_evaluate(judged, tmp_path) -> None:
    cohort, _ = judged
    slices = pd.DataFrame(
        {
            "SOPInstanceUID": [f"1.{i}" for i in range(len(cohort.labelled))],
            "case_id": [f"C{c:03d}" for c in cohort.case_index],
            "patient_key": [f"P{p:03d}" for p in cohort.patients],
        }
    )
    ours = tmp_path / "slices.parquet"
    write_table(ours, slice_table(cohort, slices), PREDICTIONS_TABLE)
    drawn = cohort.baselines[0]
    more = pd.concat([slices["SOPInstanceUID"], pd.Series(["9.1", "9.2"])], ignore_index=True)  # of other cohorts
    scores = np.concatenate([drawn.scores, np.full((2, drawn.scores.shape[1]), 0.5)])
    write_baseline(tmp_path, replace(drawn, scores=scores), more, cohort.labels)
    table = tmp_path / "drawn" / "predictions.parquet"
    found = match_tables(ours, ours, None, Choices(allow_missing=True), table)
    assert found.other is not None
    assert [name for name in found.other.columns if name] == list(cohort.labels.columns)
    np.testing.assert_allclose(found.other.scores, drawn.scores)
