"""The suites at the end of the split stage: leakage, empty cohorts, prevalence, balance, findings.

What they say about test labels is sealed: the verdict is told, the value is not.
"""

from __future__ import annotations

import numpy as np
import pandas as pd

from ich_pipeline.config import Params
from ich_pipeline.quality.checks import Check, Suite
from ich_pipeline.tables.cohort_names import COHORTS, PROSPECTIVE, RETROSPECTIVE, TESTS, TRAIN, VALIDATION
from ich_pipeline.tables.labels import Labels

BALANCE_TOLERANCE = 0.1  # of the wanted share of positive cases; a warning only


def cohort_suites(
    cohorts: pd.DataFrame, cases: pd.DataFrame, files: dict[str, pd.DataFrame], params: Params, frozen: bool = False
) -> tuple[Suite, ...]:
    """All suites of the split stage.

    Args:
        cohorts: one row a case (schema ``cohorts/1``).
        cases: every case with labels, with each label (1 where any slice shows it).
        files: the label table of each cohort.
        params: thresholds and label names.
        frozen: the tests were not drawn now, and later patients learn.
    """
    return (
        membership_suite(cohorts, cases, frozen),
        prevalence_suite(cohorts, cases, files, params),
        learning_suite(cohorts, cases, params.label_set),
    )


def membership_suite(cohorts: pd.DataFrame, cases: pd.DataFrame, frozen: bool = False) -> Suite:
    """One row a case: who is where, and when."""
    rows = cohorts.copy()
    by_patient = rows.groupby("patient_key")
    rows["cohorts_of_patient"] = by_patient["cohort"].transform("nunique").astype(int)
    in_cohorts = rows.assign(person=rows["case_id"].map(cases.set_index("case_id")["person"])).groupby("person")[
        "cohort"
    ]
    rows["cohorts_of_head"] = in_cohorts.transform("nunique")
    rows["has_labels"] = rows["case_id"].isin(set(cases["case_id"]))
    latest = pd.to_datetime(by_patient["StudyDate"].transform("max"), format="%Y%m%d")
    start = latest[rows["cohort"] == PROSPECTIVE].min()
    # Null in the prospective cohort itself; negative for a patient whose latest study is after its start.
    days = (start - latest).dt.days.astype(float)
    rows["days_before_prospective"] = days.where(rows["cohort"] != PROSPECTIVE)
    report = "this is a fault of the program: please report it."
    checks = (
        Check(
            "no_leak", "No patient is in two cohorts", "ExpectColumnValuesToBeInSet",
            {"column": "cohorts_of_patient", "value_set": [1]}, "one cohort a patient", report,
        ),
        Check(
            "no_twin_leak", "No head is in two cohorts, under whatever names", "ExpectColumnValuesToBeInSet",
            {"column": "cohorts_of_head", "value_set": [1]}, "one cohort a head", report,
        ),
        Check(
            "case_once", "Every case is in one cohort", "ExpectColumnValuesToBeUnique", {"column": "case_id"},
            "no case twice", report,
        ),
        Check(
            "series_once", "No series is used twice", "ExpectColumnValuesToBeUnique", {"column": "SeriesInstanceUID"},
            "no series twice", report,
        ),
        Check(
            "has_labels", "Every case has labels", "ExpectColumnValuesToBeInSet",
            {"column": "has_labels", "value_set": [True]}, "labels for each case", report,
        ),
        Check(
            "all_cases", "Every labelled case is in a cohort", "ExpectTableRowCountToEqual", {"value": len(cases)},
            f"{len(cases):,} cases", report, unit="cases",
        ),
        Check(
            "all_cohorts", "No cohort is empty", "ExpectColumnDistinctValuesToEqualSet",
            {"column": "cohort", "value_set": list(COHORTS)}, ", ".join(COHORTS),
            "add patients, or change the shares under split in params.yaml.",
            observed=", ".join(sorted(set(rows["cohort"]))),
        ),
        Check(
            "prospective_latest", "The prospective patients are the latest", "ExpectColumnValuesToBeBetween",
            {"column": "days_before_prospective", "min_value": 0}, "no other patient is later than the first of them",
            "a patient who alone shows a finding is kept for training, whatever the date; else report it.",
            severity="warning", unit="days",
        ),
    )  # fmt: skip
    return Suite("cohorts", "Cohorts", "cases", rows, ("case_id",), checks[:-1] if frozen else checks)


def folds_suite(cohorts: pd.DataFrame, folds: pd.DataFrame) -> Suite:
    """One row a case: in how many folds its patient is. For a cohort that has folds (schema ``folds/1``)."""
    rows = cohorts.loc[:, ["case_id", "cohort"]]
    found = cohorts["patient_key"].map(folds["patient_key"].value_counts()).fillna(0.0)
    tested = rows["cohort"].isin(TESTS)
    rows = rows.assign(folds_of_tested=found.where(tested), folds_of_learning=found.where(~tested))
    report = "this is a fault of the program: please report it."
    checks = (
        Check(
            "no_test_in_folds", "No test patient is in a fold", "ExpectColumnValuesToBeInSet",
            {"column": "folds_of_tested", "value_set": [0]}, "no fold a test patient", report,
        ),
        Check(
            "learners_in_one_fold", "Every patient of train and validation is in one fold", "ExpectColumnValuesToBeInSet",
            {"column": "folds_of_learning", "value_set": [1]}, "one fold a patient", report,
        ),
    )  # fmt: skip
    return Suite("folds", "Folds of train and validation", "cases", rows, ("case_id",), checks)


def prevalence_suite(
    cohorts: pd.DataFrame, cases: pd.DataFrame, files: dict[str, pd.DataFrame], params: Params
) -> Suite:
    """One row: prevalence of the other cohorts against train, and the balance of the retrospective one."""
    name = params.label_set.any
    train, validation, prospective = (float(files[cohort][name].mean()) for cohort in (TRAIN, VALIDATION, PROSPECTIVE))
    truth = cohorts.merge(cases.loc[:, ["case_id", name]], on="case_id")
    retrospective = truth.loc[truth["cohort"] == RETROSPECTIVE, name]
    row = {
        "cohort": "all",
        "validation_ratio": _ratio(validation, train),
        "prevalence_ratio": _ratio(prospective, train),
        "positive_fraction": float(retrospective.mean()),
    }
    limit = params.validate_.prevalence_ratio
    checks = [
        Check(
            "validation_ratio", f"“{name}” is about as common in the validation slices as in train",
            "ExpectColumnValuesToBeBetween", {"column": "validation_ratio", "min_value": 1 / limit, "max_value": limit},
            f"within a factor of {limit:g}",
            "the two differ: thresholds and calibration are fitted to another prevalence than the networks saw.",
            severity="warning",
        ),
        Check(
            "prevalence_ratio", f"“{name}” is about as common in the prospective slices as in train",
            "ExpectColumnValuesToBeBetween", {"column": "prevalence_ratio", "min_value": 1 / limit, "max_value": limit},
            f"within a factor of {limit:g}",
            "the two differ: expect calibration to be off on the prospective test, and say so.",
            severity="warning", sealed=True,
        ),
    ]  # fmt: skip
    wanted = params.split.retrospective.positive_fraction
    if wanted is not None:
        low, high = wanted - BALANCE_TOLERANCE, wanted + BALANCE_TOLERANCE
        checks.append(
            Check(
                "balance",
                "The retrospective cohort is as balanced as split asks for",
                "ExpectColumnValuesToBeBetween",
                {"column": "positive_fraction", "min_value": low, "max_value": high},
                f"{wanted:.0%} ± {BALANCE_TOLERANCE:.0%} of the cases are positive",
                "there are too few patients of one kind; the summary of split says which.",
                severity="warning",
                sealed=True,
            )
        )
    return Suite(
        "prevalence", "Prevalence against train", "comparison", pd.DataFrame([row]), ("cohort",), tuple(checks)
    )


def _ratio(prevalence: float, train: float) -> float:
    """A prevalence that cannot be compared is a breach, not a null that would pass."""
    return prevalence / train if train > 0 and np.isfinite(prevalence) else 1e9


def learning_suite(cohorts: pd.DataFrame, cases: pd.DataFrame, labels: Labels) -> Suite:
    """One row a finding: patients who show it in train and in validation; and one row for patients without any."""
    shown = cases.merge(cohorts.loc[:, ["case_id", "cohort"]], on="case_id")
    rows = []
    for finding in (*labels.subtypes, "no finding"):
        has = shown[labels.any] == 0 if finding == "no finding" else shown[finding] > 0
        row: dict[str, object] = {"finding": finding}
        for cohort in (TRAIN, VALIDATION):
            row[cohort] = int(shown.loc[has & (shown["cohort"] == cohort), "patient_key"].nunique())
        rows.append(row)
    table = pd.DataFrame(rows)
    checks = tuple(
        Check(
            f"in_{cohort}", f"Every finding is in {cohort}", "ExpectColumnValuesToBeBetween",
            {"column": cohort, "min_value": 1}, "at least 1 patient each, and 1 without any finding", remedy,
            severity="warning", observed="; ".join(f"{row['finding']} {row[cohort]}" for row in rows),
        )
        for cohort, remedy in (
            (TRAIN, "what is not in train cannot be learned; add patients."),
            (VALIDATION, "thresholds and figures of these are null on validation, with the reason; add patients."),
        )
    )  # fmt: skip
    return Suite("learning", "Findings to learn from", "findings", table, ("finding",), checks)
