"""The serving entry reads what the ingest reads."""

from __future__ import annotations

import numpy as np
import pytest

from ich_pipeline.core.errors import InputError
from ich_pipeline.ingest.ingest import ingest
from ich_pipeline.ingest.volumes import read_volume
from ich_pipeline.serving.load_case import load_case


def test_bytes_paths_and_folders_give_what_the_ingest_gives(tmp_path, save_series, ingest_params):
    root = tmp_path / "dicom"
    axial = save_series(root / "axial", 6)
    bone = save_series(root / "bone", 8, series="bone", ConvolutionKernel="BONE")
    axial[3].unlink()
    paths = [*bone, *axial[:3], *axial[4:]]
    report = ingest(root, tmp_path / "out", ingest_params)
    hu = read_volume(next((tmp_path / "out" / "volumes").iterdir()))
    for sources in (paths, [p.read_bytes() for p in reversed(paths)], [root], [paths[0].read_bytes(), *paths[1:]]):
        case = load_case(sources, ingest_params)
        np.testing.assert_array_equal(case.hu, hu)
        assert list(case.SOPInstanceUIDs) == report.slices["SOPInstanceUID"].tolist()
        assert case.neighbours.tolist() == report.slices[["neighbour_before", "neighbour_after"]].to_numpy().tolist()
        assert case.positions_mm.tolist() == report.slices["position_mm"].tolist()
        assert (case.case_id, case.patient_key) == tuple(report.slices.loc[0, ["case_id", "patient_key"]])
        assert case.account["reason"].value_counts().to_dict() == {"bone_kernel": 8, "used": 5}
        assert "PatientID" not in case.series
        assert case.series["SeriesInstanceUID"] == report.slices.loc[0, "SeriesInstanceUID"]


def test_equal_names_in_two_folders_stay_apart(tmp_path, save_series, ingest_params):
    first = save_series(tmp_path / "a", 6)
    second = save_series(tmp_path / "b", 6, series="other", ConvolutionKernel="BONE")
    case = load_case([*first, *second], ingest_params)
    assert len(case.account) == 12
    assert len(case.SOPInstanceUIDs) == 6


def test_a_case_without_patient_id_is_read(tmp_path, save_series, ingest_params):
    assert len(load_case(save_series(tmp_path, 4, patient=""), ingest_params).SOPInstanceUIDs) == 4


def test_mistakes_are_one_sentence(tmp_path, save_series, ingest_params):
    with pytest.raises(InputError, match="no DICOM file"):
        load_case([], ingest_params)
    one, two = save_series(tmp_path / "a", 4), save_series(tmp_path / "b", 4, patient="P2", study="two")
    with pytest.raises(InputError, match="2 studies"):
        load_case([*one, *two], ingest_params)
    with pytest.raises(InputError, match=r"3 bone_kernel .*; 1 not_dicom"):
        load_case([*save_series(tmp_path / "c", 3, ConvolutionKernel="BONE"), b"something else"], ingest_params)
    with pytest.raises(InputError, match="1 unreadable"):
        load_case([tmp_path / "nowhere"], ingest_params)
