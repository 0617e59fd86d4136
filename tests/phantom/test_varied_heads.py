"""The varied heads: determined by their arguments alone, true to their labels, plain without variation, plausible with it."""

from __future__ import annotations

from dataclasses import replace
from functools import cache

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from ich_pipeline.core.errors import InputError
from ich_pipeline.phantom.draw import Draw
from ich_pipeline.phantom.grain import noise
from ich_pipeline.phantom.lesions import KINDS
from ich_pipeline.phantom.render import Slice
from ich_pipeline.phantom.scanners import scanner_of
from ich_pipeline.phantom.study import PatientPlan, drawn_patient
from ich_pipeline.phantom.varied.person import Person
from ich_pipeline.phantom.varied.slices import A_DAY, VariedSlices, mixed, patient_slices, varied_patient, varied_slices
from ich_pipeline.tables.labels import Labels

LABELS = Labels("any", KINDS)
SMALL = {"patients": 6, "slices": 5, "size": 64, "positive_fraction": 0.5, "faint_fraction": 0.5, "seed": 3}


def _plan(number: int, kinds: tuple[str, ...] = (), seed: int = 5, slices: int = 6, size: int = 96) -> PatientPlan:
    return PatientPlan(number, seed, A_DAY, kinds, slices, size, 0.3, bone_series=False)


@cache
def _small(variation: float = 1.0) -> VariedSlices:
    return varied_slices(LABELS, **SMALL, variation=variation, workers=1)


def test_shapes_and_types() -> None:
    drawn = _small()
    assert drawn.hu.shape == (30, 64, 64) and drawn.hu.dtype == np.int16
    assert drawn.truth.shape == (30, 6) and drawn.truth.dtype == np.int8
    assert drawn.patients.tolist() == [n for n in range(6) for _ in range(5)] and drawn.patients.dtype == np.int64
    assert drawn.neighbours.dtype == np.int64
    assert drawn.neighbours[:6].tolist() == [[-1, 1], [0, 2], [1, 3], [2, 4], [3, -1], [-1, 6]]


def test_workers_do_not_change_a_byte() -> None:
    again = varied_slices(LABELS, **SMALL, variation=1.0, workers=2)
    for name in ("hu", "truth", "patients", "neighbours"):
        assert getattr(again, name).tobytes() == getattr(_small(), name).tobytes()


@pytest.mark.parametrize("change", [{"seed": 4}, {"variation": 0.5}])
def test_seed_and_variation_change_the_heads(change: dict) -> None:
    one = {**SMALL, "patients": 1, "variation": 1.0}
    assert (varied_slices(LABELS, **{**one, **change}).hu != varied_slices(LABELS, **one).hu).mean() > 0.1


def test_share_of_bleeding_patients_and_the_rule_of_any() -> None:
    drawn = _small()
    assert np.array_equal(drawn.truth[:, 0], drawn.truth[:, 1:].any(axis=1))
    bleeding = {int(p) for p in drawn.patients[drawn.truth[:, 0] == 1]}
    assert len(bleeding) == 3


def test_truth_follows_the_order_of_the_labels() -> None:
    order = ("subdural", "epidural")
    drawn = varied_slices(Labels("x", order), **{**SMALL, "positive_fraction": 1.0}, variation=1.0, workers=1)
    swapped = patient_slices(_plan(1, ("epidural",)), order, 1.0).truth
    assert drawn.truth.shape == (30, 3) and drawn.truth[:, 1:].any(axis=0).all()
    assert swapped[:, 1].any() and not swapped[:, 0].any()


def test_no_variation_is_the_plain_head_under_its_scanners_noise() -> None:
    plan = _plan(4, ("intraparenchymal", "subarachnoid"))
    drawn, plain = patient_slices(plan, KINDS, 0.0), drawn_patient(plan)
    grain, deviation = Draw("varied noise", plan.seed, plan.number), scanner_of(plan.seed, plan.number).noise_hu
    for number, expected in enumerate(plain.slices):
        hu = np.rint(expected.hu + noise(grain.child(number), plan.size, deviation, False))
        assert np.array_equal(drawn.hu[number], np.clip(hu, -1024, 3071))
        assert drawn.truth[number].tolist() == [kind in expected.masks for kind in KINDS]


@settings(max_examples=8, deadline=None)
@given(
    st.sampled_from(KINDS),
    st.integers(1, 1000),
    st.floats(0.1, 1.0),
)
def test_a_wanted_bleed_is_seen_and_lies_in_the_head(kind: str, number: int, variation: float) -> None:
    slices, _ = varied_patient(_plan(number, (kind,), slices=4, size=64), variation)
    assert {k for s in slices for k in s.masks} == {kind}
    largest = max(slices, key=lambda s: np.count_nonzero(s.masks.get(kind, 0)))
    blood = largest.hu[largest.masks[kind]]
    assert np.median(blood) > (
        33 if len(blood) >= 8 else 25
    )  # though thin or pale; a few pixels are half cerebrospinal fluid


@settings(max_examples=8, deadline=None)
@given(st.integers(1, 1000), st.floats(0.0, 1.0))
def test_hounsfield_units_are_those_of_a_head(number: int, variation: float) -> None:
    hu = patient_slices(_plan(number, slices=4, size=64), KINDS, variation).hu
    assert hu.min() >= -1024 and hu.max() <= 3071
    assert -1024 <= np.percentile(hu[:, :4, :4], 50) < -900  # a corner is air
    for layer in hu[1:3]:
        skull = layer > 300
        # Not what the skull encloses: at this coarse size the base may leave it open.
        brain = ndimage.binary_erosion((layer > -20) & (layer < 120), iterations=2)
        assert brain.mean() > 0.03
        assert 0.02 < skull.mean() < 0.5
        assert 12 < np.median(layer[brain]) < 60


def test_variation_widens_the_range_of_sizes_and_places() -> None:
    def spread(variation: float) -> tuple[float, float]:
        people = [Person.drawn(_plan(n), variation) for n in range(1, 60)]
        lengths = [2 * (p.head.half_length + p.head.bone + p.head.scalp) / p.field_of_view for p in people]
        return min(lengths), max(lengths)

    plain, varied = spread(0.0), spread(1.0)
    assert plain == pytest.approx((0.84, 0.84))
    assert 0.5 < varied[0] < 0.68 and 0.9 < varied[1] < 1.05


def test_uneven_blood_changes_blood_alone() -> None:
    mask = np.zeros((64, 64), bool)
    mask[20:40, 20:40] = True
    flat = Slice(np.full((64, 64), 70.0, np.float32), {"epidural": mask})
    uneven = mixed(flat, Draw("x"), 20.0)
    far = np.logical_not(ndimage.binary_dilation(mask, iterations=7))
    assert np.array_equal(uneven[far], flat.hu[far])
    assert uneven[mask].std() > 1 and uneven.min() >= 49 and uneven.max() <= 70
    assert np.array_equal(mixed(replace(flat, masks={"subarachnoid": mask}), Draw("x"), 20.0), flat.hu)


def test_a_label_that_the_phantom_cannot_draw() -> None:
    with pytest.raises(InputError, match="'fracture', which the phantom cannot draw"):
        varied_slices(Labels("any", ("epidural", "fracture")), **SMALL, variation=1.0)


@pytest.mark.parametrize(
    ("name", "value"),
    [("patients", 0), ("slices", 1), ("size", 16), ("variation", 1.5), ("variation", float("nan")),
     ("positive_fraction", -0.1), ("faint_fraction", 2)],
)  # fmt: skip
def test_numbers_out_of_range(name: str, value: float) -> None:
    with pytest.raises(InputError, match=name):
        varied_slices(LABELS, **{**SMALL, "variation": 1.0, name: value})
