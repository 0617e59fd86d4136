"""Folds: everyone tested once, nobody in two cohorts of a fold, each finding dealt out evenly."""

from __future__ import annotations

from collections import Counter

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ich_pipeline.cohort_names import RETROSPECTIVE, TRAIN, VALIDATION
from ich_pipeline.errors import InputError
from ich_pipeline.folds import draw_folds
from ich_pipeline.labels import Labels

LABELS = Labels("any", ("epidural", "subdural", "subarachnoid"))


def cohort(findings: list[set[str]]) -> pd.DataFrame:
    rows = []
    for i, shown in enumerate(findings):
        row: dict[str, object] = {
            "case_id": f"C{i:04d}",
            "patient_key": f"P{i:04d}",
            "person": f"P{i:04d}",
            "StudyInstanceUID": f"1.{i}",
            "SeriesInstanceUID": f"1.{i}.1",
            "StudyDate": "20200101",
            "any": int(bool(shown)),
        }
        rows.append(row | {name: int(name in shown) for name in LABELS.subtypes})
    return pd.DataFrame(rows)


@settings(max_examples=40, deadline=None)
@given(st.lists(st.sets(st.sampled_from(LABELS.subtypes)), min_size=10, max_size=40), st.integers(2, 5))
def test_every_patient_is_tested_once_and_is_in_one_cohort_of_each_fold(findings: list[set[str]], count: int) -> None:
    cases = cohort(findings)
    folds = draw_folds(cases, LABELS, count, 0.15, seed=3)
    tested: Counter[str] = Counter()
    for fold in folds:
        assert fold.cohorts["case_id"].tolist() == sorted(cases["case_id"])
        assert fold.cohorts.groupby("patient_key")["cohort"].nunique().max() == 1
        assert set(fold.cohorts["cohort"]) == {TRAIN, VALIDATION, RETROSPECTIVE}
        tested.update(fold.cohorts.loc[fold.cohorts["cohort"] == RETROSPECTIVE, "patient_key"])
    assert tested == Counter(cases["patient_key"])


def test_a_finding_of_ten_patients_is_in_each_of_five_folds_twice() -> None:
    findings: list[set[str]] = [{"epidural"} for _ in range(10)] + [set() for _ in range(15)]
    cases = cohort(findings)
    shown = set(cases.loc[cases["epidural"] == 1, "patient_key"])
    for fold in draw_folds(cases, LABELS, 5, 0.15, seed=3):
        held_out = set(fold.cohorts.loc[fold.cohorts["cohort"] == RETROSPECTIVE, "patient_key"])
        assert len(held_out) == 5
        assert len(held_out & shown) == 2


def test_the_draw_depends_on_the_seed_and_not_on_the_row_order() -> None:
    cases = cohort([{"subdural"} if i % 3 == 0 else set() for i in range(20)])
    one = draw_folds(cases, LABELS, 4, 0.2, seed=1)
    same = draw_folds(cases.sample(frac=1, random_state=0), LABELS, 4, 0.2, seed=1)
    other = draw_folds(cases, LABELS, 4, 0.2, seed=2)
    assert all(a.cohorts.equals(b.cohorts) for a, b in zip(one, same, strict=True))
    assert not all(a.cohorts.equals(b.cohorts) for a, b in zip(one, other, strict=True))


@pytest.mark.parametrize("count", [1, 6])
def test_too_many_folds_are_refused_in_a_sentence(count: int) -> None:
    with pytest.raises(InputError, match="10 patients with labels cannot be dealt"):
        draw_folds(cohort([set() for _ in range(10)]), LABELS, count, 0.15, seed=1)
