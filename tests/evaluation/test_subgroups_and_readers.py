"""Subgroups, failures and readers of a test, against the definitions."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import roc_auc_score

from ich_pipeline.core.errors import InputError
from ich_pipeline.dicom.identity import case_id
from ich_pipeline.evaluation.readers import readers_of_test
from ich_pipeline.evaluation.subgroups import bands, case_facts, subgroup_rows
from ich_pipeline.evaluation.tables import case_failures, case_table
from ich_pipeline.tables.ages import age_years
from ich_pipeline.tables.masks import read_masks, write_masks
from ich_pipeline.tables.reader_tables import read_decisions

CASES = 40


@pytest.fixture
def facts() -> pd.DataFrame:
    i = np.arange(CASES)
    return pd.DataFrame(
        {
            "Manufacturer": np.where(i % 2 == 0, "ACME", ""),
            "sex": np.where(i < 2, "O", "F"),
            "thickness_mm": np.where(i % 2 == 0, 1.0, 5.0),
            "age_years": np.where(i == 7, np.nan, 30.0 + i),
            "lesion_ml": np.where(i % 3 == 0, 2.0, np.nan),
        }
    )


def test_subgroups_are_the_figures_of_their_cases(cohort, facts) -> None:
    table = subgroup_rows(cohort, facts, cohort.params.subgroups)
    rows = {(row["variable"], row["group"]): row for row in table.to_dict("records")}
    whole = cohort.metrics()["case"]["any"]
    everyone = rows["all", "all cases"]
    assert everyone["auc"] == whole["auc"]["value"] and everyone["auc_low"] == whole["auc"]["low"]
    assert everyone["sensitivity"] == whole["sensitivity@balanced"]["value"]
    scores, truth = cohort.cases.ranking(cohort.reading.case_scores[:, 0]), cohort.case_truth[:, 0]
    even = np.arange(CASES) % 2 == 0
    acme = rows["Manufacturer", "ACME"]
    finite = np.where(np.isinf(scores), -1, scores)
    assert acme["auc"] == pytest.approx(roc_auc_score(truth[even], finite[even]))
    assert acme["specificity"] == pytest.approx((~cohort.reading.decisions[even & (truth == 0)]).mean())
    assert acme["cases"] == 20 and acme["positives"] == truth[even].sum()
    assert [group for variable, group in rows if variable == "Manufacturer"] == ["ACME", "not stated"]
    assert sum(row["cases"] for (variable, _), row in rows.items() if variable == "age") == CASES
    assert ("age", "not stated") in rows
    few = rows["sex", "O"]
    assert np.isnan(few["auc"]) and "3 are needed" in few["reason"] and few["cases"] == 2


def test_lesion_size_divides_the_positives_only(cohort, facts) -> None:
    rows = subgroup_rows(cohort, facts, cohort.params.subgroups)
    sizes = rows[rows["variable"] == "lesion size"].set_index("group")
    truth = cohort.case_truth[:, 0]
    assert list(sizes.index) == ["1 to below 5 mL", "without a mask"]
    assert sizes["positives"].sum() == truth.sum()
    assert (sizes["cases"] - sizes["positives"] == (truth == 0).sum()).all()
    assert sizes["specificity"].nunique() == 1


def test_bands_hold_their_lower_edge() -> None:
    found = bands(np.array([1.0, 2.5, 5.0, 7.0, np.nan]), (2.5, 5.5), "mm")
    assert {name: list(np.flatnonzero(m)) for name, m in found.items()} == {
        "below 2.5 mm": [0], "2.5 to below 5.5 mm": [1, 2], "5.5 and above mm": [3], "not stated": [4],
    }  # fmt: skip


@pytest.mark.parametrize(
    ("text", "years"),
    [("045Y", 45.0), ("006M", 0.5), ("010W", 70 / 365.25), ("003D", 3 / 365.25), ("", None), ("45", None), ("Y", None)],
)
def test_ages_are_dicoms(text: str, years: float | None) -> None:
    found = age_years(text)
    assert math.isnan(found) if years is None else found == pytest.approx(years)


def test_lesion_volume_counts_overlapping_masks_once(tmp_path: Path) -> None:
    mask = np.zeros((8, 8), bool)
    mask[:2, :5] = True
    other = np.zeros((8, 8), bool)
    other[1:3, :5] = True
    write_masks(tmp_path / "m.csv", [("1", "a", mask), ("1", "b", other), ("2", "a", mask)])
    series = pd.DataFrame(
        {
            "case_id": ["C1", "C1", "C2"], "chosen": [False, True, True], "Manufacturer": ["x", "SIEMENS", None], "PatientSex": "",
            "PatientAge": "", "SliceThickness": 5.0, "row_spacing_mm": 2.0, "column_spacing_mm": 3.0, "spacing_mm": [9.0, 5.0, 5.0],
        }
    )  # fmt: skip
    slices = pd.DataFrame({"SOPInstanceUID": ["1", "2", "3"], "case_id": ["C1", "C1", "C2"]})
    found = case_facts(["C2", "C1"], series, slices, read_masks(tmp_path / "m.csv"))
    assert found.loc["C1", "lesion_ml"] == pytest.approx((15 + 10) * 2 * 3 * 5 / 1000)
    assert found["lesion_ml"].isna().tolist() == [True, False] and list(found["Manufacturer"]) == ["", "Siemens"]


def test_failures_are_all_wrong_decisions_worst_first(cohort) -> None:
    slices = pd.DataFrame({"case_id": [f"C{c}" for c in cohort.case_index], "patient_key": "P"})
    stopped = replace(cohort, reading=replace(cohort.reading, let_through=np.arange(CASES) % 5 > 0))
    decisions = stopped.ensemble.decide(stopped.reading.case_scores, stopped.reading.let_through)
    stopped = replace(stopped, reading=replace(stopped.reading, decisions=decisions))
    failures = case_failures(stopped, case_table(stopped, slices))
    truth = stopped.case_truth[:, 0] == 1
    assert (failures["kind"] == "false negative").sum() == (truth & ~decisions).sum() > 0
    assert (failures["kind"] == "false positive").sum() == (~truth & decisions).sum()
    misses = failures[failures["kind"] == "false negative"]
    assert list(misses["let_through"]) == sorted(misses["let_through"])
    for _, group in misses.groupby("let_through"):
        assert group["score"].is_monotonic_increasing
    assert failures.loc[failures["kind"] == "false positive", "score"].is_monotonic_decreasing


def test_readers_by_case_or_study_and_label(cohort, tmp_path: Path) -> None:
    uids = [f"1.2.{i}" for i in range(CASES)]
    cases = [case_id(uid) for uid in uids]
    truth = cohort.case_truth
    rows = [f"A,{uid},{t},any" for uid, t in zip(uids, truth[:, 0], strict=True)]
    rows += [f"B,{c},{1 - t},subdural" for c, t in zip(cases, truth[:, 5], strict=True)]
    rows += ["A,1.9,1,any", "A,Cother,0,any"]
    path = tmp_path / "readers.csv"
    path.write_text("\n".join(["reader,case,decision,label", *rows]) + "\n")
    found = readers_of_test(read_decisions(path, "any"), cohort, cases, {"Cother", *cases})
    assert found["cases"] == {"in_this_test": CASES, "not_evaluated_here": 1, "unknown": 1}
    (a,), (b,) = found["labels"]["any"], found["labels"]["subdural"]
    assert a["sensitivity"]["value"] == a["specificity"]["value"] == 1.0
    assert b["sensitivity"]["value"] == b["specificity"]["value"] == 0.0
    ours = cohort.metrics()["case"]["any"]
    difference = a["noninferiority"]["sensitivity"]
    assert difference["difference"] == pytest.approx(ours["sensitivity@balanced"]["value"] - 1)
    assert difference["noninferior"] == (difference["low"] > -0.1)
    assert a["auc"]["system"]["value"] == pytest.approx(ours["auc"]["value"])


def test_readers_files_that_are_wrong_or_empty(cohort, tmp_path: Path) -> None:
    path = tmp_path / "readers.csv"
    path.write_text("reader,case,decision\n")
    assert read_decisions(path, "any") is None
    assert readers_of_test(None, cohort, [], set())["labels"] == {}
    path.write_text("reader,case,decision,label\nA,C1,1,any")  # a single read, and no line end behind it
    found = read_decisions(path, "any")
    assert found is not None and found.cases == ("C1",)
    for rows, sentence in (
        (["reader,case", "A,C1"], "must name reader,case,decision"),
        (["reader,case,decision", "A,C1,2"], "must be 0 or 1"),
        (["reader,case,decision", "A,C1,1", "A,C1,0"], "decided on any in this case before, in line 2"),
        (["reader,case,decision", ",C1,1"], "must not be empty"),
    ):
        path.write_text("\n".join(rows) + "\n")
        with pytest.raises(InputError, match=sentence):
            read_decisions(path, "any")
    path.write_text(f"reader,case,decision\nA,1.2.3,1\nA,{case_id('1.2.3')},0\n")
    with pytest.raises(InputError, match="decided twice on case"):
        readers_of_test(read_decisions(path, "any"), cohort, [case_id("1.2.3")], set())
    path.write_text("reader,case,decision,label\nA,C1,1,tumour\n")
    with pytest.raises(InputError, match="'tumour' is none of any"):
        readers_of_test(read_decisions(path, "any"), cohort, ["C1"], set())
    with pytest.raises(InputError, match="is missing"):
        read_decisions(tmp_path / "none.csv", "any")
