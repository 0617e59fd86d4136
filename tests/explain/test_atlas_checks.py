"""What is checked of an atlas, against values worked out otherwise; and that it needs no test patient."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import norm
from sklearn.metrics import average_precision_score

from ich_pipeline.core.errors import InputError
from ich_pipeline.explain.atlas import Atlas
from ich_pipeline.explain.atlas_build import NOT_MET, Head, Slices, build_atlas
from ich_pipeline.explain.atlas_checks import Checks, Figure, HeldOut, coverage, deletion, meets, retrieval
from ich_pipeline.explain.attention import Attention
from ich_pipeline.explain.geometry import CellGrid
from ich_pipeline.explain.lesions import MaskedSlice
from ich_pipeline.tables.labels import Labels
from tests.made.atlas import DRAWS, fires_nowhere
from tests.made.explained import head, placed

LABELS = Labels("any", ("epidural", "subdural"))
N, FEATURES = 60, 30
WHO = [f"P{i // 3}" for i in range(N)]


def _features(seed: int) -> tuple[np.ndarray, np.ndarray]:
    """The first five features are the epidural's own, the next five the subdural's."""
    random = np.random.default_rng(seed)
    truth = np.zeros((N, 2), np.uint8)
    truth[np.arange(N), np.arange(N) % 2] = 1
    features = random.gamma(2, 0.3, (N, FEATURES))
    for k in range(2):
        features[truth[:, k] == 1, 5 * k : 5 * k + 5] += 2
    return features.astype(np.float32), truth


def _kernel() -> np.ndarray:
    kernel = np.random.default_rng(5).normal(0, 0.1, (FEATURES, 3)).astype(np.float32)
    kernel[:5, 1], kernel[5:10, 2] = 0.6, 0.6
    return kernel


def test_deletion_by_hand():
    features = np.array([[1.0, 2.0, 0.5]], np.float32)
    found = deletion(features, ["a"], np.array([1.0, 0.5, -1.0], np.float32), 0.2, np.array([0], np.int32), DRAWS)
    whole = 1 / (1 + np.exp(-(1.0 + 1.0 - 0.5 + 0.2)))
    assert found is not None
    assert found.value == pytest.approx(whole - 1 / (1 + np.exp(-0.7)), abs=1e-6)
    single = [whole - 1 / (1 + np.exp(-(1.7 - one))) for one in (1.0, 1.0, -0.5)]
    assert min(single) <= found.chance <= max(single)
    assert found.interval is None  # one patient


def test_zeroing_the_classic_features_costs_more_than_as_many_random_ones():
    atlas = _atlas()
    for entry in atlas.entries:
        found = entry.checks.deletion
        assert found is not None
        assert found.interval is not None
        assert found.value > 2 * found.chance
        assert found.interval[0] > 0
    assert set(atlas.entry("epidural").classic.features[:5].tolist()) == set(range(5))


def test_retrieval_is_mean_average_precision():
    random = np.random.default_rng(2)
    pool, query, has = random.normal(size=(20, 4)), random.normal(size=(3, 4)), np.arange(20) < 6
    found = retrieval(query.astype(np.float32), ["a", "b", "b"], pool.astype(np.float32), has, DRAWS)
    assert found is not None
    by_hand = [
        average_precision_score(has, -np.linalg.norm(pool.astype(np.float32) - q, axis=1))
        for q in query.astype(np.float32)
    ]
    assert found.value == pytest.approx(np.mean(by_hand))
    assert found.chance == pytest.approx(0.3)
    assert retrieval(query.astype(np.float32)[:0], [], pool.astype(np.float32), has, DRAWS) is None
    perfect = retrieval(pool[:2].astype(np.float32), ["a", "b"], pool.astype(np.float32), np.arange(20) < 20, DRAWS)
    assert perfect is None  # all carry it: nothing to tell


def test_coverage_against_a_radius_of_one_in_ten():
    others = norm.ppf((np.arange(100) + 0.5) / 100)[:, None] + 5.0
    assert coverage(np.zeros((1, 1)), np.array([[0.1], [0.2], [9.0]]), others) == pytest.approx(2 / 3)
    assert coverage(np.zeros((0, 1)), others, others) is None


def _masked(label: str) -> MaskedSlice:
    lesion = np.zeros((64, 64), bool)
    lesion[24:32, 40:48] = True
    return MaskedSlice("C", "P", 1, head(), head() > 0, (2.0, 2.0), {label: lesion, "any": lesion})


def _cell(row: int, column: int) -> np.ndarray:
    values = np.zeros((16, 16), np.float32)
    values[row, column] = 1
    return values


def test_a_region_meets_a_lesion_that_holds_half_of_its_weight():
    shown = _masked("epidural")
    assert meets(placed(_cell(6, 10)), shown, "epidural", 0.5, 2.0)
    assert not meets(placed(_cell(9, 5)), shown, "epidural", 0.5, 2.0)
    assert meets(placed(_cell(9, 5)), shown, "epidural", 0.5, 200.0)
    mostly = 1.0 * _cell(6, 10) + 0.9 * _cell(9, 5)
    assert meets(placed(mostly), shown, "epidural", 0.5, 2.0)
    assert not meets(placed(0.9 * _cell(6, 10) + _cell(9, 5)), shown, "epidural", 0.3, 2.0)


def _atlas(explain=None, hits: float = 1.0) -> Atlas:
    from ich_pipeline.config import load_params
    from tests.explain.conftest import PHANTOM

    features, truth = _features(1)
    grid = CellGrid((0.5 / 16, 0.5 / 16), (1 / 16, 1 / 16))
    right = np.arange(N) // 2 < hits * N / 2
    maps = np.stack([_cell(6, 10) if ok else _cell(9, 5) for ok in right])[:, None].repeat(3, axis=1)
    attention = Attention(maps, np.ones((N, 3), bool), features, np.zeros((N, 3), np.float32), "CAM", grid)
    masked = {i: _masked(LABELS.subtypes[i % 2]) for i in range(N)}
    uids = [f"1.2.{i}" for i in range(N)]
    slices = Slices(np.zeros((N, 8, 8), np.int16), truth, uids, WHO, WHO, 20.0 * np.arange(N), masked)
    held, held_truth = _features(9)
    held_out = HeldOut(held, held_truth, held_truth.astype(bool), [f"V{who}" for who in WHO])
    settings = (explain or load_params(PHANTOM).explain).model_copy(
        update={"classic_features": 5, "hit_tolerance_mm": 2.0, "maps": "subtypes", "near_duplicate": 0.0}
    )
    head = Head(_kernel(), np.zeros(3, np.float32), "a" * 64)
    fired = fires_nowhere(N, features.shape[1])
    return build_atlas(LABELS, settings, head, attention, fired, slices, held_out, DRAWS)


def test_only_slices_whose_region_meets_the_lesion_are_shown(explain):
    for entry in _atlas(explain, hits=0.5).entries:
        assert (entry.ranked < N / 2).all()
        assert entry.checks.met == len(entry.ranked) < entry.checks.put_forward
        assert entry.checks.misses
    never = _atlas(explain, hits=0.0).entry("subdural")
    assert (len(never.ranked), never.reason) == (0, NOT_MET)
    always = _atlas(explain).entry("subdural").checks
    assert not always.misses
    assert always.met == always.put_forward == 12


def test_found_again_beyond_chance_and_round_trip(explain, tmp_path):
    atlas = _atlas(explain)
    for entry in atlas.entries:
        found = entry.checks.retrieval
        assert found is not None
        assert found.value > 0.9
        assert found.chance == 0.5
    atlas.save(tmp_path)
    loaded = Atlas.load(tmp_path)
    assert [e.checks for e in loaded.entries] == [e.checks for e in atlas.entries]
    figure = Figure(0.5, 0.1, None, 3, 1)
    assert Checks.from_json(Checks(deletion=figure).to_json()).deletion == figure


def test_an_atlas_of_other_weights_is_refused(explain, tmp_path):
    atlas = _atlas(explain)
    atlas.check_network("a" * 64, tmp_path)
    with pytest.raises(InputError, match="made with other weights of vgg16"):
        atlas.check_network("b" * 64, tmp_path)
