"""Real exports, where they are at hand: tilted gantry, a whole scanner disc, a labelled cohort, odd syntaxes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pydicom
import pytest
import SimpleITK

from ich_pipeline.dicom.decode import read_hu
from ich_pipeline.ingest.scan import scan
from ich_pipeline.series.study import read_study
from ich_pipeline.serving.load_case import load_case


@pytest.fixture
def params(ingest_params):
    return ingest_params.model_copy(update={"workers": 2, "minimum_slices": 4})


def test_tilted_gantry_with_two_thicknesses(real_data, params):
    case = load_case([real_data / "dicom_pacs" / "ge_tilt"], params)
    assert case.hu.shape == (28, 512, 512)
    assert case.series["tilt_deg"] == pytest.approx(18.5, abs=0.01)
    steps = np.diff(case.positions_mm)
    np.testing.assert_allclose(steps, [4.0] * 13 + [1.08] + [7.0] * 13, atol=0.01)
    assert case.series["gaps"] == 0
    assert case.hu.min() == -1024  # the padding of −1500 around the field of view


def test_the_tilted_head_is_sheared_back_and_keeps_its_two_spacings(real_data, params):
    folder = real_data / "dicom_pacs" / "ge_tilt"
    as_is = load_case([folder], params)
    straight = load_case([folder], params.model_copy(update={"correct_tilt": True}))
    assert as_is.series["steps"] == "13 × 4.00, 1 × 1.08, 13 × 7.00 mm"
    assert as_is.series["uneven_steps"] and not as_is.series["contrast_suspected"]
    np.testing.assert_array_equal(straight.positions_mm, as_is.positions_mm)
    # The table moves along z alone; seen in the plane, that is sin(tilt) of its travel.
    travel = np.diff(as_is.positions_mm) / np.cos(np.deg2rad(18.5))
    expected = np.abs(travel * np.sin(np.deg2rad(18.5)) / as_is.series["row_spacing_mm"])
    np.testing.assert_allclose(np.abs(np.diff(straight.shifts_px[:, 0])), expected, rtol=0.01)
    assert not straight.shifts_px[:, 1].any()
    # The middle slice's grid, lifted along the normal: the same by an independent resampler.
    files = {ds.SOPInstanceUID: path for path in folder.iterdir() if (ds := pydicom.dcmread(path, force=True))}
    middle = SimpleITK.ReadImage(files[straight.SOPInstanceUIDs[14]])
    normal = np.reshape(middle.GetDirection(), (3, 3))[:, 2]
    normal = normal * np.sign(normal[2])
    for i in (0, 7, 20, 27):
        image = SimpleITK.ReadImage(files[straight.SOPInstanceUIDs[i]])
        lifted = np.array(middle.GetOrigin()) + (straight.positions_mm[i] - straight.positions_mm[14]) * normal
        grid = SimpleITK.Image(middle.GetSize(), SimpleITK.sitkFloat32)
        grid.SetSpacing(middle.GetSpacing())
        grid.SetDirection(middle.GetDirection())
        grid.SetOrigin(lifted.tolist())
        floats = SimpleITK.Clamp(
            SimpleITK.Cast(image, SimpleITK.sitkFloat32), SimpleITK.sitkFloat32, -1024, 4000
        )  # padding is air
        expected = SimpleITK.GetArrayFromImage(
            SimpleITK.Resample(floats, grid, SimpleITK.Transform(), SimpleITK.sitkLinear, -1500.0)
        )[0]
        body = expected > -500
        assert body.sum() > 10_000
        np.testing.assert_allclose(straight.hu[i][body], expected[body], atol=1)


def test_a_whole_scanner_disc(real_data, params):
    root = real_data / "dicom_pacs" / "philips_export"
    found = scan(root, params)
    assert [len(study) for study in found.studies] == [2]
    counts: dict[str, int] = {}
    for reason, _ in found.verdicts.values():
        counts[reason] = counts.get(reason, 0) + 1
    assert counts == {"media_directory": 7, "secondary": 6, "localizer": 1, "bone_kernel": 140}
    [study] = found.studies
    assert read_study(study, params).volume is None  # a plastic head: no soft tissue
    plausible = params.pixels.plausible.model_copy(update={"minimum_soft_tissue": 0.05})
    params = params.model_copy(update={"pixels": params.pixels.model_copy(update={"plausible": plausible})})
    reading = read_study(study, params)
    chosen = study[reading.chosen].first
    assert (chosen.thickness_mm, reading.volume.hu.shape if reading.volume else None) == (5.0, (28, 512, 512))
    behind = next(why for why, place in zip(reading.group_reasons, reading.places, strict=True) if place == 2)
    assert behind[1] == "is 1 mm thick, the chosen series 5 mm, 5 mm is preferred"
    thin = read_study(study, params.model_copy(update={"preferred_thickness_mm": 1.0}))
    assert study[thin.chosen].first.thickness_mm == 1.0


def test_every_slice_of_a_labelled_cohort_is_a_candidate(real_data, params):
    found = scan(real_data / "ctich_dicom", params)
    candidates = [h for study in found.studies for group in study for h in group.headers]
    assert (len(found.studies), len(candidates)) == (41, 1203)
    assert sorted(reason for reason, _ in found.verdicts.values()) == ["not_dicom"] * 3


@pytest.mark.parametrize("patient", ["050", "062", "080", "094", "130"])
def test_real_unenhanced_heads_are_not_suspected_of_contrast(real_data, params, patient):
    """The five whose other measures come nearest; 094 has no closed skull, so it gives no evidence at all."""
    case = load_case([real_data / "ctich_dicom" / "dicom" / patient], params)
    assert not case.series["contrast_suspected"]
    assert np.isnan(case.series["bright_share"]) == (patient == "094")
    assert (case.turn.code, case.series["tilt_corrected"]) == ("as_stored", False)


@pytest.mark.parametrize("name", ["CT2_J2KR", "CT2_JLSL", "CT2_JPLL", "CT2_RLE"])
def test_lossless_syntaxes_of_one_slice_are_equal(real_data, name):
    odd: Path = real_data / "dicom_odd"
    expected = read_hu(odd / "CT2_UNC.dcm")
    np.testing.assert_array_equal(read_hu(odd / f"{name}.dcm"), expected)
    np.testing.assert_array_equal(expected, SimpleITK.GetArrayFromImage(SimpleITK.ReadImage(odd / "CT2_UNC.dcm"))[0])
