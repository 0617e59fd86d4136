"""The suites of the validate stage over labels and findings."""

from __future__ import annotations

import pandas as pd

from ich_pipeline.config import Params
from ich_pipeline.quality.checks import Check, Suite
from ich_pipeline.tables.label_tables import Coverage
from ich_pipeline.tables.labels import Labels


def labels_suite(labelled: pd.DataFrame, coverage: Coverage, params: Params) -> Suite:
    """One row a slice of the chosen series; its labels are null where the label table has none."""
    labels = params.label_set
    table = labelled.copy()
    table[list(labels.columns)] = table[list(labels.columns)].astype(float)
    subtypes = table[list(labels.subtypes)]
    table["any_of_subtypes"] = subtypes.max(axis=1).where(subtypes.notna().all(axis=1))
    least = params.validate_.label_coverage
    low, high = params.validate_.prevalence
    positive, of = int(table[labels.any].sum()), int(table[labels.any].notna().sum())
    share = f"{positive:,} of {of:,} labelled slices ({positive / of:.1%})" if of else "no labelled slice"
    mend = "mend data/labels.csv."
    checks = (
        Check(
            "coverage", "Slices carry labels", "ExpectColumnProportionOfNonNullValuesToBeBetween",
            {"column": labels.any, "min_value": least}, f"at least {least:.0%} of the slices",
            "add the missing rows to data/labels.csv, or lower validate.label_coverage: slices without a label are then left out.",
            observed=coverage.sentence,
        ),
        Check(
            "coverage_complete", "No slice is without a label", "ExpectColumnValuesToNotBeNull", {"column": labels.any},
            "all slices", "slices without a label are in no cohort: neither trained on nor tested on.", severity="warning",
            observed=coverage.sentence,
        ),
        *(
            Check(
                f"binary_{name}", f"“{name}” is 0 or 1", "ExpectColumnValuesToBeInSet", {"column": name, "value_set": [0, 1]},
                "0 or 1", mend,
            )
            for name in labels.columns
        ),
        Check(
            "any_rule", f"“{labels.any}” is 1 exactly where a subtype is", "ExpectColumnPairValuesToBeEqual",
            {"column_A": labels.any, "column_B": "any_of_subtypes", "ignore_row_if": "either_value_is_missing"},
            "the rule of “any”", mend,
        ),
        Check(
            "prevalence", f"“{labels.any}” is neither too rare nor too common", "ExpectColumnMeanToBeBetween",
            {"column": labels.any, "min_value": low, "max_value": high}, f"{low:.0%} to {high:.0%} of the labelled slices",
            "check the label table, or widen validate.prevalence if your cohort is like this.", observed=share,
        ),
    )  # fmt: skip
    return Suite("labels", "Labels", "slices", table, ("case_id", "index"), checks)


def findings_suite(labelled: pd.DataFrame, labels: Labels) -> Suite:
    """One row a subtype: how many slices and patients show it."""
    positive = labelled.loc[:, ["patient_key", *labels.subtypes]]
    table = pd.DataFrame(
        {
            "finding": list(labels.subtypes),
            "slices": [int(positive[name].sum()) for name in labels.subtypes],
            "patients": [int(positive.loc[positive[name] == 1, "patient_key"].nunique()) for name in labels.subtypes],
        }
    )
    found = "; ".join(f"{row.finding} {row.slices:,} slices in {row.patients:,} patients" for row in table.itertuples())
    checks = (
        Check(
            "present", "Every finding is there to be learned", "ExpectColumnValuesToBeBetween",
            {"column": "slices", "min_value": 1}, "at least 1 slice each",
            "the networks cannot learn these findings; their figures will be null, with the reason.", severity="warning",
            observed=found,
        ),
        Check(
            "in_patients", "Every finding is in enough patients to be learned and tested", "ExpectColumnValuesToBeBetween",
            {"column": "patients", "min_value": 4}, "at least 4 patients each, one a cohort",
            "these findings miss from some cohorts; their figures there will be null, with the reason.", severity="warning",
            observed=found,
        ),
    )  # fmt: skip
    return Suite("findings", "Findings", "findings", table, ("finding",), checks)
