"""The side of a finding: against the midline, on turned heads, and in the sentence of a case."""

from __future__ import annotations

from datetime import date

import numpy as np
import pytest
from scipy import ndimage

from ich_pipeline.config import load_params
from ich_pipeline.explain.case import AttentionMap
from ich_pipeline.explain.choice import MapChoice, MapScore, Share
from ich_pipeline.explain.placed import PlacedMap
from ich_pipeline.explain.sentence import case_sentence
from ich_pipeline.explain.side import left_share, side_of, side_of_maps
from ich_pipeline.phantom.study import PatientPlan, drawn_patient
from tests.explain.conftest import PHANTOM
from tests.made.explained import head, made_case, placed

SURE, UNSURE = Share(30, 30, 12, 0.74, 1.0), Share(24, 30, 12, 0.6, 0.9)


def _choice(side: Share) -> MapChoice:
    scores = {"intraparenchymal": MapScore("intraparenchymal", "intraparenchymal", SURE, side, 0.5)}
    return MapChoice("vgg16", "layercam", None, "subtypes", 0.5, "as set", 10.0, 30, 12, (), scores)


def _at(row: int, column: int) -> PlacedMap:
    """A map of 8 × 8 cells that is high in one; columns go to the patient's left."""
    values = np.zeros((8, 8))
    values[row, column] = 1
    return placed(values)


def test_left_is_where_the_columns_go():
    shape = head() > 0
    mask = np.zeros(shape.shape, bool)
    mask[30:34, 40:44] = True
    assert left_share(mask, shape) == 1
    assert left_share(mask[:, ::-1], shape) == 0
    assert left_share(shape, shape) == pytest.approx(0.5, abs=0.01)
    assert left_share(np.zeros_like(mask), shape) is None
    assert [side_of(s) for s in (1.0, 0.75, 0.5, 0.25, 0.0)] == ["left", "left", None, "right", "right"]
    assert [side_of(s, 0.9) for s in (0.91, 0.89, 0.11, 0.09)] == ["left", None, None, "right"]


@pytest.mark.parametrize("degrees", [-20, 0, 15])
def test_the_midline_turns_with_the_head(degrees):
    y, x = np.mgrid[:96, :96] - 47.5
    shape = (x / 30) ** 2 + (y / 42) ** 2 < 1
    lesion = shape & (np.abs(x - 3) < 2) & (np.abs(y + 30) < 6)  # just left of the midline, far to the front
    turned = [ndimage.rotate(a.astype(float), degrees, reshape=False, order=1) > 0.5 for a in (lesion, shape)]
    share = left_share(*turned)
    assert share is not None
    assert share > 0.9


def test_slices_are_weighed_together():
    left, right = (_at(4, 6), head()), (_at(4, 1), head())
    assert side_of_maps([left, left], 0.5) == "left"
    assert side_of_maps([left, right], 0.5) is None
    assert side_of_maps([left, left, left, right], 0.5) == "left"
    assert side_of_maps([left, left, left, right], 0.5, 0.9) is None
    assert side_of_maps([(None, head())], 0.5) is None


def _sentence(placed_map: PlacedMap, hu: np.ndarray, maps: MapChoice | None) -> str:
    params = load_params(PHANTOM)
    labels = params.label_set
    values = np.full((3, len(labels)), 0.1)
    values[:, [0, labels.index("intraparenchymal")]] = 0.9
    case = made_case(
        params,
        values,
        slice_thresholds=np.full(len(labels), 0.5),
        shown={0: ("intraparenchymal",)},
        attention={0: {"intraparenchymal": AttentionMap(placed_map, "LayerCAM")}},
        hu=np.repeat(hu[None], 3, axis=0),
        maps=maps,
    )
    return case_sentence(case)


def test_the_sentence_names_a_side_that_is_sure():
    assert (
        _sentence(_at(4, 6), head(), _choice(SURE))
        == "Suspected: intraparenchymal, left, slices 1–3; others not named."
    )
    assert (
        _sentence(_at(4, 1), head(), _choice(SURE))
        == "Suspected: intraparenchymal, right, slices 1–3; others not named."
    )
    for silent in (None, _choice(UNSURE)):
        assert (
            _sentence(_at(4, 6), head(), silent)
            == "Suspected: intraparenchymal, side not determined, slices 1–3; others not named."
        )


@pytest.mark.parametrize("number", [1, 2, 3, 4])
def test_a_phantom_s_lesion_is_on_its_side_and_mirrored_on_the_other(number):
    """DICOM's x axis points to the patient's left; the phantom places lesions by it."""
    plan = PatientPlan(number, 7, date(2020, 1, 1), ("intraparenchymal",), 8, 96, 0.0, False)
    patient = drawn_patient(plan)
    seen = max((s for s in patient.slices if s.masks), key=lambda s: s.masks["intraparenchymal"].sum())
    mask, hu = seen.masks["intraparenchymal"], np.rint(seen.hu).astype(np.int16)
    side, other = ("left", "right") if patient.lesions[0].place[0] > 0 else ("right", "left")
    assert f"intraparenchymal, {side}," in _sentence(placed(mask), hu, _choice(SURE))
    assert f"intraparenchymal, {other}," in _sentence(placed(mask[:, ::-1]), hu[:, ::-1], _choice(SURE))
