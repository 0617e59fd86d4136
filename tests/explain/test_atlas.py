"""Rules of the atlas; the prediction basis against scipy."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy.spatial.distance import cdist

from ich_pipeline.core.errors import InputError
from ich_pipeline.explain.atlas import Atlas, Standing, standing
from ich_pipeline.explain.atlas_build import (
    NO_FEATURES,
    NO_POSITIVES,
    Head,
    Ranking,
    Slices,
    build_atlas,
    discrimination,
    rank_examples,
)
from ich_pipeline.explain.atlas_checks import HeldOut
from ich_pipeline.explain.attention import Attention
from ich_pipeline.explain.features import Classic, classic_features
from ich_pipeline.explain.geometry import CellGrid
from ich_pipeline.explain.patches import Firing
from ich_pipeline.tables.labels import Labels
from tests.made.atlas import DRAWS, fires_nowhere, nothing_held_out

GRID = CellGrid((0.1, 0.1), (0.13, 0.13))
LABELS = Labels("any", ("epidural", "subdural", "intraventricular"))


def _held_out(features=40, n=12) -> HeldOut:
    """12 validation slices of 4 patients, all epidural; the system names it in every other one."""
    values = np.random.default_rng(7).gamma(1, 1, (n, features)).astype(np.float32)
    truth = np.zeros((n, 3), np.uint8)
    truth[:, 0] = 1
    named = np.zeros((n, 3), bool)
    named[::2, 0] = True
    named[:, 1] = True  # of what is not there: false alarms
    return HeldOut(values, truth, named, [f"V{i // 3}" for i in range(n)])


def _atlas(explain, pool="training", seed=0, n=60, features=40, held_out=None, **settings) -> Atlas:
    """60 slices of 12 patients; the last subtype has no positive."""
    random = np.random.default_rng(seed)
    values = random.gamma(1, 1, (n, features)).astype(np.float32)
    truth = np.zeros((n, 3), np.uint8)
    truth[:40, 0], truth[30:, 1] = 1, 1
    maps = random.random((n, 4, 7, 7)).astype(np.float32)
    attention = Attention(maps, np.ones((n, 4), bool), values, np.zeros((n, 4), np.float32), "CAM of x, 7 × 7", GRID)
    kernel = random.normal(0, 1, (features, 4)).astype(np.float32)
    thumbnails = random.integers(-20, 180, (n, 16, 16)).astype(np.int16)
    changed = {"classic_features": 10, "basis_pool": pool, "atlas_per_label": 8, "single_finding_minimum": 999}
    settings = explain.model_copy(update={**changed, **settings})
    patients = [f"P{i // 5}" for i in range(n)]
    uids = [f"1.2.{i}" for i in range(n)]
    slices = Slices(thumbnails, truth, uids, patients, patients, 20.0 * np.arange(n), {})
    head = Head(kernel, np.zeros(4, np.float32), "a" * 64)
    fired = Firing(np.arange(features, dtype=np.int32), values, random.random((n, features, 2)).astype(np.float32))
    held_out = held_out or nothing_held_out(features, LABELS)
    return build_atlas(LABELS, settings, head, attention, fired, slices, held_out, DRAWS)


@pytest.mark.parametrize("pool", ["training", "atlas"])
def test_basis_is_the_nearest_by_brute_force(explain, pool):
    atlas = _atlas(explain, pool)
    query = np.random.default_rng(9).gamma(1, 1, 40).astype(np.float32)
    entry = atlas.entry("epidural")
    rows = entry.ranked if pool == "atlas" else entry.positives
    weights = atlas.kernel[:, 1].astype(np.float64)
    every = np.maximum(atlas.features.astype(np.float64), 0) * weights
    has = atlas.truth[:, 0] == 1
    spread = np.sqrt((every[has].var(axis=0) + every[~has].var(axis=0)) / 2)

    def space(values):
        excess = ((np.maximum(values, 0) * weights - every[~has].mean(axis=0)) / spread)[:, entry.classic.features]
        return excess / np.linalg.norm(excess, axis=1, keepdims=True)

    distances = cdist(space(query[None].astype(np.float64)), space(atlas.features[rows].astype(np.float64)))[0]
    found = atlas.basis(query, "epidural", 3)
    nearest = np.argsort(distances)[:3]
    assert [e.example for e in found] == [atlas.examples[i] for i in rows[nearest]]
    np.testing.assert_allclose([e.distance for e in found], distances[nearest], atol=1e-5)
    assert all("epidural" in e.truth for e in found)


@pytest.mark.parametrize("pool", ["training", "atlas"])
def test_a_distance_stands_among_those_of_held_out_true_positives(explain, pool):
    held = _held_out()
    atlas = _atlas(explain, pool, held_out=held)
    right = np.flatnonzero(held.named[:, 0])  # all are epidural
    examples = atlas.project(atlas.features[atlas.candidates("epidural")], "epidural").astype(np.float64)
    distances = np.sort(cdist(atlas.project(held.features[right], "epidural").astype(np.float64), examples), axis=1)
    np.testing.assert_allclose(atlas.entry("epidural").reference, distances[:, :3], atol=1e-6)
    # Each of them against all of them: its rank, by the definition of a percentile.
    for i, row in enumerate(right):
        for rank, one in enumerate(atlas.basis(held.features[row], "epidural", 3)):
            expected = 100 * (distances[:, rank] <= distances[i, rank] + 1e-7).mean()
            assert one.standing == Standing(pytest.approx(expected), 6, 4)  # type: ignore[arg-type]
    # A finding that validation shows nowhere has nothing to stand among, however often the system names it.
    assert not len(atlas.entry("subdural").reference)
    assert all(one.standing is None for one in atlas.basis(atlas.features[50], "subdural", 3))


def test_a_standing_counts_references_at_least_as_near(explain):
    reference = np.array([[0.1], [0.2], [0.3], [np.nan]], np.float32)
    entry = replace(
        _atlas(explain).entry("epidural"), reference=reference, reference_patients=np.array([0, 0, 1, 2], np.int32)
    )
    assert standing(entry, 0, 0.05) == Standing(0, 3, 2)
    assert standing(entry, 0, 0.2) == Standing(pytest.approx(200 / 3), 3, 2)  # type: ignore[arg-type]
    assert standing(entry, 0, 1.0) == Standing(100, 3, 2)
    assert standing(entry, 1, 0.2) is None
    assert standing(replace(entry, reference=np.full((4, 1), np.nan, np.float32)), 0, 0.2) is None


def test_ranking_caps_patients_and_drops_near_equals(explain):
    shown = np.array([5.0, 4.0, 3.0, 2.0, 1.0, 0.0])
    space = np.eye(6, dtype=np.float32)
    space[1] = space[0]  # near-equal to the first
    patients = np.array(["a", "b", "a", "a", "c", "d"], dtype=object)
    settings = explain.model_copy(update={"atlas_per_patient": 2, "near_duplicate": 0.05, "atlas_per_label": 9})
    levels, unknown = 20.0 * np.arange(6), [-1] * 6
    assert rank_examples(shown, space, patients, levels, unknown.__getitem__, settings) == Ranking([0, 2, 4], 0, 0)
    fewer = settings.model_copy(update={"atlas_per_label": 2})
    assert rank_examples(shown, space, patients, levels, unknown.__getitem__, fewer).rows == [0, 2]
    # Of one patient only levels apart: the third lies 10 mm from the first, the fourth 30 mm.
    levels = np.array([0.0, 0, 10, 30, 0, 0])
    assert rank_examples(shown, space, patients, levels, unknown.__getitem__, settings).rows == [0, 3, 4]
    # A region that misses its lesion is counted and not shown; the next takes its place.
    met = [0, -1, 1, 1, 0, 1]
    assert rank_examples(shown, space, patients, 20.0 * np.arange(6), met.__getitem__, settings) == Ranking(
        [1, 2, 3], 4, 2
    )


def test_classic_features_tell_a_subtype_from_the_other_positives():
    # Feature 0 is strong in every positive slice; 1 is weaker but the subtype's own; 2 speaks against it.
    with_it = np.array([[9.0, 2.0, -1.0, 0.1], [8.0, 2.5, -1.0, 0.0]], np.float32)
    without = np.array([[8.5, 0.5, -2.0, 0.0], [9.5, 0.0, -2.0, 0.1]], np.float32)
    classic = classic_features(with_it, without, 2)
    np.testing.assert_array_equal(classic.features, [1])  # 0 shows no more than in the others, 2 and 3 are not relevant
    assert classic.centre[0] == pytest.approx(0.25)
    assert classic.spread[0] == pytest.approx(0.25)
    np.testing.assert_allclose(classic.excess(with_it)[:, 0], [7.0, 9.0])
    # Nothing to compare with: the mean over its own spread.
    np.testing.assert_array_equal(classic_features(with_it, without[:0], 2).features, [0, 1])


def test_a_network_that_tells_nothing_apart_has_no_classic_features(explain):
    same = np.ones((4, 5), np.float32)
    assert not len(classic_features(same, same, 3).features)
    n = 20
    attention = Attention(
        np.ones((n, 2, 2, 2), np.float32), np.ones((n, 2), bool), np.ones((n, 5), np.float32),
        np.zeros((n, 2), np.float32), "CAM", GRID,
    )  # fmt: skip
    truth, names = np.ones((n, 1), np.uint8), [str(i) for i in range(n)]
    kernel = -np.ones((5, 2), np.float32)  # every feature speaks against it
    thumbnails = np.zeros((n, 4, 4), np.int16)
    labels = Labels("any", ("a",))
    slices = Slices(thumbnails, truth, names, names, names, 20.0 * np.arange(n), {})
    head = Head(kernel, np.zeros(2, np.float32), "a" * 64)
    held_out = nothing_held_out(5, labels)
    atlas = build_atlas(labels, explain, head, attention, fires_nowhere(n, 5), slices, held_out, DRAWS)
    assert atlas.entry("a").reason == NO_FEATURES
    assert atlas.basis(np.ones(5, np.float32), "a", 3) == []


def test_the_space_has_length_one_or_zero():
    classic = Classic(np.array([0, 1], np.int32), np.array([1, 2], np.float32), np.array([1, 2], np.float32))
    space = classic.space(np.array([[4, 10, 9], [1, 2, 7]], np.float32))
    np.testing.assert_allclose(space, [[0.6, 0.8], [0, 0]])


def test_single_findings_stand_for_a_subtype_where_there_are_enough(explain):
    # Of 40 epidural slices 30 show nothing else; of 30 subdural ones 20.
    atlas = _atlas(explain, single_finding_minimum=25)
    epidural, subdural = atlas.entry("epidural"), atlas.entry("subdural")
    assert (epidural.single, len(epidural.eligible)) == (True, 30)
    assert (subdural.single, len(subdural.eligible)) == (False, 30)
    assert all(atlas.truth_of(int(row)) == ("epidural",) for row in epidural.ranked)
    assert all(e.truth == ("epidural",) for e in atlas.basis(atlas.features[35] + 1, "epidural", 3))
    assert len(epidural.positives) == 40


def test_discrimination_is_the_share_of_pairs_in_order():
    shown, has = np.array([0.1, 0.4, 0.35, 0.8]), np.array([False, False, True, True])
    assert discrimination(shown, has) == pytest.approx(3 / 4)
    assert np.isnan(discrimination(shown, np.ones(4, bool)))


@pytest.mark.parametrize(("maps", "kept"), [("any", ("any",)), ("subtypes", LABELS.subtypes)])
def test_the_maps_that_are_drawn_are_kept(explain, maps, kept, tmp_path):
    atlas = _atlas(explain, maps=maps)
    assert atlas.map_labels == kept
    shown = atlas.attention(3, "subdural")
    assert shown is not None
    assert shown.grid == GRID
    np.testing.assert_array_equal(shown.values, atlas.maps[3, 0 if maps == "any" else 1])
    atlas.save(tmp_path)
    assert Atlas.load(tmp_path).map_labels == kept


def test_a_subtype_without_positives_has_a_reason(explain):
    atlas = _atlas(explain)
    assert atlas.entry("intraventricular").reason == NO_POSITIVES
    assert atlas.basis(atlas.features[0], "intraventricular", 3) == []


def test_round_trip_and_equal_bytes(explain, tmp_path):
    atlas = _atlas(explain, held_out=_held_out())
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        _atlas(explain, held_out=_held_out()).save(tmp_path / name)
    for file in ("atlas.npz", "atlas.json"):
        assert (tmp_path / "a" / file).read_bytes() == (tmp_path / "b" / file).read_bytes()
    loaded = Atlas.load(tmp_path / "a")
    query = atlas.features[3] + 1
    for mine, theirs in zip(atlas.basis(query, "subdural", 3), loaded.basis(query, "subdural", 3), strict=True):
        assert (mine.example, mine.distance, mine.standing) == (theirs.example, theirs.distance, theirs.standing)
        np.testing.assert_array_equal(mine.thumbnail, theirs.thumbnail)
    assert b"1.2.3" not in (tmp_path / "a" / "atlas.json").read_bytes()


def test_another_schema_and_broken_files_are_refused(explain, tmp_path):
    _atlas(explain).save(tmp_path)
    described = (tmp_path / "atlas.json").read_text()
    (tmp_path / "atlas.json").write_text(described.replace("atlas/4", "atlas/0"))
    with pytest.raises(InputError, match="atlas/0"):
        Atlas.load(tmp_path)
    (tmp_path / "atlas.json").write_text(described)
    (tmp_path / "atlas.npz").write_bytes(b"broken")
    with pytest.raises(InputError, match="cannot be read"):
        Atlas.load(tmp_path)
