"""Frozen tests: however patients arrive, a test stays the same, who learned is never tested, and nobody is in two cohorts."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ich_pipeline.core.errors import InputError
from ich_pipeline.deidentify.key import Key
from ich_pipeline.splits.frozen import (
    FrozenTest,
    Manifest,
    assign,
    find_key,
    frozen_test,
    make_key,
    opened,
    patient_tokens,
    read_manifest,
    refuse_changed,
    write_manifest,
)
from ich_pipeline.splits.patient_cohorts import split_cases
from ich_pipeline.tables.cohort_names import PROSPECTIVE, TESTS, TRAIN, VALIDATION
from tests.splits.test_splits import LABELS, cohort_of, drawn_cohort, shares

KEY = Key(b"k" * 32)
FIRST = 40  # patients when the tests are frozen; patient i has the date 2020-01-01 + i days


def frozen(cases: pd.DataFrame, size: int = 4, share: float = 0.5) -> tuple[Manifest, pd.DataFrame]:
    """The tests of a first split, frozen, and its table."""
    split = split_cases(cases, LABELS, shares(), 1)
    manifest = Manifest(KEY.fingerprint, size, share)
    for name in TESTS:
        of_test = split.cohorts[split.cohorts["cohort"] == name]
        manifest = manifest.with_test(frozen_test(name, of_test, KEY, "2026-01-01", "0" * 64))
    return noted(manifest, split.cohorts), split.cohorts


def noted(manifest: Manifest, cohorts: pd.DataFrame) -> Manifest:
    return manifest.with_learners(patient_tokens(KEY, learners(cohorts)))


def learners(cohorts: pd.DataFrame) -> set[str]:
    return set(cohorts.loc[cohorts["cohort"].isin([TRAIN, VALIDATION]), "patient_key"])


def in_test(cohorts: pd.DataFrame, test: str) -> set[str]:
    return set(cohorts.loc[cohorts["cohort"] == test, "case_id"])


def joined(cases: pd.DataFrame, twins: list[tuple[int, int]]) -> pd.DataFrame:
    """The cases with one person for the patients of each pair, where both are there."""
    cases = cases.assign(person=cases["patient_key"])
    there = dict(zip(cases["patient_key"], cases["patient_key"], strict=True))
    for a, b in twins:
        if f"P{a:05d}" in there and f"P{b:05d}" in there:
            one, other = (cases.loc[cases["patient_key"] == f"P{i:05d}", "person"].iloc[0] for i in (a, b))
            cases.loc[cases["person"] == max(one, other), "person"] = min(one, other)
    return cases


WORLD = cohort_of([{"epidural"} if i % 3 == 0 else set() for i in range(90)], [1 + i % 3 for i in range(90)])
NUMBER = WORLD["patient_key"].str[1:].astype(int)


@settings(max_examples=15, deadline=None)
@given(st.data())
def test_however_patients_arrive(data: st.DataObject) -> None:
    """Batches of whole and of single studies, in any order of dates, with heads under two names; now and then a test opens.

    What learned is noted between batches, or not: only where studies vanish does that matter.
    """
    later = list(WORLD.index[NUMBER >= FIRST]) + list(
        WORLD.index[(NUMBER < FIRST) & WORLD["case_id"].str.endswith("2")]
    )
    arriving = data.draw(st.permutations(later))
    cuts = sorted(data.draw(st.lists(st.integers(0, len(arriving)), min_size=1, max_size=3)))
    twins = data.draw(st.lists(st.tuples(st.integers(0, 89), st.integers(0, 89)), max_size=4))
    notes, vanish = data.draw(st.sampled_from([(True, True), (True, False), (False, False)]))
    here = [i for i in WORLD.index if i not in set(later)]
    manifest, cohorts = frozen(joined(WORLD.loc[here], twins))
    ever = learners(cohorts)
    for begin, end in zip([0, *cuts], [*cuts, len(arriving)], strict=True):
        here += arriving[begin:end]
        now = here
        if vanish:  # never of a test: the split refuses that
            may = [
                i for i in here if WORLD["case_id"][i] not in in_test(cohorts, TESTS[0]) | in_test(cohorts, PROSPECTIVE)
            ]
            gone = set(data.draw(st.lists(st.sampled_from(may), max_size=8)))
            now = [i for i in here if i not in gone]
        cases = joined(WORLD.loc[now], twins)
        before = {test: in_test(cohorts, test) for test in TESTS}
        placed = assign(cases, manifest, KEY)
        cohorts = split_cases(placed.cases, LABELS, shares(), 1, placed.tests).cohorts
        both = any(
            placed.cases["person"].map(placed.tests).eq(TESTS[0]) & placed.cases["case_id"].isin(before[PROSPECTIVE])
        )
        for test in TESTS:
            assert in_test(cohorts, test) == before[test] or both
        assert cohorts.groupby("patient_key")["cohort"].nunique().max() == 1
        heads = cohorts.merge(cases[["case_id", "person"]], on="case_id").groupby("person")["cohort"].nunique()
        assert heads.max() == 1
        waiting = set(placed.waiting["patient_key"])
        in_tests = set(cohorts.loc[cohorts["cohort"].isin(TESTS), "patient_key"])
        ever |= learners(cohorts)
        assert not ever & in_tests and not ever & waiting and not in_tests & waiting
        assert set(cohorts["case_id"]).isdisjoint(placed.waiting["case_id"])
        if notes:
            manifest = noted(manifest, cohorts)
        if placed.waiting["person"].nunique() >= manifest.size and data.draw(st.booleans()):
            manifest = noted(manifest, cohorts)
            chosen = opened(manifest, placed)
            manifest = manifest.with_test(frozen_test(PROSPECTIVE, chosen, KEY, "2026-02-02", "1" * 64))
            assert manifest.active[PROSPECTIVE].version > 1
            placed = assign(cases, manifest, KEY)
            cohorts = split_cases(placed.cases, LABELS, shares(), 1, placed.tests).cohorts
            assert in_test(cohorts, PROSPECTIVE) == set(chosen["case_id"])
            assert not ever & set(cohorts.loc[cohorts["cohort"].isin(TESTS), "patient_key"])
            ever |= learners(cohorts)


@pytest.mark.parametrize("seed", range(4))
def test_freezing_alone_changes_nothing(seed: int) -> None:
    cases = drawn_cohort(60, 0.3, seed)
    manifest, cohorts = frozen(cases)
    placed = assign(cases, manifest, KEY)
    assert placed.notes == () and placed.waiting.empty
    split = split_cases(placed.cases, LABELS, shares(), 1, placed.tests)
    pd.testing.assert_frame_equal(split.cohorts, cohorts)


def grown(share: float = 1.0) -> tuple[Manifest, pd.DataFrame, pd.DataFrame]:
    """A manifest of 40 patients, its cohorts, and the cases of 60."""
    cases = cohort_of([{"epidural"} if i % 3 == 0 else set() for i in range(60)])
    manifest, cohorts = frozen(cases.head(FIRST), share=share)
    return manifest, cohorts, cases


def test_new_patients_wait_or_learn_by_the_share() -> None:
    manifest, _, cases = grown(share=1.0)
    placed = assign(cases, manifest, KEY)
    assert set(placed.waiting["patient_key"]) == {f"P{i:05d}" for i in range(40, 60)}
    assert placed.notes == ("20 new patients wait for the next prospective test, of 4.",)
    half = assign(cases, replace(manifest, share=0.5), KEY)
    assert 4 < half.waiting["patient_key"].nunique() < 16
    nobody = assign(cases, replace(manifest, share=0.0), KEY)
    assert nobody.waiting.empty and len(nobody.cases) == 60
    earlier = cases.assign(StudyDate=cases["StudyDate"].where(cases.index != 50, "20190101"))
    assert "P00050" not in set(assign(earlier, manifest, KEY).waiting["patient_key"])


def test_the_next_test_takes_the_earliest_and_the_one_before_learns() -> None:
    manifest, cohorts, cases = grown()
    with pytest.raises(InputError, match="opens with 30 patients, and 20 wait for it"):
        opened(replace(manifest, size=30), assign(cases, manifest, KEY))
    chosen = opened(manifest, assign(cases, manifest, KEY))
    assert set(chosen["patient_key"]) == {"P00040", "P00041", "P00042", "P00043"}
    after = manifest.with_test(frozen_test(PROSPECTIVE, chosen, KEY, "2026-02-02", "1" * 64))
    assert [(t.name, t.version, t.retired) for t in after.tests] == [
        ("test_retrospective", 1, ""),
        ("test_prospective", 1, "2026-02-02"),
        ("test_prospective", 2, ""),
    ]
    now = assign(cases, after, KEY)
    old = set(cohorts.loc[cohorts["cohort"] == PROSPECTIVE, "patient_key"])
    assert old <= set(now.cases["patient_key"]) and not old & set(now.tests)
    assert set(now.waiting["patient_key"]) == {f"P{i:05d}" for i in range(44, 60)}


def test_later_studies_of_a_test_patient_are_in_no_cohort() -> None:
    manifest, cohorts, cases = grown(share=0.1)
    patient = cohorts.loc[cohorts["cohort"] == PROSPECTIVE, "patient_key"].iloc[0]
    more = cases[cases["patient_key"] == patient].assign(case_id="Cnew", StudyInstanceUID="9", StudyDate="20250101")
    placed = assign(pd.concat([cases, more], ignore_index=True), manifest, KEY)
    assert "Cnew" not in set(placed.cases["case_id"]) | set(placed.waiting["case_id"])
    assert "1 later study of a test patient is in no cohort: a frozen test gains none." in placed.notes


def test_only_a_first_date_later_than_the_tests_first_dates_waits() -> None:
    manifest, cohorts, cases = grown()
    of_test = cases["case_id"].isin(in_test(cohorts, PROSPECTIVE))
    undated = assign(cases.assign(StudyDate=cases["StudyDate"].mask(of_test, "")), manifest, KEY)
    assert undated.waiting.empty
    patient = cases.loc[of_test, "patient_key"].iloc[0]
    later = cases[cases["patient_key"] == patient].assign(case_id="Clater", StudyDate="20250101")
    both = pd.concat([cases, later], ignore_index=True)
    followed = replace(
        manifest,
        tests=(
            *manifest.tests[:1],
            frozen_test(
                PROSPECTIVE,
                both[both["patient_key"].isin(cases.loc[of_test, "patient_key"])],
                KEY,
                "2026-01-01",
                "0" * 64,
            ),
        ),
    )
    assert set(assign(both, followed, KEY).waiting["patient_key"]) == {f"P{i:05d}" for i in range(40, 60)}


def test_a_test_that_is_not_as_it_was_frozen_says_why() -> None:
    manifest, cohorts, cases = grown()
    digests = {PROSPECTIVE: "1" * 64, TESTS[0]: "0" * 64}
    of_test = in_test(cohorts, PROSPECTIVE)
    for what, found in {
        "its labels or slices are others": cases,
        f"data/ lacks 1 of its {len(of_test)} studies": cases[cases["case_id"] != min(of_test)],
        f"1 of its {len(of_test)} studies now shows a head of the other test too": joined_tests(cases, cohorts),
    }.items():
        with pytest.raises(InputError, match=f"test_prospective version 1 is not as it was frozen: {what}"):
            refuse_changed(assign(found, manifest, KEY), manifest, digests)


def joined_tests(cases: pd.DataFrame, cohorts: pd.DataFrame) -> pd.DataFrame:
    """One patient of each test shows the head of the other."""
    heads = [cohorts.loc[cohorts["cohort"] == test, "patient_key"].iloc[0] for test in TESTS]
    return cases.assign(person=cases["person"].mask(cases["patient_key"].isin(heads), min(heads)))


def test_a_head_that_learned_under_another_name_is_said() -> None:
    manifest, cohorts, cases = grown()
    test = cohorts.loc[cohorts["cohort"] == PROSPECTIVE, "patient_key"].iloc[0]
    learned = cohorts.loc[cohorts["cohort"] == TRAIN, "patient_key"].iloc[0]
    cases.loc[cases["patient_key"].isin([test, learned]), "person"] = min(test, learned)
    placed = assign(cases, manifest, KEY)
    assert learned not in set(placed.cases["patient_key"])
    assert in_test(split_cases(placed.cases, LABELS, shares(), 1, placed.tests).cohorts, PROSPECTIVE) == in_test(
        cohorts, PROSPECTIVE
    )
    assert placed.cautions[0].startswith(
        "1 head of the frozen tests also stands under patients from whom earlier versions"
    )


def test_the_manifest_is_read_as_it_was_written(tmp_path: Path) -> None:
    manifest, _, _ = grown()
    path = tmp_path / "frozen.json"
    write_manifest(manifest, path)
    assert read_manifest(path) == manifest
    text = path.read_text()
    assert "P000" not in text and "C000" not in text
    assert hashlib.sha256(b"P00001").hexdigest()[:16] not in text
    path.write_text("{}\n")
    assert read_manifest(path) == Manifest() == read_manifest(tmp_path / "none.json")


def test_a_damaged_manifest_is_one_sentence_that_never_says_remove_it(tmp_path: Path) -> None:
    manifest, _, _ = grown()
    path = tmp_path / "frozen.json"
    write_manifest(manifest, path)
    whole = json.loads(path.read_text())
    twice = {**whole, "tests": [*whole["tests"], whole["tests"][0]]}
    wrong = [
        {**whole, "schema": "frozen/2"},
        {**whole, "share": "half"},
        {**whole, "share": 2.0},
        {**whole, "learners": "none"},
        {**whole, "learners": [1]},
        {**whole, "more": 1},
        {**whole, "tests": whole["tests"][:1]},
        {**whole, "tests": [{"name": "x"}]},
        twice,
        [1],
        None,
    ]
    texts = [json.dumps(one) for one in wrong] + ["", "<<<<<<< HEAD\n{}\n=======\n{}\n>>>>>>> b\n", "{", "nan"]
    for broken in [text.encode() for text in texts] + [b"\xff\xfe{}"]:
        path.write_bytes(broken)
        with pytest.raises(InputError, match=r"frozen.json is damaged: `git checkout .*; never remove it\.$"):
            read_manifest(path)


def test_a_missing_manifest_beside_a_key_is_refused(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    assert read_manifest(tmp_path / "frozen.json") == Manifest()
    make_key(tmp_path / "data", synthetic=False)
    with pytest.raises(
        InputError, match=r"frozen.json is missing, and .*data/frozen.key says that tests are frozen: `git"
    ):
        read_manifest(tmp_path / "frozen.json")
    (tmp_path / "frozen.json").write_text("{}")
    assert read_manifest(tmp_path / "frozen.json") == Manifest()


def test_the_key_goes_with_the_data_and_another_is_refused(tmp_path: Path) -> None:
    key = make_key(tmp_path, synthetic=False)
    assert make_key(tmp_path, synthetic=False).fingerprint == key.fingerprint
    assert (tmp_path / "frozen.key").stat().st_mode & 0o077 == 0
    manifest = Manifest(key.fingerprint, tests=(FrozenTest("t", 1, "", "", (), ()),))
    assert find_key(tmp_path, manifest).fingerprint == key.fingerprint
    with pytest.raises(InputError, match=r"frozen.json names the tests of another cohort: .*frozen.key is another"):
        find_key(tmp_path, replace(manifest, key="0" * 16))
    (tmp_path / "frozen.key").write_text("nonsense")
    with pytest.raises(InputError, match="is no key of frozen tests"):
        find_key(tmp_path, manifest)
    (tmp_path / "frozen.key").unlink()
    with pytest.raises(InputError, match="is missing"):
        find_key(tmp_path, manifest)
    synthetic = make_key(tmp_path, synthetic=True)
    assert not (tmp_path / "frozen.key").exists()
    assert find_key(tmp_path, replace(manifest, key=synthetic.fingerprint)).fingerprint == synthetic.fingerprint
