"""Which slices the HU rule learns from, what it answers, and what a baseline leaves on disk."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import roc_auc_score

from ich_pipeline.baselines.hu_features import NAMES
from ich_pipeline.baselines.hu_rule import HuRule, Lesson, choose_slices, learn_forest
from ich_pipeline.baselines.stored import Baseline, read_baselines, write_baseline
from ich_pipeline.core.errors import InputError
from ich_pipeline.core.files import read_json, write_json
from ich_pipeline.tables.labels import Labels
from tests.baselines.drawn import SIZE, head

LABELS = Labels("any", ("one", "two"))


@settings(max_examples=60, deadline=None)
@given(
    slices=st.lists(st.tuples(st.integers(0, 6), st.booleans()), min_size=1, max_size=120),
    maximum=st.integers(10, 140),
    seed=st.integers(0, 3),
)
def test_positives_come_first_and_patients_alike(slices: list[tuple[int, bool]], maximum: int, seed: int) -> None:
    patients, truth = (np.array(column) for column in zip(*slices, strict=True))
    truth = truth.astype(np.int8)
    chosen = choose_slices(truth, patients, maximum, seed)
    np.testing.assert_array_equal(chosen, choose_slices(truth, patients, maximum, seed))
    assert len(chosen) == len(set(chosen.tolist())) == min(maximum, len(truth))
    positives, negatives = int(truth.sum()), int((truth == 0).sum())
    taken = int(truth[chosen].sum())
    if len(truth) > maximum:
        assert taken == min(positives, max(maximum // 2, maximum - negatives))
    for value in (0, 1):
        of = patients[truth == value]
        left = [(of == p).sum() - (patients[chosen][truth[chosen] == value] == p).sum() for p in np.unique(of)]
        counts = [(patients[chosen][truth[chosen] == value] == p).sum() for p in np.unique(of)]
        # Who has a slice left has as many in as anybody, but for the last round.
        assert all(count >= max(counts) - 1 for count, rest in zip(counts, left, strict=True) if rest)


def test_it_learns_and_says_the_prevalence_where_it_cannot() -> None:
    rng = np.random.default_rng(0)
    features = rng.normal(size=(300, 4)).astype(np.float32)
    one = (features[:, 0] > 0.5).astype(np.int8)
    two = np.zeros(300, np.int8)
    two[:5] = 1  # of one patient alone
    truth = np.stack([one | two, one, two], axis=1)
    patients = np.repeat(np.arange(30), 10)
    rows = np.arange(200)
    lesson = Lesson(rows, truth[rows], patients[rows], np.array([0.3, 0.2, 0.0625]))
    scores = learn_forest(features, lesson, 40, 7).scores(features)
    assert scores.shape == (300, 3) and scores.min() >= 0 and scores.max() <= 1
    assert roc_auc_score(one[200:], scores[200:, 1]) > 0.95
    np.testing.assert_array_equal(scores[:, 2], 0.0625)
    np.testing.assert_array_equal(scores, learn_forest(features, lesson, 40, 7).scores(features))
    assert (scores != learn_forest(features, lesson, 40, 8).scores(features)).any()


def small_rule() -> HuRule:
    rng = np.random.default_rng(0)
    features = rng.normal(size=(200, 3 * len(NAMES))).astype(np.float32)
    truth = (features[:, :3] > 0.3).astype(np.int8)
    lesson = Lesson(np.arange(200), truth, np.repeat(np.arange(20), 10), truth.mean(axis=0))
    return HuRule(LABELS.columns, SIZE, 180.0, learn_forest(features, lesson, 5, 0))


def test_a_rule_on_disk_reads_as_before_with_equal_bytes(tmp_path: Path) -> None:
    rule = small_rule()
    for name in ("a.npz", "b.npz"):
        rule.save(tmp_path / name)
    assert (tmp_path / "a.npz").read_bytes() == (tmp_path / "b.npz").read_bytes()
    again = HuRule.load(tmp_path / "a.npz")
    assert (again.labels, again.image_size, again.highest) == (rule.labels, rule.image_size, rule.highest)
    hu = np.stack([head(stretch=1.1), head(stretch=1.0), head(stretch=1.2)]).astype(np.int16)
    neighbours = np.array([[-1, 1], [0, 2], [1, -1]])
    np.testing.assert_array_equal(again.read(hu, neighbours), rule.read(hu, neighbours))
    # A slice with its neighbours is read as in any other company.
    np.testing.assert_array_equal(
        rule.read(hu[::-1], np.array([[1, -1], [2, 0], [-1, 1]]))[1], rule.read(hu, neighbours)[1]
    )


@pytest.mark.parametrize("damage", ["missing", "cut", "no zip", "another version", "empty"])
def test_what_is_no_rule_is_one_sentence(tmp_path: Path, damage: str) -> None:
    path = tmp_path / "rule.npz"
    if damage != "missing":
        small_rule().save(path)
        whole = path.read_bytes()
        content = {"cut": whole[: len(whole) // 2], "no zip": b"no zip", "empty": b""}.get(damage, whole)
        path.write_bytes(content)
    if damage == "another version":
        np.savez(path, about=np.array('{"schema": "hu_rule/9"}'))
    with pytest.raises(InputError, match=r"rule\.npz .*run `dvc repro -f baselines`"):
        HuRule.load(path)


def baseline(scores: np.ndarray, name: str = "one_more") -> Baseline:
    return Baseline(name, "One more", "it guesses", scores)


def test_a_baseline_is_read_in_the_order_that_is_asked_for(tmp_path: Path) -> None:
    uids = pd.Series(["1.2", "1.3", "1.4"])
    scores = np.arange(9).reshape(3, 3) / 10
    write_baseline(tmp_path, baseline(scores), uids, LABELS)
    write_baseline(tmp_path, baseline(scores, "another"), uids, LABELS)
    another, found = read_baselines(tmp_path, pd.Series(["1.4", "1.2"]), LABELS)
    assert (another.name, found.name, found.title, found.how) == ("another", "one_more", "One more", "it guesses")
    np.testing.assert_array_equal(found.scores, scores[[2, 0]])


def test_what_is_no_baseline_is_one_sentence(tmp_path: Path) -> None:
    uids = pd.Series(["1.2", "1.3"])
    work = tmp_path / "work"
    with pytest.raises(InputError, match=r"work is missing: run `dvc repro baselines`"):
        read_baselines(work, uids, LABELS)
    work.mkdir()
    assert read_baselines(work, uids, LABELS) == ()
    write_baseline(work, baseline(np.full((2, 3), 0.5)), uids, LABELS)
    with pytest.raises(InputError, match=r"lacks SOPInstanceUID 1\.9 and 0 more"):
        read_baselines(work, pd.Series(["1.2", "1.9"]), LABELS)
    with pytest.raises(InputError, match="scores any, one, two, but the labels are any, one"):
        read_baselines(work, uids, Labels("any", ("one",)))
    about = work / "one_more" / "baseline.json"
    write_json(about, read_json(about) | {"schema": "baseline/9"})
    with pytest.raises(InputError, match="'baseline/9'"):
        read_baselines(work, uids, LABELS)
    with pytest.raises(ValueError, match="no small word"):
        write_baseline(work, baseline(np.zeros((2, 3)), "../out"), uids, LABELS)


@pytest.mark.parametrize("wrong", [np.nan, -0.01, 1.5])
def test_a_score_that_is_none_is_refused(tmp_path: Path, wrong: float) -> None:
    uids = pd.Series(["1.2", "1.3"])
    write_baseline(tmp_path, baseline(np.array([[0.1, 0.2, 0.3], [0.1, wrong, 0.3]])), uids, LABELS)
    with pytest.raises(InputError, match="a score that does not lie from 0 to 1"):
        read_baselines(tmp_path, uids, LABELS)
