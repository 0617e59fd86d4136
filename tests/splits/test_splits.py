"""Cohorts: no patient in two of them, everyone somewhere, and what each cohort promises."""

from __future__ import annotations

import random

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ich_pipeline.config import SplitParams
from ich_pipeline.core.errors import InputError
from ich_pipeline.splits.patient_cohorts import Split, case_table, label_file, split_cases, summary_table
from ich_pipeline.tables.cohort_names import COHORTS, PROSPECTIVE, RETROSPECTIVE, TRAIN, VALIDATION
from ich_pipeline.tables.label_tables import UID
from ich_pipeline.tables.labels import Labels

LABELS = Labels("any", ("epidural", "intraparenchymal", "intraventricular", "subarachnoid", "subdural"))


def shares(validation: float = 0.1, retrospective: float = 0.1, prospective: float = 0.1) -> SplitParams:
    return SplitParams.model_validate_json(
        f'{{"validation": {validation}, "retrospective": {{"patients": {retrospective}, "positive_fraction": 0.5}},'
        f' "prospective": {{"patients": {prospective}, "positive_fraction": null}},'
        ' "folds": {"count": 5, "below_patients": 0}}'
    )


def cohort_of(findings: list[set[str]], studies: list[int] | None = None) -> pd.DataFrame:
    """One patient an entry; the first of its studies shows the findings. Patient i has StudyDate 2020-01-01 + i days."""
    rows = []
    for i, shown in enumerate(findings):
        for study in range((studies or [1] * len(findings))[i]):
            row = {
                "case_id": f"C{i:05d}{study}",
                "patient_key": f"P{i:05d}",
                "person": f"P{i:05d}",
                "StudyInstanceUID": f"1.{i}.{study}",
                "SeriesInstanceUID": f"1.{i}.{study}.1",
                "StudyDate": (pd.Timestamp(2020, 1, 1) + pd.Timedelta(days=i)).strftime("%Y%m%d"),
                "any": int(bool(shown) and study == 0),
            }
            rows.append(row | {name: int(name in shown and study == 0) for name in LABELS.subtypes})
    return pd.DataFrame(rows)


def drawn_cohort(patients: int, positive: float, seed: int) -> pd.DataFrame:
    """A cohort in which a positive patient has one or two findings, the later names of LABELS more rarely."""
    draw = random.Random(seed)
    weights = [16, 8, 4, 2, 1]
    return cohort_of(
        [
            set(draw.choices(LABELS.subtypes, weights, k=draw.choice([1, 1, 2]))) if draw.random() < positive else set()
            for _ in range(patients)
        ]
    )


def members(split: Split, cohort: str) -> set[str]:
    return set(split.cohorts.loc[split.cohorts["cohort"] == cohort, "patient_key"])


patients = st.lists(st.sets(st.sampled_from(LABELS.subtypes), max_size=3), min_size=12, max_size=60)


@settings(max_examples=30, deadline=None)
@given(patients, st.integers(0, 2**31), st.data())
def test_every_case_is_in_one_cohort_whatever_the_order(
    findings: list[set[str]], seed: int, data: st.DataObject
) -> None:
    studies = data.draw(st.lists(st.integers(1, 3), min_size=len(findings), max_size=len(findings)))
    cases = cohort_of(findings, studies)
    order = data.draw(st.permutations(range(len(cases))))
    try:
        split = split_cases(cases, LABELS, shares(0.15, 0.15, 0.15), seed)
    except InputError as error:
        assert "empty" in str(error)  # only then is there no split
        return
    assert split.cohorts.groupby("patient_key")["cohort"].nunique().max() == 1
    assert sorted(split.cohorts["case_id"]) == sorted(cases["case_id"])
    assert set(split.cohorts["cohort"]) == set(COHORTS)
    again = split_cases(cases.iloc[list(order)], LABELS, shares(0.15, 0.15, 0.15), seed)
    pd.testing.assert_frame_equal(split.cohorts, again.cohorts)
    assert split.notes == again.notes


@settings(max_examples=30, deadline=None)
@given(patients, st.integers(0, 2**31))
def test_no_finding_is_kept_from_training_by_validation(findings: list[set[str]], seed: int) -> None:
    try:
        split = split_cases(cohort_of(findings), LABELS, shares(0.15, 0.15, 0.15), seed)
    except InputError:
        return
    having = {name: {f"P{i:05d}" for i, shown in enumerate(findings) if name in shown} for name in LABELS.subtypes}
    for name, who in having.items():
        in_train, in_validation = who & members(split, TRAIN), who & members(split, VALIDATION)
        assert in_train or not in_validation
        if len(who) == 1:
            assert in_train
        if not in_validation:  # never in silence
            assert any(note.startswith(f"{name} is") for note in split.notes), (name, split.notes)


@pytest.mark.parametrize("seed", range(5))
def test_800_patients(seed: int) -> None:
    cases = drawn_cohort(800, 0.5, seed)
    split = split_cases(cases, LABELS, shares(), seed)
    counts = split.cohorts["cohort"].value_counts().to_dict()
    assert counts == {TRAIN: 560, VALIDATION: 80, RETROSPECTIVE: 80, PROSPECTIVE: 80}
    assert split.notes == ()
    truth = split.cohorts.merge(cases, on="case_id", suffixes=("", "_"))
    assert truth.loc[truth["cohort"] == RETROSPECTIVE, "any"].sum() == 40
    fractions = truth.groupby("cohort")["any"].mean()
    assert abs(fractions[VALIDATION] - fractions[TRAIN]) < 0.06
    for name in LABELS.subtypes:
        in_train = truth.loc[truth["cohort"] == TRAIN, name].mean()
        in_validation = truth.loc[truth["cohort"] == VALIDATION, name].mean()
        # Strata are by the rarest finding; others come along at random.
        assert abs(in_train - in_validation) < (0.01 if name == "subdural" else 0.1)


def test_prospective_is_the_latest_by_date_at_its_own_prevalence() -> None:
    findings = [{"epidural"} if i % 4 == 0 else set() for i in range(40)]
    split = split_cases(cohort_of(findings), LABELS, shares(0.1, 0.1, 0.2), 1)
    assert members(split, PROSPECTIVE) == {f"P{i:05d}" for i in range(32, 40)}


def test_a_patient_counts_by_the_latest_study_and_all_studies_go_along() -> None:
    cases = cohort_of([{"epidural"} if i % 4 == 0 else set() for i in range(40)], [2] + [1] * 39)
    cases.loc[cases["case_id"] == "C000001", "StudyDate"] = "20991231"
    split = split_cases(cases, LABELS, shares(0.1, 0.1, 0.1), 1)
    assert members(split, PROSPECTIVE) == {"P00000", "P00037", "P00038", "P00039"}
    assert (split.cohorts["cohort"] == PROSPECTIVE).sum() == 5


def test_equal_dates_are_broken_by_patient_key() -> None:
    cases = cohort_of([{"epidural"} if i % 4 == 0 else set() for i in range(40)])
    cases["StudyDate"] = "20200101"
    split = split_cases(cases, LABELS, shares(), 1)
    assert members(split, PROSPECTIVE) == {f"P{i:05d}" for i in range(36, 40)}


def test_the_seed_moves_the_random_cohorts_only() -> None:
    cases = drawn_cohort(200, 0.4, 3)
    one, two = (split_cases(cases, LABELS, shares(), seed) for seed in (1, 2))
    assert members(one, PROSPECTIVE) == members(two, PROSPECTIVE)
    assert members(one, RETROSPECTIVE) != members(two, RETROSPECTIVE)
    assert members(one, VALIDATION) != members(two, VALIDATION)


def test_the_retrospective_cohort_balances_cases_where_patients_have_several() -> None:
    cases = cohort_of([{"epidural"} if i % 3 == 0 else set() for i in range(300)], [1 + i % 3 for i in range(300)])
    split = split_cases(cases, LABELS, shares(), 5)
    truth = split.cohorts.merge(cases, on="case_id", suffixes=("", "_"))
    drawn = truth.loc[truth["cohort"] == RETROSPECTIVE, "any"]
    assert 0.45 <= drawn.mean() <= 0.55
    assert 55 <= len(drawn) <= 65  # a tenth of 600 studies


def test_too_few_positives_leave_half_of_them_for_training_and_say_so() -> None:
    cases = cohort_of([{"epidural"} if i % 20 == 0 else set() for i in range(400)])  # 20 positive of 400
    split = split_cases(cases, LABELS, shares(), 1)
    truth = split.cohorts.merge(cases, on="case_id", suffixes=("", "_"))
    assert truth.loc[truth["cohort"] == TRAIN, "any"].sum() >= 10
    assert truth.loc[truth["cohort"] == RETROSPECTIVE, "any"].mean() == 0.5
    assert split.notes[-1:] == (
        "test_retrospective: too few positive patients to fill it and keep half of them for training, so it is smaller than "
        "its share.",
    )


def real_counts(seed: int = 0) -> pd.DataFrame:
    """41 patients with the findings of a real small cohort: 18 positive, subdural in one patient only."""
    epi, ipa, ive, sar, sub = LABELS.subtypes
    positive = [{epi}] * 7 + [{epi, sar}, {epi, ipa}, {epi, ipa, sar}]
    positive += [{ipa}] * 2 + [{ipa, ive}] * 2 + [{ipa, sar}, {ipa, ive, sar}, {sar}, {sar, sub}]
    everyone = positive + [set()] * 23
    random.Random(seed).shuffle(everyone)
    return cohort_of(everyone)


@pytest.mark.parametrize("seed", range(20))
def test_41_patients_of_whom_one_has_a_subdural(seed: int) -> None:
    cases = real_counts(seed)
    assert (len(cases), cases["any"].sum()) == (41, 18)
    split = split_cases(cases, LABELS, shares(), seed)
    truth = split.cohorts.merge(cases, on="case_id", suffixes=("", "_"))
    assert truth.loc[truth["subdural"] == 1, "cohort"].tolist() == [TRAIN]
    assert split.notes[0].startswith("subdural is in one patient only, who is kept for training")
    assert truth.loc[truth["cohort"] == TRAIN, "any"].sum() >= 9
    drawn = truth.loc[truth["cohort"] == RETROSPECTIVE, "any"]
    assert (len(drawn), drawn.sum()) == (4, 2)
    for name in LABELS.subtypes[:-1]:
        left = truth.loc[(truth[name] == 1) & truth["cohort"].isin([TRAIN, VALIDATION]), "cohort"]
        if len(left) >= 2:
            assert set(left) == {TRAIN, VALIDATION}
    assert (truth.loc[truth["cohort"] == VALIDATION, "any"] == 0).any()


def test_too_few_patients_is_a_sentence() -> None:
    with pytest.raises(InputError) as caught:
        split_cases(cohort_of([set(), {"epidural"}, set()]), LABELS, shares(), 0)
    assert str(caught.value) == (
        "data/ holds 3 patients with labels, but the four cohorts need at least one each: add patients to data/dicom and "
        "data/labels.csv."
    )


def slices_of(cases: pd.DataFrame, count: int) -> pd.DataFrame:
    rows = [(case, f"{case}.{i}") for case in cases["case_id"] for i in range(count)]
    return pd.DataFrame(rows, columns=pd.Index(["case_id", UID]))


def test_label_files_hold_the_labelled_slices_in_slice_order() -> None:
    cases = cohort_of([{"epidural"} if i % 4 == 0 else set() for i in range(40)])
    slices = slices_of(cases, 3)
    table = slices[[UID]].assign(**dict.fromkeys(LABELS.columns, 0))
    table.loc[::3, ["any", "epidural"]] = 1
    table = table.drop(index=4).iloc[::-1]  # one slice of case 1 has no label; the table's order means nothing
    split = split_cases(cases, LABELS, shares(), 1)
    files = {cohort: label_file(cohort, split, slices, table) for cohort in COHORTS}
    assert sum(len(file) for file in files.values()) == len(table)
    for cohort, file in files.items():
        own = split.cohorts.loc[split.cohorts["cohort"] == cohort, "case_id"]
        expected = [u for c, u in slices.itertuples(index=False) if c in set(own) and u in set(table[UID])]
        assert file[UID].tolist() == expected
    summary = summary_table(split, slices, table, LABELS).set_index("cohort")
    assert summary["slices"].sum() == len(table)
    assert summary.loc[TRAIN, "any_slices"] == files[TRAIN]["any"].sum()
    assert summary.loc[[RETROSPECTIVE, PROSPECTIVE]].drop(columns=["patients", "cases", "slices"]).isna().all(axis=None)


def test_a_case_without_labels_is_in_no_cohort() -> None:
    cases = cohort_of([{"epidural"} if i % 4 == 0 else set() for i in range(8)])
    slices = slices_of(cases, 2)
    table = slices[[UID]].assign(**dict.fromkeys(LABELS.columns, 0))
    table.loc[1, ["any", "epidural"]] = 1
    series = cases.drop(columns=[*LABELS.columns, "person"]).assign(
        chosen=True, fingerprint=pd.Series([[]] * len(cases), index=cases.index)
    )
    series.loc[5, "chosen"] = False
    table = table.iloc[:-2]  # the last case
    result = case_table(series, slices, table, LABELS)
    assert result["case_id"].tolist() == [c for i, c in enumerate(cases["case_id"]) if i not in (5, 7)]
    assert result[["any", "epidural", "subdural"]].to_numpy().tolist() == [[1, 1, 0]] + [[0, 0, 0]] * 5


def test_a_prospective_test_of_one_kind_is_said_when_it_is_drawn() -> None:
    """The latest 3 of 30 patients are negative, and the first 27 hold enough of both kinds."""
    findings: list[set[str]] = [{"subdural"} if i < 15 else set() for i in range(30)]
    split = split_cases(cohort_of(findings), LABELS, shares(), seed=1)
    [note] = [note for note in split.notes if note.startswith(PROSPECTIVE)]
    assert "the 3 latest patients hold no positive one" in note


def test_one_date_for_all_is_no_prospective_test_and_says_so() -> None:
    cases = cohort_of([{"epidural"} if i % 4 == 0 else set() for i in range(40)]).assign(StudyDate="19000101")
    split = split_cases(cases, LABELS, shares(), 1)
    [said] = split.cautions
    assert said.startswith("test_prospective: every StudyDate is the same (19000101), so it is not prospective")
    assert said in split.notes


@settings(max_examples=30, deadline=None)
@given(st.lists(st.integers(1, 28), min_size=40, max_size=40))
def test_a_cut_inside_a_day_is_said_and_no_other(days: list[int]) -> None:
    cases = cohort_of([{"epidural"} if i % 4 == 0 else set() for i in range(40)])
    cases["StudyDate"] = [f"202001{day:02d}" for day in days]
    split = split_cases(cases, LABELS, shares(), 1)
    drawn = split.cohorts["cohort"] == PROSPECTIVE
    first = split.cohorts.loc[drawn, "StudyDate"].min()
    tied = (split.cohorts.loc[~drawn, "StudyDate"] == first).sum()
    if len(set(days)) == 1:
        assert "every StudyDate is the same" in split.cautions[0]
    elif tied:
        here = (split.cohorts.loc[drawn, "StudyDate"] == first).sum()
        assert f"{here} of its 4 patients" in split.cautions[0]
        assert f"as {tied} patients outside it" in split.cautions[0]
        assert first not in split.cautions[0]  # a single day is not for a report
    else:
        assert split.cautions == ()


@settings(max_examples=20, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 39), st.integers(0, 39)), max_size=6), st.integers(0, 99))
def test_patients_of_one_head_stay_together(twins: list[tuple[int, int]], seed: int) -> None:
    cases = cohort_of([{"epidural"} if i % 4 == 0 else set() for i in range(40)])
    for a, b in twins:
        one, other = (cases.loc[cases["patient_key"] == f"P{i:05d}", "person"].iloc[0] for i in (a, b))
        cases.loc[cases["person"] == max(one, other), "person"] = min(one, other)
    split = split_cases(cases, LABELS, shares(), seed)
    found = split.cohorts.merge(cases[["case_id", "person"]], on="case_id")
    assert found.groupby("person")["cohort"].nunique().max() == 1
    assert len(found) == 40


def test_patients_who_must_all_train_leave_no_test_and_that_is_said() -> None:
    alone: list[set[str]] = [{name} for name in LABELS.subtypes]
    with pytest.raises(InputError, match="leaves the cohort"):
        split_cases(cohort_of(alone), LABELS, shares(), seed=1)
