"""Reading everywhere and reading only what is suspicious end in the same scores and decisions.

The networks are small functions of the picture with the interface of a real one; slice interpolation is the real one.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from scipy.special import expit

from ich_pipeline.core.errors import InputError
from ich_pipeline.ensemble.calibration import Calibration
from ich_pipeline.ensemble.case_score import CaseScore
from ich_pipeline.ensemble.combiners import Combiner
from ich_pipeline.ensemble.conformal import ConformalLabel
from ich_pipeline.ensemble.model import Ensemble, ReadingModel
from ich_pipeline.ensemble.operating_points import OperatingPoint
from ich_pipeline.ensemble.reading import read
from ich_pipeline.ensemble.uncertainty import ONE_MEMBER, Uncertainty, of_case
from ich_pipeline.tables.labels import Labels

LABELS = Labels("any", ("epidural", "subdural"))
SIZE = 4


@dataclass
class SmallNetwork:
    """Answers from a slice's mean and maximum in HU; counts the images that it was shown."""

    weight: float
    labels: tuple[str, ...] = LABELS.columns
    images: list[int] = field(default_factory=list)

    @property
    def spec(self) -> SimpleNamespace:
        return SimpleNamespace(image_size=SIZE, labels=self.labels)

    def probabilities(self, hu):
        hu = np.asarray(hu, dtype=np.float64)
        self.images.append(len(hu))
        mean, top = hu.mean(axis=(1, 2)), hu.max(axis=(1, 2))
        return expit(self.weight * np.stack([mean - 30, top - 60, 0.5 * mean], axis=1) / 10).astype(np.float32)


def model(shift: float) -> ReadingModel:
    combiner = Combiner("plain_mean", ("a", "b"), ((0.5, 0.5),) * 3, None, (None,) * 3)
    return ReadingModel(combiner, (Calibration("platt", 0.8, shift),) * 3)


@pytest.fixture
def ensemble() -> Ensemble:
    point = OperatingPoint(0.5, 0.9, 0.9)
    points = {name: {"balanced": point} for name in LABELS.columns}
    return Ensemble(
        LABELS, {"a": 0.2, "b": 0.0, "c": 0.4}, model(0.0), model(0.3), OperatingPoint(0.6, 0.9, 0.5),
        points, points, "balanced", CaseScore("max", 3),
    )  # fmt: skip


@pytest.fixture
def networks() -> dict[str, Any]:
    return {"a": SmallNetwork(1.0), "b": SmallNetwork(0.5), "c": SmallNetwork(2.0)}


@pytest.fixture
def cases():
    """Three cases of six slices; the second is dark (nothing suspicious), the third has a gap after its third slice."""
    rng = np.random.default_rng(0)
    hu = rng.integers(0, 60, (18, SIZE, SIZE)).astype(np.int16)
    hu[6:12] = rng.integers(0, 20, (6, SIZE, SIZE))
    case_index = np.repeat([0, 1, 2], 6)
    rows = np.arange(18)
    before, after = rows - 1, rows + 1
    before[[0, 6, 12, 15]] = -1
    after[[5, 11, 14, 17]] = -1
    return {SIZE: hu}, np.stack([before, after], axis=1), case_index


def test_everywhere_changes_no_final_score(ensemble, networks, cases) -> None:
    whole = read(networks, ensemble, *cases, everywhere=True)
    quick = read(networks, ensemble, *cases, everywhere=False)
    assert 0 < quick.reread.sum() < 18
    for name in (
        "first",
        "final",
        "case_scores",
        "first_case_scores",
        "decisions",
        "let_through",
        "reread",
        "suspicious",
    ):
        np.testing.assert_array_equal(getattr(whole, name), getattr(quick, name), err_msg=name)
    np.testing.assert_array_equal(np.isnan(quick.second).all(axis=1), ~quick.reread)
    assert not np.isnan(whole.second).any()
    assert set(whole.original) == {"a", "b", "c"} and set(quick.original) == {"a", "b"}


def test_a_network_outside_the_ensemble_is_read_with_interpolation_for_the_ablation_alone(
    ensemble, networks, cases
) -> None:
    plain = read(networks, ensemble, *cases, everywhere=True)
    assert set(plain.interpolated) == {"a", "b"} and networks["c"].images == [18]
    ablated = read(networks, ensemble, *cases, everywhere=True, ablation=("c",))
    assert set(ablated.interpolated) == {"a", "b", "c"}
    assert (ablated.interpolated["c"] != ablated.original["c"]).any()
    np.testing.assert_array_equal(ablated.final, plain.final)


def test_only_what_is_suspicious_and_its_neighbours_is_read_again(ensemble, networks, cases) -> None:
    reading = read(networks, ensemble, *cases, everywhere=False)
    np.testing.assert_array_equal(reading.suspicious, reading.first[:, 0] >= 0.6)
    neighbours = cases[1]
    expected = reading.suspicious.copy()
    for row in np.flatnonzero(reading.suspicious):
        for other in neighbours[row]:
            if other >= 0:
                expected[other] = True
    np.testing.assert_array_equal(reading.reread, expected)
    interpolated = int((neighbours[expected] >= 0).sum())
    assert sum(networks["a"].images) == 18 + interpolated
    assert sum(networks["b"].images) == 18  # its degree is 0: nothing to look at again
    assert networks["c"].images == []  # not a member


def test_a_case_below_the_gate_is_never_rescued(ensemble, networks, cases) -> None:
    reading = read(networks, ensemble, *cases, everywhere=True)
    assert not reading.let_through[1]
    assert not reading.decisions[1]
    assert reading.let_through[0] and reading.decisions[0]
    # With a decision threshold below everything the gate alone still stops it.
    low = {name: {"balanced": OperatingPoint(0.0, 1.0, 0.0)} for name in LABELS.columns}
    eager = replace(ensemble, case_points=low)
    np.testing.assert_array_equal(read(networks, eager, *cases, everywhere=False).decisions, reading.let_through)


def test_second_reading_of_one_slice_by_hand(ensemble, networks, cases) -> None:
    images, neighbours, _ = cases
    reading = read(networks, ensemble, *cases, everywhere=True)
    hu = images[SIZE].astype(np.float64)
    own = SmallNetwork(1.0).probabilities
    mean = (own(hu[1:2]) + own(0.8 * hu[1:2] + 0.2 * hu[0:1]) + own(0.8 * hu[1:2] + 0.2 * hu[2:3]))[0] / 3
    np.testing.assert_allclose(reading.interpolated["a"][1], mean, rtol=1e-5)
    np.testing.assert_array_equal(neighbours[15], [-1, 16])
    beside_gap = (own(hu[15:16]) + own(0.8 * hu[15:16] + 0.2 * hu[16:17]))[0] / 2
    np.testing.assert_allclose(reading.interpolated["a"][15], beside_gap, rtol=1e-5)


def test_what_does_not_fit_is_named(ensemble, networks: dict[str, Any], cases) -> None:
    with pytest.raises(InputError, match="needs the network b"):
        read({k: v for k, v in networks.items() if k == "a"}, ensemble, *cases, everywhere=False)
    unknown: dict[str, Any] = {**networks, "d": SmallNetwork(1.0)}
    with pytest.raises(InputError, match="knows no network d"):
        read(unknown, ensemble, *cases, everywhere=True)
    other_labels: dict[str, Any] = {**networks, "a": SmallNetwork(1.0, ("any",))}
    with pytest.raises(InputError, match="was trained for the labels any"):
        read(other_labels, ensemble, *cases, everywhere=False)
    nothing = ({SIZE: np.zeros((0, SIZE, SIZE), np.int16)}, np.zeros((0, 2), int), np.zeros(0, int))
    with pytest.raises(InputError, match="no slice to read"):
        read(networks, ensemble, *nothing, everywhere=False)


@pytest.fixture
def certain(ensemble) -> Ensemble:
    """The ensemble with what validation taught about certainty: limits of two labels, a calibration a network."""
    limits = {
        "any": ConformalLabel(0.7, 0.5, 20, 20),
        "epidural": ConformalLabel(0.4, 0.6, 20, 20),
        "subdural": ConformalLabel(None, None, 20, 3, "validation has 3 patients with the finding"),
    }
    calibrations = {
        name: (Calibration("platt", scale, 0.1),) * 3 for name, scale in (("a", 1.0), ("b", 2.0), ("c", 0.5))
    }
    return replace(ensemble, uncertainty=Uncertainty(0.9, limits, limits, calibrations))


def test_disagreement_is_the_spread_of_the_members_own_calibrated_probabilities(certain, networks, cases) -> None:
    whole = read(networks, certain, *cases, everywhere=True)
    quick = read(networks, certain, *cases, everywhere=False)
    assert quick.disagreement is not None
    for level in ("slices", "cases"):
        np.testing.assert_array_equal(getattr(whole.disagreement, level), getattr(quick.disagreement, level))
    of = {name: Calibration("platt", scale, 0.1)(whole.original[name]) for name, scale in (("a", 1.0), ("b", 2.0))}
    np.testing.assert_allclose(quick.disagreement.slices, np.abs(of["a"] - of["b"]) / 2, rtol=1e-12)
    tops = [np.stack([p[cases[2] == case].max(axis=0) for case in range(3)]) for p in of.values()]
    np.testing.assert_allclose(quick.disagreement.cases, np.abs(tops[0] - tops[1]) / 2, rtol=1e-12)


@pytest.mark.parametrize("rule", ["max", "neighbours"])
def test_a_case_says_its_sets_in_words(certain, networks, cases, rule) -> None:
    certain = replace(certain, case_score=CaseScore(rule))
    images, neighbours, case_index = cases
    whole = read(networks, certain, *cases, everywhere=True)
    assert whole.disagreement is not None
    for case in range(3):
        mine = case_index == case
        local = np.where(neighbours[mine] >= 0, neighbours[mine] - 6 * case, -1)
        one = read(networks, certain, {SIZE: images[SIZE][mine]}, local, np.zeros(6, int), everywhere=False)
        np.testing.assert_allclose(one.case_scores[0], whole.case_scores[case], rtol=1e-12)
        found = of_case(certain, one)
        assert found is not None and certain.uncertainty is not None and whole.disagreement is not None
        for k, name in enumerate(("any", "epidural")):
            assert found.sets[name] == certain.uncertainty.cases[name].words(whole.case_scores[case, k])
            words = certain.uncertainty.slices[name].words(whole.final[mine, k])
            assert found.slice_sets[name] == tuple(words)
        assert found.reasons["subdural"] == "validation has 3 patients with the finding"
        np.testing.assert_array_equal(found.slice_disagreement, whole.disagreement.slices[mine])


def test_one_network_has_no_disagreement_and_costs_no_other_pass(certain, networks, cases) -> None:
    alone = Combiner("plain_mean", ("a",), ((1.0,),) * 3, None, (None,) * 3)
    model_of_one = ReadingModel(alone, certain.first_reading.calibrations)
    single = replace(certain, first_reading=model_of_one, second_reading=model_of_one)
    images, neighbours, case_index = cases
    mine = case_index == 0
    reading = read(networks, single, {SIZE: images[SIZE][mine]}, neighbours[mine], case_index[mine], everywhere=False)
    assert reading.disagreement is None
    assert networks["b"].images == networks["c"].images == []
    found = of_case(single, reading)
    assert found is not None and found.disagreement is None and found.reason == ONE_MEMBER


def test_an_ensemble_of_an_older_version_has_none(ensemble, networks, cases) -> None:
    content = ensemble.to_json()
    del content["uncertainty"]
    old = Ensemble.from_json(content)
    reading = read(networks, old, *cases, everywhere=False)
    assert old.uncertainty is None and reading.disagreement is None and of_case(old, reading) is None
