"""Rules of the atlas; the prediction basis against scipy."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.spatial.distance import cdist

from ich_pipeline.errors import InputError
from ich_pipeline.explain.atlas import NO_POSITIVES, Atlas, build_atlas, percentile, rank_examples
from ich_pipeline.explain.attention import Attention
from ich_pipeline.explain.features import basis_space, classic_features, relevance
from ich_pipeline.labels import Labels

LABELS = Labels("any", ("epidural", "subdural", "intraventricular"))


def _atlas(explain, pool="training", seed=0, n=60, features=40) -> Atlas:
    """60 slices of 12 patients; the last subtype has no positive."""
    random = np.random.default_rng(seed)
    values = random.gamma(1, 1, (n, features)).astype(np.float32)
    truth = np.zeros((n, 3), np.uint8)
    truth[:40, 0], truth[30:, 1] = 1, 1
    maps = random.random((n, 4, 7, 7)).astype(np.float32)
    attention = Attention(maps, np.ones((n, 4), bool), values, np.zeros((n, 4), np.float32), "CAM of x, 7 × 7")
    kernel = random.normal(0, 1, (features, 4)).astype(np.float32)
    thumbnails = random.integers(-20, 180, (n, 16, 16)).astype(np.int16)
    settings = explain.model_copy(update={"classic_features": 10, "basis_pool": pool, "atlas_per_label": 8})
    patients = [f"P{i // 5}" for i in range(n)]
    return build_atlas(
        LABELS, settings, kernel, attention, thumbnails, truth, [f"1.2.{i}" for i in range(n)], patients, patients
    )


@pytest.mark.parametrize("pool", ["training", "atlas"])
def test_basis_is_the_nearest_by_brute_force(explain, pool):
    atlas = _atlas(explain, pool)
    query = np.random.default_rng(9).gamma(1, 1, 40).astype(np.float32)
    entry = atlas.entry("epidural")
    rows = entry.ranked if pool == "atlas" else entry.positives
    weights = atlas.kernel[:, 1].astype(np.float64)

    def space(values):
        shown = np.maximum(np.maximum(values, 0) * weights, 0)[:, entry.classic]
        return shown / np.linalg.norm(shown, axis=1, keepdims=True)

    distances = cdist(space(query[None].astype(np.float64)), space(atlas.features[rows].astype(np.float64)))[0]
    found = atlas.basis(query, "epidural", 3)
    nearest = np.argsort(distances)[:3]
    assert [e.example for e in found] == [atlas.examples[i] for i in rows[nearest]]
    np.testing.assert_allclose([e.distance for e in found], distances[nearest], atol=1e-6)
    assert all("epidural" in e.truth for e in found)


def test_reference_leaves_the_patient_out(explain):
    atlas = _atlas(explain)
    entry = atlas.entry("epidural")
    space = atlas.project(atlas.features[entry.positives], "epidural").astype(np.float64)
    distances = cdist(space, space)
    patients = np.array(atlas.patient_keys)[entry.positives]
    distances[patients[:, None] == patients[None, :]] = np.inf
    np.testing.assert_allclose(entry.reference, np.sort(distances, axis=1)[:, :3], atol=1e-6)


def test_percentile_counts_references_at_least_as_near():
    reference = np.array([[0.1], [0.2], [0.3], [np.nan]], np.float32)
    assert percentile(reference, 0, 0.05) == 0
    assert percentile(reference, 0, 0.2) == pytest.approx(200 / 3)
    assert percentile(reference, 0, 1.0) == 100
    assert percentile(reference, 1, 0.2) is None
    assert percentile(np.full((2, 1), np.nan, np.float32), 0, 0.2) is None


def test_ranking_caps_patients_and_drops_near_equals(explain):
    shown = np.array([5.0, 4.0, 3.0, 2.0, 1.0, 0.0])
    space = np.eye(6, dtype=np.float32)
    space[1] = space[0]  # near-equal to the first
    patients = np.array(["a", "b", "a", "a", "c", "d"], dtype=object)
    settings = explain.model_copy(update={"atlas_per_patient": 2, "near_duplicate": 0.05, "atlas_per_label": 9})
    assert rank_examples(shown, space, patients, settings) == [0, 2, 4]
    assert rank_examples(shown, space, patients, settings.model_copy(update={"atlas_per_label": 2})) == [0, 2]


def test_classic_features_are_those_relevant_in_most_positives():
    contributions = relevance(
        np.array([[1, 5, 0, 2], [1, 4, 0, 3], [3, 0, 0, 2]], np.float32), np.array([1, 1, 1, -1], np.float32)
    )
    # Two largest a slice: {1, 0}, {1, 0}, {0, -}: feature 0 three times, feature 1 twice; 2 never, 3 speaks against.
    np.testing.assert_array_equal(classic_features(contributions, 2), [0, 1])
    np.testing.assert_array_equal(classic_features(contributions, 4), [0, 1])


def test_basis_space_has_length_one_or_zero():
    space = basis_space(np.array([[3, 4, 9], [0, -1, 2]], np.float32), np.array([0, 1]))
    np.testing.assert_allclose(space, [[0.6, 0.8], [0, 0]])


def test_a_subtype_without_positives_has_a_reason(explain):
    atlas = _atlas(explain)
    assert atlas.entry("intraventricular").reason == NO_POSITIVES
    assert atlas.basis(atlas.features[0], "intraventricular", 3) == []
    assert atlas.basis(np.zeros(40, np.float32), "epidural", 3) == []


def test_round_trip_and_equal_bytes(explain, tmp_path):
    atlas = _atlas(explain)
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        _atlas(explain).save(tmp_path / name)
    for file in ("atlas.npz", "atlas.json"):
        assert (tmp_path / "a" / file).read_bytes() == (tmp_path / "b" / file).read_bytes()
    loaded = Atlas.load(tmp_path / "a")
    query = atlas.features[3] + 1
    for mine, theirs in zip(atlas.basis(query, "subdural", 3), loaded.basis(query, "subdural", 3), strict=True):
        assert (mine.example, mine.distance, mine.percentile) == (theirs.example, theirs.distance, theirs.percentile)
        np.testing.assert_array_equal(mine.thumbnail, theirs.thumbnail)
    assert b"1.2.3" not in (tmp_path / "a" / "atlas.json").read_bytes()


def test_another_schema_and_broken_files_are_refused(explain, tmp_path):
    _atlas(explain).save(tmp_path)
    described = (tmp_path / "atlas.json").read_text()
    (tmp_path / "atlas.json").write_text(described.replace("atlas/1", "atlas/0"))
    with pytest.raises(InputError, match="atlas/0"):
        Atlas.load(tmp_path)
    (tmp_path / "atlas.json").write_text(described)
    (tmp_path / "atlas.npz").write_bytes(b"broken")
    with pytest.raises(InputError, match="cannot be read"):
        Atlas.load(tmp_path)
