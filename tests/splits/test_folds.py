"""Folds: everyone tested once, nobody in two cohorts of a fold, each finding dealt out evenly; tests are in no fold."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import ich_pipeline
from ich_pipeline.config import Params, load_params
from ich_pipeline.core.errors import InputError
from ich_pipeline.quality.cohort_suites import folds_suite
from ich_pipeline.quality.runner import run_suites
from ich_pipeline.splits.fold_table import read_folds
from ich_pipeline.splits.folds import LearnerFolds, cross_fitted, deal_learners, draw_folds
from ich_pipeline.splits.patient_cohorts import split_cases
from ich_pipeline.tables.cohort_names import RETROSPECTIVE, TESTS, TRAIN, VALIDATION
from ich_pipeline.tables.labels import Labels
from ich_pipeline.tables.schemas import FOLDS_TABLE

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


# Folds of train and validation.


SHARES = {"retrospective": 0.08, "prospective": 0.1}  # here, so that the counts below are not the profile's


@pytest.fixture(scope="module")
def phantom() -> Params:
    return load_params(Path(ich_pipeline.__file__).parent / "profiles" / "phantom.yaml")


def heads(params: Params, learning: tuple[str, ...] = (), **folds: Any) -> Params:
    """The same with heads on frozen features, but for the networks of ``learning``; ``folds`` changes split.folds."""
    networks = {
        name: of.model_copy(update={"weights": "w.h5", "frozen_layers": "block" if name in learning else 1.0})
        for name, of in params.networks.items()
    }
    drawn = {key: getattr(params.split, key).model_copy(update={"patients": share}) for key, share in SHARES.items()}
    split = params.split.model_copy(
        update={"validation": 0.1, **drawn, "folds": params.split.folds.model_copy(update=folds)}
    )
    return params.model_copy(update={"networks": networks, "split": split})


def dealt(findings: list[set[str]], params: Params, order: int | None = None) -> tuple[LearnerFolds, pd.DataFrame]:
    cases = cohort(findings)
    if order is not None:
        cases = cases.sample(frac=1, random_state=order)
    cohorts = split_cases(cases, LABELS, params.split, params.seed).cohorts
    return deal_learners(cohorts, cases, LABELS, params), cohorts


@settings(max_examples=30, deadline=None)
@given(st.lists(st.sets(st.sampled_from(LABELS.subtypes)), min_size=12, max_size=50), st.integers(2, 4))
def test_every_learner_is_in_one_fold_and_no_test_patient_is_in_any(
    phantom: Params, findings: list[set[str]], count: int
) -> None:
    params = heads(phantom, count=count)
    try:
        folds, cohorts = dealt(findings, params)
    except InputError as error:
        assert "cohort" in str(error) or "split.folds.count" in str(error)  # too few patients of a kind
        return
    tested = set(cohorts.loc[cohorts["cohort"].isin(TESTS), "patient_key"])
    learning = set(cohorts.loc[cohorts["cohort"].isin([TRAIN, VALIDATION]), "patient_key"])
    assert tested.isdisjoint(folds.table["patient_key"])
    assert folds.table["patient_key"].tolist() == sorted(learning)
    assert set(folds.table["fold"]) == set(range(count))
    sizes = folds.table["fold"].value_counts()
    assert sizes.max() - sizes.min() <= 1
    again, _ = dealt(findings, params, order=1)
    assert again.table.equals(folds.table)


def test_patients_of_one_head_learn_in_one_fold(phantom: Params) -> None:
    cases = cohort([{"subdural"} if i % 3 == 0 else set() for i in range(40)])
    cases["person"] = cases["patient_key"].where(cases.index % 4 > 0, cases["patient_key"].shift(1, fill_value="P0000"))
    params = heads(phantom, count=4)
    cohorts = split_cases(cases, LABELS, params.split, params.seed).cohorts
    folds = deal_learners(cohorts, cases, LABELS, params)
    (sound,) = run_suites([folds_suite(cohorts, folds.table)])
    assert {o.status for o in sound.outcomes} == {"passed"}
    assert set(folds.table["patient_key"]) == set(cohorts.loc[~cohorts["cohort"].isin(TESTS), "patient_key"])
    of_head = folds.table.merge(cases[["patient_key", "person"]], on="patient_key").groupby("person")["fold"]
    assert of_head.nunique().max() == 1 and of_head.size().max() == 2


def test_each_fold_gets_its_share_of_a_rare_finding_and_of_the_patients_without_any(phantom: Params) -> None:
    findings: list[set[str]] = [{"epidural"}] * 8 + [{"subdural"}] * 24 + [{"subdural", "subarachnoid"}] * 16
    folds, _ = dealt(findings + [set() for _ in range(60)], heads(phantom, count=4))
    fold = folds.table.set_index("patient_key")["fold"]
    shown = dict(zip(cohort(findings)["patient_key"], findings, strict=True))
    for rare in ({"epidural"}, {"subdural", "subarachnoid"}, set()):
        each = Counter(fold[key] for key in fold.index if shown.get(key, set()) == rare)
        assert max(each.values()) - min(each[k] for k in range(4)) <= 1
    assert len(folds.notes) == 1 and "out of fold, in 4 folds" in folds.notes[0]


@pytest.mark.parametrize(
    ("change", "folds", "note"),
    [
        ({"below_patients": 0}, 0, ""),
        ({"below_patients": 40}, 0, ""),  # of 50 patients 41 learn
        ({"below_patients": 41}, 0, ""),
        ({"below_patients": 42}, 5, "41 patients, fewer than split.folds.below_patients 42"),
        ({"below_patients": 42, "learning": ("vgg16",)}, 0, "layers of vgg16 learn"),
    ],
)
def test_folds_are_for_few_patients_and_heads_alone(
    phantom: Params, tmp_path: Path, change: dict[str, Any], folds: int, note: str
) -> None:
    from ich_pipeline.core.files import write_table

    params = heads(phantom, **change)
    found, cohorts = dealt([{"subdural"} if i % 3 == 0 else set() for i in range(50)], params)
    assert found.table["fold"].nunique() == folds == (params.split.folds.count if cross_fitted(params, 41) else 0)
    assert note in " ".join(found.notes) and bool(found.notes) == bool(note)
    write_table(tmp_path / "folds.parquet", found.table, FOLDS_TABLE)
    read = read_folds(tmp_path / "folds.parquet")
    assert read.to_dict("list") == found.table.to_dict("list")
    assert str(read["fold"].dtype) == "int64"
    if folds:
        (sound,) = run_suites([folds_suite(cohorts, found.table)])
        assert {o.status for o in sound.outcomes} == {"passed"}


def test_random_weights_have_no_frozen_features(phantom: Params) -> None:
    """``weights: none`` makes ``frozen_layers`` 0, whatever a profile says."""
    assert not cross_fitted(phantom, 1)


def test_more_folds_than_pairs_of_patients_are_refused(phantom: Params) -> None:
    findings: list[set[str]] = [{"subdural"} if i % 2 else set() for i in range(12)]
    with pytest.raises(
        InputError, match=r"split.folds.count 6 needs two patients a fold, but train and validation have \d+"
    ):
        dealt(findings, heads(phantom, count=6))


@pytest.mark.parametrize("fault", ["no_test_in_folds", "learners_in_one_fold"])
def test_a_leak_into_the_folds_stops_the_split(phantom: Params, fault: str) -> None:
    found, cohorts = dealt([{"subdural"} if i % 3 == 0 else set() for i in range(50)], heads(phantom))
    leaked = cohorts.loc[cohorts["cohort"] == RETROSPECTIVE, "patient_key"].iloc[0]
    more = {"patient_key": leaked if fault == "no_test_in_folds" else found.table["patient_key"].iloc[0], "fold": 0}
    (result,) = run_suites([folds_suite(cohorts, pd.concat([found.table, pd.DataFrame([more])]))])
    assert [o.check.name for o in result.outcomes if o.status == "failed"] == [fault]
