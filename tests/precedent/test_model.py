"""The limit from cases that were held out, the verdict beyond it, and the file."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ich_pipeline.core.errors import InputError
from ich_pipeline.precedent.model import DISTANCES, NAMES, NOT_MEASURED, WORDS, Precedent, Seen, fit_precedent
from ich_pipeline.precedent.nearest import Neighbourhood, layouts
from ich_pipeline.precedent.scan_numbers import MEASURED
from ich_pipeline.precedent.scans import Scans

SLICES, FEATURES, FIELDS = 4, 9, 6
SEEN = Seen("vgg16", 32, -20.0, 180.0, 3)


def scans(cases: int, seed: int, shift: float = 0.0) -> Scans:
    rng = np.random.default_rng(seed)
    return Scans(
        numbers=rng.normal(5, 1, (cases, len(MEASURED))),
        features=rng.normal(shift, 1, (cases * SLICES, FEATURES)),
        layouts=rng.normal(0, 1, (cases * SLICES, FIELDS)),
        case=np.repeat(np.arange(cases), SLICES),
        owners=np.arange(cases),
    )


def one(scans: Scans, k: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    of = scans.case == k
    return scans.numbers[k], scans.features[of], scans.layouts[of]


@pytest.mark.parametrize("share", [0.05, 0.2])
def test_the_stated_share_of_the_training_kind_is_turned_away(share: float) -> None:
    turned = []
    for seed in range(6):
        precedent = fit_precedent(SEEN, scans(60, seed), scans(99, 100 + seed), share)
        assert precedent.false_alarms == pytest.approx(share) and precedent.held_out == 99
        fresh = scans(60, 200 + seed)
        turned += [bool(precedent.judge(*one(fresh, k)).unlike) for k in range(60)]
    assert np.mean(turned) == pytest.approx(share, abs=0.05)


def test_with_few_cases_the_limit_is_their_largest_and_says_what_that_gives() -> None:
    learned = scans(20, 1)
    folds = [np.arange(20) % 4 == k for k in range(4)]
    precedent = fit_precedent(SEEN, learned, folds, 0.01)
    assert precedent.held_out == 20 and precedent.false_alarms == pytest.approx(1 / 21)
    assert precedent.limit == fit_precedent(SEEN, learned, folds, 0.04).limit


@pytest.mark.parametrize("name", [*[*MEASURED][:4], *DISTANCES])
def test_what_is_unlike_is_named(name: str) -> None:
    precedent = fit_precedent(SEEN, scans(60, 1), scans(60, 2), 0.05)
    numbers, features, places = one(scans(1, 3), 0)
    if name in MEASURED:
        numbers = numbers.copy()
        numbers[list(MEASURED).index(name)] += 30
    features, places = features + 15 * (name == "features"), places + 15 * (name == "layout")
    judged = precedent.judge(numbers, features, places)
    assert judged.unlike[0] == WORDS[NAMES.index(name)] and judged.unlike[0] in judged.no_answer
    assert judged.no_answer.startswith("not read: ") and judged.excess[name] > precedent.limit


def test_the_stated_share_of_slices_is_unlike_and_a_strange_one_is_named() -> None:
    share = 0.05
    precedent = fit_precedent(SEEN, scans(60, 1), scans(99, 2), share)
    fresh = precedent.judge_all(scans(200, 3))
    assert np.mean([len(one.slices.unlike) / SLICES for one in fresh]) == pytest.approx(share, abs=0.05)
    numbers, features, places = one(scans(1, 4), 0)
    features = features + 15 * (np.arange(SLICES) == 2)[:, None]
    judged = precedent.judge(numbers, features, places)
    assert 2 in judged.slices.unlike and judged.slices.excess["features"][2] > judged.slices.limit
    assert judged.ranked[0][1] == max(judged.excess.values())
    by_others = precedent.judge(numbers, features, places, rows=np.array([0, 1, 3]))  # all the same, each slice is told
    assert by_others.slices == judged.slices and by_others.excess["features"] < judged.excess["features"]


def test_a_number_that_every_scan_has_is_missed_and_another_is_not() -> None:
    learned, held_out = scans(60, 1), scans(60, 2)
    learned.numbers[::3, 1] = held_out.numbers[::3, 1] = np.nan  # some scans lack it
    precedent = fit_precedent(SEEN, learned, held_out, 0.05)
    numbers, *rest = one(scans(1, 3), 0)
    without = precedent.judge(np.where(np.arange(len(numbers)) == 1, np.nan, numbers), *rest)
    assert not without.unlike and without.excess[NAMES[1]] == 0 and without.missing == {NAMES[1]}
    assert dict(without.ranked)[WORDS[1]] is None
    missing = precedent.judge(np.where(np.arange(len(numbers)) == 0, np.nan, numbers), *rest)
    assert missing.unlike[0] == WORDS[0] and missing.excess[NAMES[0]] == NOT_MEASURED
    assert missing.ranked[0] == (WORDS[0], None) and missing.measured[NAMES[0]] is None
    assert [word for word, _ in missing.ranked][: len(missing.unlike)] == list(missing.unlike)
    assert not precedent.judge(numbers, *rest).missing


def test_a_description_on_disk_judges_as_before_with_equal_bytes(tmp_path: Path) -> None:
    precedent = fit_precedent(SEEN, scans(30, 1), scans(30, 2), 0.05)
    for name in ("a.npz", "b.npz"):
        precedent.save(tmp_path / name)
    assert (tmp_path / "a.npz").read_bytes() == (tmp_path / "b.npz").read_bytes()
    again = Precedent.load(tmp_path / "a.npz")
    fresh = scans(5, 3)
    for k in range(5):
        assert again.judge(*one(fresh, k)) == precedent.judge(*one(fresh, k))
    assert (again.limit, again.false_alarms, again.architecture) == (precedent.limit, precedent.false_alarms, "vgg16")


@pytest.mark.parametrize("damage", ["missing", "cut", "another version"])
def test_what_is_no_precedent_is_one_sentence(tmp_path: Path, damage: str) -> None:
    path = tmp_path / "precedent.npz"
    if damage != "missing":
        fit_precedent(SEEN, scans(12, 1), scans(12, 2), 0.05).save(path)
        path.write_bytes(path.read_bytes()[:3000])
    if damage == "another version":
        np.savez(path, about=np.array('{"schema": "precedent/9", "names": []}'))
    with pytest.raises(InputError, match=r"precedent\.npz .*run `dvc repro -f precedent`, and register"):
        Precedent.load(path)


def test_cases_are_numbered_anew() -> None:
    every = scans(6, 1)
    chosen = np.array([True, False, True, True, False, False])
    some = every.of(chosen)
    for new, old in enumerate(np.flatnonzero(chosen)):
        for mine, theirs in zip(one(some, new), one(every, int(old)), strict=True):
            np.testing.assert_array_equal(mine, theirs)


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 1000), scale=st.floats(0.01, 100), columns=st.integers(1, 8), rows=st.integers(20, 60))
def test_a_training_slice_is_near_and_units_do_not_matter(seed: int, scale: float, columns: int, rows: int) -> None:
    rng = np.random.default_rng(seed)
    numbers = rng.normal(size=(rows, columns))
    space = Neighbourhood.of(numbers)
    far = numbers.mean(axis=0) + 50 * numbers.std(axis=0)
    near = space.distances(numbers, 1)
    assert np.isfinite(near).all() and space.distances(far[None], 1)[0] > near.max()
    other = Neighbourhood.of(numbers * scale).distances(numbers * scale, 3)
    np.testing.assert_allclose(other, space.distances(numbers, 3), atol=0.05)


def test_a_layout_follows_the_head_not_the_picture() -> None:
    hu = np.full((64, 64), -20.0)
    hu[10:50, 20:56] = 30.0
    hu[10:30, 20:56] = 60.0
    moved = np.roll(hu, (5, -8), axis=(0, 1))
    here, there, down = layouts(np.stack([hu, moved, hu[::-1]]), -20.0)
    np.testing.assert_allclose(here, there, atol=1e-4)
    assert np.abs(here - down).max() > 20
