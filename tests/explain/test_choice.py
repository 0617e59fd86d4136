"""Which maps are chosen, on slices whose answers are known; and that no test patient is looked at."""

from __future__ import annotations

import numpy as np
import pytest

from ich_pipeline.core.errors import InputError
from ich_pipeline.explain.attention import Attention
from ich_pipeline.explain.choice import NO_MASKS, MapChoice, _sides, _sure, choose_maps, share_of
from ich_pipeline.explain.geometry import CellGrid
from ich_pipeline.explain.lesions import MaskedSlice
from ich_pipeline.tables.labels import Labels
from tests.made.atlas import DRAWS, unscored
from tests.made.explained import head

LABELS = Labels("any", ("epidural", "subdural"))
CELLS = 16


def _slices(count: int = 12) -> list[MaskedSlice]:
    """Lesions of an epidural left or right, every third with a subdural at the back."""
    found = []
    for i in range(count):
        epidural, subdural = np.zeros((64, 64), bool), np.zeros((64, 64), bool)
        column = 40 if i % 2 else 16
        epidural[24:32, column : column + 8] = True
        lesions = {"epidural": epidural}
        if i % 3 == 0:
            subdural[44:52, 28:36] = True
            lesions["subdural"] = subdural
        lesions["any"] = np.any(list(lesions.values()), axis=0)
        found.append(MaskedSlice(f"C{i}", f"P{i}", 1, head(), head() > 0, (2.0, 2.0), lesions))
    return found


def _maps(slices, good: dict[str, float], tried: list):
    """Maps that are the lesion itself in a share of the slices, and the opposite corner in the others."""

    def made(settings) -> Attention:
        tried.append((settings.method, settings.layer))
        share = good[settings.layer or settings.method]
        maps = np.zeros((len(slices), 3, CELLS, CELLS), np.float32)
        for i, one in enumerate(slices):
            for k, name in enumerate(LABELS.columns):
                if name in one.lesions:
                    right = i < share * len(slices)
                    coarse = one.lesions[name].reshape(CELLS, 4, CELLS, 4).mean(axis=(1, 3))
                    maps[i, k] = coarse if right else _corner()
        grid = CellGrid((0.5 / CELLS, 0.5 / CELLS), (1 / CELLS, 1 / CELLS))
        n = len(slices)
        nothing = np.zeros((n, 3), np.float32)
        return Attention(maps, maps.max(axis=(2, 3)) > 0, nothing, nothing, settings.method, grid)

    return made


def _corner() -> np.ndarray:
    values = np.zeros((CELLS, CELLS))
    values[4, 8] = 1
    return values


def _choose(explain, good, count=12, **settings):
    slices, tried = _slices(count), []
    wanted = np.array([[name in one.lesions for name in LABELS.columns] for one in slices])
    changed = explain.model_copy(update={"hit_tolerance_mm": 4.0, "method": "auto", "maps": "auto", **settings})
    return choose_maps(LABELS, changed, ["deep", "fine"], slices, wanted, _maps(slices, good, tried), DRAWS), tried


def test_the_method_that_points_best_is_taken(explain):
    choice, tried = _choose(explain, {"deep": 0.2, "fine": 1.0, "cam": 0.5}, count=36)
    assert (choice.method, choice.layer) == ("layercam", "fine")
    assert tried == [
        ("layercam", "deep"),
        ("layercam", "fine"),
        ("hirescam", "fine"),
        ("gradcam", "deep"),
        ("cam", None),
    ]
    assert choice.tried[0].hit == 1
    assert choice.scores["epidural"].hit.value == 1
    assert choice.maps == "subtypes"  # each hits its own lesion, never the other
    applied = choice.applied(explain)
    assert (applied.method, applied.layer, applied.region_fraction) == ("layercam", "fine", choice.fraction)
    assert choice.names_side("epidural")
    assert not choice.names_side("no such")


def test_a_side_is_said_from_the_share_on_at_which_maps_that_say_one_are_right():
    clear = [(0.97, 1.0), (0.02, 0.0)] * 10
    undecided, doubtful = [(0.5, 1.0), (None, 0.0)] * 5, [(0.8, 0.1)] * 3 + [(0.88, 0.5)]
    who = [str(k) for k in range(len(clear + undecided + doubtful))]
    shares = {limit: _sides(clear + undecided + doubtful, who, limit, DRAWS) for limit in (0.75, 0.85, 0.9)}
    assert [(one.right, one.of) for one in shares.values()] == [(20, 24), (20, 21), (20, 20)]
    assert [_sure(one) for one in shares.values()] == [False, True, True]
    assert not _sure(_sides(clear[:3], who[:3], 0.75, DRAWS)), "three patients are too few"
    assert not _sure(_sides(undecided, who[:10], 0.75, DRAWS)), "no map says one"


def test_a_map_that_misses_names_no_side(explain):
    choice, _ = _choose(explain, {"deep": 0.1, "fine": 0.2, "cam": 0.1})
    assert choice.scores["epidural"].hit.value == pytest.approx(3 / 12)
    assert not choice.names_side("epidural")
    assert choice.maps == "any"


def test_what_is_set_is_scored_and_not_chosen(explain):
    choice, tried = _choose(explain, {"deep": 1.0}, method="gradcam", layer="deep", maps="any")
    assert tried == [("gradcam", "deep")]
    assert (choice.method, choice.layer, choice.maps, choice.reason) == ("gradcam", "deep", "any", "as set")
    assert choice.scores["subdural"].map_label == "any"


def test_without_masks_the_rule_stays_and_says_so(explain, tmp_path):
    choice = unscored(LABELS, explain)
    assert (choice.method, choice.maps, choice.reason) == (explain.method, "any", NO_MASKS)
    assert choice.fraction == explain.region_fraction
    assert not choice.names_side("epidural")


def test_round_trip_and_equal_bytes(explain, tmp_path):
    choice, _ = _choose(explain, {"deep": 0.2, "fine": 1.0, "cam": 0.5})
    choice.save(tmp_path)
    first = (tmp_path / "maps.json").read_bytes()
    assert MapChoice.load(tmp_path) == choice
    MapChoice.load(tmp_path).save(tmp_path)
    assert (tmp_path / "maps.json").read_bytes() == first
    (tmp_path / "maps.json").write_bytes(first.replace(b"maps/1", b"maps/0"))
    with pytest.raises(InputError, match="run the stage atlas again"):
        MapChoice.load(tmp_path)


def test_a_share_is_drawn_by_patient():
    found = share_of([True] * 6 + [False] * 2, ["a"] * 6 + ["b"] * 2, DRAWS)
    assert (found.right, found.of, found.patients, found.low, found.high) == (6, 8, 2, 0.0, 1.0)
    # Where all agree: Clopper-Pearson over the patients, 0.025 ** (1 / 4).
    assert share_of([True] * 40, list("abcd") * 10, DRAWS).low == pytest.approx(0.025 ** (1 / 4))
    assert share_of([], [], DRAWS).value is None
