"""Real exports, where they are at hand: tilted gantry, a whole scanner disc, a labelled cohort, odd syntaxes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import SimpleITK

from ich_pipeline.dicom.case import load_case
from ich_pipeline.dicom.decode import read_hu
from ich_pipeline.dicom.scan import scan


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


def test_a_whole_scanner_disc(real_data, params):
    root = real_data / "dicom_pacs" / "philips_export"
    found = scan(root, params)
    assert [len(study) for study in found.studies] == [2]
    counts: dict[str, int] = {}
    for reason, _ in found.verdicts.values():
        counts[reason] = counts.get(reason, 0) + 1
    assert counts == {"media_directory": 7, "secondary": 6, "localizer": 1, "bone_kernel": 140}


def test_every_slice_of_a_labelled_cohort_is_a_candidate(real_data, params):
    found = scan(real_data / "ctich_dicom", params)
    candidates = [h for study in found.studies for group in study for h in group.headers]
    assert (len(found.studies), len(candidates)) == (41, 1203)
    assert sorted(reason for reason, _ in found.verdicts.values()) == ["not_dicom"] * 3


@pytest.mark.parametrize("name", ["CT2_J2KR", "CT2_JLSL", "CT2_JPLL", "CT2_RLE"])
def test_lossless_syntaxes_of_one_slice_are_equal(real_data, name):
    odd: Path = real_data / "dicom_odd"
    expected = read_hu(odd / "CT2_UNC.dcm")
    np.testing.assert_array_equal(read_hu(odd / f"{name}.dcm"), expected)
    np.testing.assert_array_equal(expected, SimpleITK.GetArrayFromImage(SimpleITK.ReadImage(odd / "CT2_UNC.dcm"))[0])
