"""Each expectation passes on sound tables and fails on a fault planted for it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pandas as pd
import pytest

from ich_pipeline.config import Params
from ich_pipeline.quality.checks import Suite, SuiteResult, overall
from ich_pipeline.quality.cohort_suites import cohort_suites, membership_suite, prevalence_suite
from ich_pipeline.quality.runner import run_suites
from ich_pipeline.quality.suites import validate_suites
from ich_pipeline.series.cautions import UNREAD
from ich_pipeline.series.likeness import CELLS, LEVELS
from ich_pipeline.splits.patient_cohorts import Split, case_table, label_file, split_cases
from ich_pipeline.tables.cohort_names import COHORTS
from ich_pipeline.tables.label_tables import UID, check_against

Tables = tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame]
Fault = Callable[[pd.DataFrame, pd.DataFrame, pd.DataFrame], None]


def put(which: int, row: int, column: str, value: Any) -> Fault:
    """Put ``value`` into ``row`` of the series (0), slice (1) or label (2) table."""

    def plant(*tables: pd.DataFrame) -> None:
        tables[which][column] = tables[which][column].astype(object)
        tables[which].loc[row, column] = value
        tables[which][column] = tables[which][column].infer_objects()

    return plant


def no_series(series: pd.DataFrame, slices: pd.DataFrame, table: pd.DataFrame) -> None:
    series["chosen"] = False


def four_without_air(series: pd.DataFrame, slices: pd.DataFrame, table: pd.DataFrame) -> None:
    slices.loc[: 4 * 6 - 1, "hu_min"] = 0


def few_air(series: pd.DataFrame, slices: pd.DataFrame, table: pd.DataFrame) -> None:
    series.loc[:3, "air_share"] = 0.01


def no_soft_tissue(series: pd.DataFrame, slices: pd.DataFrame, table: pd.DataFrame) -> None:
    series.loc[:3, "soft_share"] = 0.0


def two_alike(series: pd.DataFrame, slices: pd.DataFrame, table: pd.DataFrame) -> None:
    series.loc[[3, 4], "fingerprint"] = pd.Series([list(range(LEVELS * CELLS * CELLS))] * 2, index=[3, 4])


def both_sexes(series: pd.DataFrame, slices: pd.DataFrame, table: pd.DataFrame) -> None:
    series.loc[4, ["patient_key", "PatientAge"]] = series.loc[3, ["patient_key", "PatientAge"]]


def many_blank(series: pd.DataFrame, slices: pd.DataFrame, table: pd.DataFrame) -> None:
    slices.loc[::10, "hu_max"] = -1024


def everything_bleeds(series: pd.DataFrame, slices: pd.DataFrame, table: pd.DataFrame) -> None:
    table[["any", "epidural"]] = 1


def no_epidural(series: pd.DataFrame, slices: pd.DataFrame, table: pd.DataFrame) -> None:
    table["any"] -= table["epidural"]
    table["epidural"] = 0


def unlabelled(series: pd.DataFrame, slices: pd.DataFrame, table: pd.DataFrame) -> None:
    table.drop(index=[7, 8], inplace=True)  # noqa: PD002 the fault is planted in place


# check: (severity seen, the fault)
FAULTS: dict[str, tuple[str, Fault]] = {
    "series.any_series": ("failed", no_series),
    "series.one_series_a_study": ("failed", put(0, 3, "StudyInstanceUID", "1.4")),
    "series.series_once": ("failed", put(0, 3, "SeriesInstanceUID", "1.4.1")),
    "series.patient_known": ("failed", put(0, 3, "patient_key", "")),
    "series.study_date": ("failed", put(0, 3, "StudyDate", "20201301")),
    "series.row_spacing": ("failed", put(0, 3, "row_spacing_mm", 45.0)),
    "series.column_spacing": ("failed", put(0, 3, "column_spacing_mm", 0.01)),
    "series.square_pixels": ("warning", put(0, 3, "row_spacing_mm", 0.9)),
    "series.square_matrix": ("warning", put(0, 3, "Rows", 80)),
    "series.slice_thickness": ("failed", put(0, 3, "SliceThickness", 50.0)),
    "series.enough_slices": ("failed", put(0, 3, "slices", 3)),
    "series.slices_counted": ("failed", put(0, 3, "slices", 7)),
    "series.one_patient_a_scan": ("failed", put(0, 3, "content", f"{4:032x}")),
    "series.no_twin": ("warning", two_alike),
    "series.one_person_a_patient": ("warning", both_sexes),
    "series.slice_step": ("warning", put(0, 3, "spacing_mm", 50.0)),
    "series.even_steps": ("warning", put(0, 3, "uneven_steps", True)),
    "series.no_contrast": ("warning", put(0, 3, "contrast_suspected", True)),
    "series.air_share_mostly": ("failed", few_air),
    "series.air_share": ("warning", put(0, 3, "air_share", 0.99)),
    "series.soft_share_mostly": ("failed", no_soft_tissue),
    "series.soft_share": ("warning", put(0, 3, "soft_share", 0.001)),
    "series.whole_head": ("warning", put(0, 3, "reason", f"chosen: x; caution: slices at 0…9 mm {UNREAD} (3)")),
    "series.no_gaps": ("warning", put(0, 3, "gaps", 1)),
    "series.no_duplicates": ("warning", put(0, 3, "duplicates", 1)),
    "series.tilt": ("warning", put(0, 3, "tilt_deg", -45.0)),
    "series.air_mostly": ("failed", four_without_air),
    "series.air": ("warning", four_without_air),
    "slices.slice_once": ("failed", put(1, 8, UID, "1.0.1.0")),
    "slices.index_once": ("failed", put(1, 8, "index", 1)),
    "slices.rising": ("failed", put(1, 8, "position_mm", 5.0)),
    "slices.neighbour_before": ("failed", put(1, 8, "neighbour_before", 0)),
    "slices.neighbour_after": ("failed", put(1, 8, "neighbour_after", 4)),
    "slices.hu_range_mostly": ("failed", many_blank),
    "slices.hu_range": ("warning", put(1, 8, "hu_max", -1000)),
    "labels.coverage": ("failed", unlabelled),
    "labels.coverage_complete": ("warning", unlabelled),
    **{
        f"labels.binary_{name}": ("failed", put(2, 3, name, 2))
        for name in ("any", "epidural", "intraparenchymal", "intraventricular", "subarachnoid", "subdural")
    },
    "labels.any_rule": ("failed", put(2, 0, "any", 1)),
    "labels.prevalence": ("failed", everything_bleeds),
    "findings.present": ("warning", no_epidural),
    "findings.in_patients": ("warning", no_epidural),
}


def judged(series: pd.DataFrame, slices: pd.DataFrame, table: pd.DataFrame, params: Params) -> tuple[Suite, ...]:
    coverage = check_against(table, slices, set_aside=table[UID])
    return validate_suites(series, slices, table, coverage, params)


def statuses(results: tuple[SuiteResult, ...]) -> dict[str, str]:
    return {f"{r.name}.{o.check.name}": o.status for r in results for o in r.outcomes}


@pytest.fixture
def tables(series: pd.DataFrame, slices: pd.DataFrame, table: pd.DataFrame) -> Tables:
    return series, slices, table


def test_sound_tables_pass_every_check(tables: Tables, params: Params) -> None:
    results = run_suites(judged(*tables, params))
    assert overall(results) == "passed"
    assert [r.rows for r in results] == [40, 240, 240, 5]
    assert set(statuses(results)) == set(FAULTS), "a check without a planted fault, or a fault without a check"


@pytest.mark.parametrize("name", FAULTS)
def test_each_check_finds_the_fault_planted_for_it(tables: Tables, params: Params, name: str) -> None:
    expected, plant = FAULTS[name]
    plant(*tables)
    suite_name, check_name = name.split(".")
    suite = next(s for s in judged(*tables, params) if s.name == suite_name)
    alone = replace(suite, checks=tuple(check for check in suite.checks if check.name == check_name))
    (result,) = run_suites([alone])
    assert statuses((result,))[name] == expected


def test_a_breach_names_cases_and_shows_what_was_found(tables: Tables, params: Params) -> None:
    put(0, 3, "row_spacing_mm", 45.0)(*tables)
    suites = judged(*tables, params)
    (result,) = run_suites(suites[:1])
    outcome = next(o for o in result.outcomes if o.check.name == "row_spacing")
    assert outcome.observed == "0.45 to 45 mm; 1 of 40 break it"
    assert (outcome.examined, outcome.breaches) == (40, 1)
    assert outcome.examples == ("C000000000000000000000003",)
    assert outcome.histogram is not None
    assert sum(outcome.histogram.counts) == 40
    assert outcome.histogram.breach[-1]
    assert not outcome.histogram.breach[0]


def test_a_lower_coverage_is_a_warning_with_exact_counts(tables: Tables, params: Params) -> None:
    unlabelled(*tables)
    lower = params.model_copy(update={"validate_": params.validate_.model_copy(update={"label_coverage": 0.9})})
    results = run_suites(judged(*tables, lower))
    assert overall(results) == "warning"
    found = {o.check.name: o for o in results[2].outcomes}
    assert found["coverage"].status == "passed"
    assert found["coverage"].observed.startswith("238 of 240 slices are labelled; 2 without a label (in 1 series)")
    assert found["coverage_complete"].examples == ("C000000000000000000000001 1", "C000000000000000000000001 2")


def test_an_expectation_that_cannot_be_judged_is_a_fault(tables: Tables, params: Params) -> None:
    suite = judged(*tables, params)[1]
    broken = replace(suite, table=suite.table.drop(columns="hu_span"))
    with pytest.raises(RuntimeError, match=r"suite slices, check hu_range.* could not be evaluated"):
        run_suites([broken])


# The cohorts.


@pytest.fixture
def split(tables: Tables, params: Params) -> Split:
    cases = case_table(*tables, params.label_set)
    return split_cases(cases, params.label_set, params.split, 1)


def files_of(split: Split, slices: pd.DataFrame, table: pd.DataFrame) -> dict[str, pd.DataFrame]:
    return {cohort: label_file(cohort, split, slices, table) for cohort in COHORTS}


def test_a_sound_split_passes(tables: Tables, params: Params, split: Split) -> None:
    _, slices, table = tables
    cases = case_table(*tables, params.label_set)
    results = run_suites(cohort_suites(split.cohorts, cases, files_of(split, slices, table), params))
    assert {k: v for k, v in statuses(results).items() if v != "passed"} == {}


def cohort_fault(name: str, cohorts: pd.DataFrame, cases: pd.DataFrame) -> pd.DataFrame:
    """A copy of the cohorts with one fault; of one head under two patients the cases tell."""
    broken = cohorts.copy()
    train = broken.index[broken["cohort"] == "train"]
    if name == "no_leak":
        broken.loc[train[0], "patient_key"] = broken.loc[broken["cohort"] == "validation", "patient_key"].iloc[0]
    elif name == "no_twin_leak":
        cases.loc[cases["case_id"] == broken.loc[train[0], "case_id"], "person"] = "P1"
        cases.loc[cases["case_id"] == broken.loc[broken["cohort"] == "validation", "case_id"].iloc[0], "person"] = "P1"
    elif name == "case_once":
        broken.loc[train[0], "case_id"] = broken.loc[train[1], "case_id"]
    elif name == "series_once":
        broken.loc[train[0], "SeriesInstanceUID"] = broken.loc[train[1], "SeriesInstanceUID"]
    elif name == "has_labels":
        broken.loc[train[0], "case_id"] = "C999999999999999999999999"
    elif name == "all_cases":
        broken = broken.drop(index=train[0])
    elif name == "all_cohorts":
        broken.loc[broken["cohort"] == "validation", "cohort"] = "train"
    elif name == "prospective_latest":
        broken.loc[train[0], "StudyDate"] = "20301231"
    return broken


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("no_leak", "failed"),
        ("no_twin_leak", "failed"),
        ("case_once", "failed"),
        ("series_once", "failed"),
        ("has_labels", "failed"),
        ("all_cases", "failed"),
        ("all_cohorts", "failed"),
        ("prospective_latest", "warning"),
    ],
)
def test_each_fault_of_a_split_is_found(tables: Tables, params: Params, split: Split, name: str, expected: str) -> None:
    cases = case_table(*tables, params.label_set)
    suite = membership_suite(cohort_fault(name, split.cohorts, cases), cases)
    assert {check.name for check in suite.checks} >= {name}
    (result,) = run_suites([suite])
    assert statuses((result,))[f"cohorts.{name}"] == expected


def test_prevalence_and_balance_warn_without_telling_the_value(tables: Tables, params: Params, split: Split) -> None:
    _, slices, table = tables
    cases = case_table(*tables, params.label_set)
    files = files_of(split, slices, table)
    files["test_prospective"] = files["test_prospective"].assign(any=1)
    (result,) = run_suites([prevalence_suite(split.cohorts, cases.assign(any=1), files, params)])
    sealed = [o for o in result.outcomes if o.check.sealed]
    assert statuses((replace(result, outcomes=tuple(sealed)),)) == {
        "prevalence.prevalence_ratio": "warning",
        "prevalence.balance": "warning",
    }
    assert {o.observed for o in sealed} == {"beyond the limit (value sealed)"}
    assert all(o.examined is None and o.histogram is None and not o.examples for o in sealed)


@pytest.mark.parametrize("value", [0, 1])
def test_validation_of_another_prevalence_warns(tables: Tables, params: Params, split: Split, value: int) -> None:
    _, slices, table = tables
    cases = case_table(*tables, params.label_set)
    files = files_of(split, slices, table)
    files["validation"] = files["validation"].assign(any=value)
    (result,) = run_suites([prevalence_suite(split.cohorts, cases, files, params)])
    assert statuses((result,))["prevalence.validation_ratio"] == "warning"


def test_a_finding_that_misses_from_a_cohort_warns(tables: Tables, params: Params, split: Split) -> None:
    _, slices, table = tables
    cases = case_table(*tables, params.label_set)
    lost = split.cohorts.merge(cases[["case_id", "epidural"]], on="case_id")
    cohorts = split.cohorts.assign(cohort=split.cohorts["cohort"].where(lost["epidural"] == 0, "test_prospective"))
    results = run_suites(cohort_suites(cohorts, cases, files_of(split, slices, table), params)[2:])
    assert statuses(results) == {"learning.in_train": "warning", "learning.in_validation": "warning"}
    assert results[0].outcomes[0].observed.startswith("epidural 0; ")
