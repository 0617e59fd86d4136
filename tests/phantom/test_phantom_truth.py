"""Labels, masks and what is drawn agree; lesions have the density of acute blood where they live."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import pandas as pd
import pydicom
import pytest

from ich_pipeline.config import Params
from ich_pipeline.core.errors import InputError
from ich_pipeline.phantom import plan_cohort, settings_sha256
from ich_pipeline.phantom.cohort import READERS, readers_csv
from ich_pipeline.phantom.lesions import KINDS
from ich_pipeline.phantom.render import FIELD_OF_VIEW_MM, MINIMUM_AREA_MM2
from ich_pipeline.phantom.study import Patient, drawn_patient, slice_spacing
from ich_pipeline.tables.masks import read_masks

SUBTYPES = ("epidural", "intraparenchymal", "intraventricular", "subarachnoid", "subdural")


def labels_of(data: Path) -> pd.DataFrame:
    return pd.read_csv(data / "labels.csv", index_col="SOPInstanceUID")


def test_labels_equal_masks(tiny_phantom: Path) -> None:
    labels, masks = labels_of(tiny_phantom), read_masks(tiny_phantom / "masks.csv")
    assert list(labels.columns) == ["any", *SUBTYPES]
    for uid, row in labels.iterrows():
        found = masks[str(uid)] if uid in masks else {}
        assert {kind for kind in SUBTYPES if row[kind]} == set(found)
        assert row["any"] == int(bool(found))
    assert set(masks) <= set(labels.index)
    assert labels["any"].sum() > 0


def test_masks_have_the_minimal_area(tiny_phantom: Path) -> None:
    pixel = (FIELD_OF_VIEW_MM / 96) ** 2
    for found in read_masks(tiny_phantom / "masks.csv").values():
        for mask in found.values():
            assert mask.shape == (96, 96)
            assert mask.sum() * pixel >= MINIMUM_AREA_MM2


def test_labels_name_every_brain_slice_and_no_other(tiny_phantom: Path) -> None:
    axial = set()
    for path in (p for p in (tiny_phantom / "dicom").rglob("*") if p.is_file()):
        ds = pydicom.dcmread(path, stop_before_pixels=True)
        if ds.ImageType[2] == "AXIAL" and ds.ConvolutionKernel not in ("H60s", "BONE", "YC", "FC81"):
            axial.add(ds.SOPInstanceUID)
    assert axial == set(labels_of(tiny_phantom).index)
    assert len(axial) == 12 * 6


def test_cohort_json_speaks_of_settings_only(tiny_phantom: Path) -> None:
    cohort = json.loads((tiny_phantom / "cohort.json").read_text())
    assert set(cohort) == {"kind", "settings", "settings_sha256"}
    assert cohort["kind"] == "phantom"
    assert cohort["settings_sha256"] == settings_sha256(cohort["settings"])
    assert cohort["settings"]["phantom"]["patients"] == 12


def test_simulated_readers_decide_on_every_case_and_are_named_so(tiny_phantom: Path) -> None:
    rows = pd.read_csv(tiny_phantom / "readers.csv", dtype=str)
    assert rows.groupby("reader")["case"].nunique().tolist() == [12] * len(READERS)
    assert all(name.startswith("simulated ") for name in rows["reader"])
    files = [path for path in (tiny_phantom / "dicom").rglob("*") if path.is_file()]
    studies = {str(pydicom.dcmread(path, stop_before_pixels=True).StudyInstanceUID) for path in files}
    assert set(rows["case"]) == studies


def test_simulated_readers_are_as_good_as_they_are_said_to_be(tiny_params: Callable[..., Params]) -> None:
    plan = plan_cohort(tiny_params())[0]
    plans = [replace(plan, number=n, kinds=("subdural",) * (n % 2)) for n in range(4000)]
    rows = pd.read_csv(io.StringIO(readers_csv(plans)))
    for name, sensitivity, specificity in READERS:
        decided = rows.loc[rows["reader"] == name, "decision"].to_numpy()
        assert decided[1::2].mean() == pytest.approx(sensitivity, abs=0.03)
        assert 1 - decided[::2].mean() == pytest.approx(specificity, abs=0.03)


def eroded(mask: np.ndarray) -> np.ndarray:
    inner = mask.copy()
    inner[1:] &= mask[:-1]
    inner[:-1] &= mask[1:]
    inner[:, 1:] &= mask[:, :-1]
    inner[:, :-1] &= mask[:, 1:]
    return inner


Solitary = Callable[[str, float], list[Patient]]


@pytest.fixture(scope="module")
def solitary(tiny_params) -> Solitary:
    """Three patients with one kind of lesion alone, drawn fine; the second argument is the faint fraction."""

    @cache
    def drawn(kind: str, faint: float) -> list[Patient]:
        plans = [p for p in plan_cohort(tiny_params(patients=60)) if p.kinds == (kind,)][:3]
        return [drawn_patient(replace(p, faint_fraction=faint, size=256, slices=12)) for p in plans]

    return drawn


@pytest.mark.parametrize("kind", KINDS)
def test_blood_is_dense_at_its_core_and_spans_adjacent_slices(kind: str, solitary: Solitary) -> None:
    for patient in solitary(kind, 0.0):
        seen = [i for i, s in enumerate(patient.slices) if kind in s.masks]
        assert seen
        core = []
        for i in seen:
            inner = eroded(patient.slices[i].masks[kind])
            core.extend(patient.slices[i].hu[inner].tolist())
        if len(core) > 30:
            assert 50 <= np.median(core) <= 82
        if kind != "subarachnoid":
            assert len(seen) - 1 <= max(seen) - min(seen) <= len(seen) + 1


@pytest.mark.parametrize("kind", ["epidural", "subdural"])
def test_extra_axial_blood_lies_on_the_inner_table(kind: str, solitary: Solitary) -> None:
    for patient in solitary(kind, 0.0):
        for drawn in patient.slices:
            if kind in drawn.masks:
                mask = drawn.masks[kind]
                near = np.zeros_like(mask)
                for dy in range(-4, 5):
                    for dx in range(-4, 5):
                        near |= np.roll(mask, (dy, dx), (0, 1))
                assert (drawn.hu[near] > 700).any()


def test_faint_lesions_hold_less_blood(solitary: Solitary) -> None:
    def volume(patients: list[Patient]) -> int:
        return sum(int(m.sum()) for p in patients for s in p.slices for m in s.masks.values())

    obvious = sum(volume(solitary(kind, 0.0)) for kind in KINDS)
    faint = sum(volume(solitary(kind, 1.0)) for kind in KINDS)
    assert 0 < faint < 0.5 * obvious


def test_plan_holds_the_fractions_and_every_kind(tiny_params) -> None:
    params = tiny_params(patients=800)
    plans = plan_cohort(params)
    positive = [p for p in plans if p.kinds]
    assert len(positive) == round(800 * params.phantom.positive_fraction)
    for kind in SUBTYPES:
        assert 0.2 < sum(kind in p.kinds for p in positive) / len(positive) < 0.45
    days = [p.day for p in plans]
    assert len(set(days)) == 800
    assert min(days) == params.phantom.first_date
    assert days != sorted(days)


def test_head_is_covered_whatever_the_number_of_slices() -> None:
    for slices in (4, 10, 24, 64):
        assert 80 <= slice_spacing(slices) * (slices - 1) <= 125


def test_unknown_subtype_is_one_sentence(tiny_params) -> None:
    params = tiny_params()
    labels = params.labels.model_copy(update={"subtypes": ("fracture",)})
    with pytest.raises(InputError, match=r"'fracture'.*ich cohort folder"):
        plan_cohort(params.model_copy(update={"labels": labels}))
