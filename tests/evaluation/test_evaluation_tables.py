"""Tables of a test cohort."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from ich_pipeline.evaluation.tables import as_text, case_table, key_figures, slice_table


@pytest.fixture
def slices(cohort) -> pd.DataFrame:
    n = len(cohort.labelled)
    who = cohort.patients
    return pd.DataFrame(
        {
            "SOPInstanceUID": [f"1.2.{i}" for i in range(n)],
            "case_id": [f"C{p:02}" for p in who],
            "patient_key": [f"P{p}" for p in who],
        }
    )


def test_slice_table(cohort, slices) -> None:
    table = slice_table(cohort, slices)
    assert len(table) == len(slices)
    np.testing.assert_array_equal(table["final_subdural"], cohort.reading.final[:, 5])
    np.testing.assert_array_equal(table["truth_any"], cohort.truth[:, 0])
    assert table["truth_any"].dtype == np.int8 and table["reread"].dtype == bool
    labelled = np.arange(len(slices)) >= 10
    part = replace(cohort, labelled=labelled, truth=cohort.truth[labelled])
    assert slice_table(part, slices)["truth_any"].isna().sum() == 10
    assert len(case_table(part, slices)) == 39


def test_case_table_is_the_slices_gathered(cohort, slices) -> None:
    table = case_table(cohort, slices).set_index("case_id")
    by_case = slice_table(cohort, slices).groupby("case_id")
    np.testing.assert_array_equal(table["final_any"], by_case["final_any"].max().loc[table.index])
    np.testing.assert_array_equal(table["truth_epidural"], by_case["truth_epidural"].max().loc[table.index])
    threshold = cohort.ensemble.decision_threshold
    np.testing.assert_array_equal(table["decision"], table["let_through"] & (table["final_any"] >= threshold))


def test_text_for_people(cohort) -> None:
    assert as_text({"value": 0.91234, "low": 0.88, "high": 0.9411}) == "0.912 (0.880–0.941)"
    assert (
        as_text({"value": None, "low": None, "high": None, "reason": "no positives"}) == "not estimable: no positives"
    )
    figures = key_figures(cohort.metrics(), "slice")
    assert list(figures["label"]) == [*cohort.labels.columns, "mean"]
