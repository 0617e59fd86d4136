"""Whose is a file? What sets a whole study aside, and what does not."""

from __future__ import annotations

from pathlib import Path

import pytest

from ich_pipeline.dicom.header import Header
from ich_pipeline.dicom.reasons import Reason
from ich_pipeline.ingest.scan import scan
from ich_pipeline.series.mixed_identity import find_mixed_identity

LOCALIZER = {"ImageType": ["ORIGINAL", "PRIMARY", "LOCALIZER"], "SeriesInstanceUID": "2.25.77"}


@pytest.mark.parametrize(
    ("odd", "counts"),
    [
        ({"patient": ""}, {"used": 6, "no_patient_id": 1}),
        ({"patient": "", **LOCALIZER}, {"used": 6, "localizer": 1}),
        ({"patient": "Q1", **LOCALIZER}, {"used": 6, "localizer": 1}),
        ({"patient": "Q1", "ImagePositionPatient": None}, {"used": 6, "header_incomplete": 1}),
        ({"patient": "", "StudyInstanceUID": "2.25.78"}, {"used": 6, "no_patient_id": 1}),
    ],
)
def test_a_file_that_is_not_used_costs_no_other_its_place(
    tmp_path, make_slice, save_slice, save_series, ingest_params, read_in_process, odd, counts
):
    save_series(tmp_path / "a", 6)
    save_slice(make_slice(number=7, **odd), tmp_path / "a" / "odd")
    assert read_in_process(tmp_path, ingest_params).counts == counts


@pytest.mark.parametrize(
    ("odd", "detail"),
    [
        ({"patient": "p1"}, "StudyInstanceUID is shared by 2 PatientIDs: 6 files and 1 file (a/odd)"),
        ({"StudyInstanceUID": "2.25.78"}, "SeriesInstanceUID is shared by 2 StudyInstanceUIDs: 6 files and 1 file (a/odd)"),
    ],
)  # fmt: skip
def test_one_deviating_slice_sets_all_aside_and_is_named(
    tmp_path, make_slice, save_slice, save_series, ingest_params, odd, detail
):
    save_series(tmp_path / "a", 6)
    save_slice(make_slice(number=7, **odd), tmp_path / "a" / "odd")
    verdicts = scan(tmp_path, ingest_params).verdicts
    assert len(verdicts) == 7 and set(verdicts.values()) == {(Reason.MIXED_IDENTITY, detail)}


def test_what_files_are_called_decides_nothing(tmp_path, make_slice, save_slice, ingest_params):
    """Three copies, each within the tolerance of the next: the outermost is compared, whatever its name."""
    shifts = (0.0, 0.04, 0.08)
    found = set()
    for order in ((0, 1, 2), (1, 0, 2), (2, 1, 0)):
        root = tmp_path / "".join(map(str, order))
        for name, k in enumerate(order):
            copy = make_slice(number=1, ImagePositionPatient=[-80.0, -80.0, shifts[k]], SOPInstanceUID="2.25.5")
            save_slice(copy, root / f"IM{name}")
        found.add(frozenset(reason for reason, _ in scan(root, ingest_params).verdicts.values()))
    assert found == {frozenset({Reason.MIXED_IDENTITY})}


@pytest.mark.parametrize(
    "rounded",
    [
        {"ImagePositionPatient": lambda n: [-124.75586, -80.0, 5.0 * n]},
        {"ImagePositionPatient": lambda n: [-124.755859375, -80.0, 5.0 * n + 0.049]},
        {"ImageOrientationPatient": lambda n: ["1", "-0", "0", "0", "1", "-0"]},
        {"ImageOrientationPatient": lambda n: [0.9999995, 0.001, 0, 0, 1, 0]},
    ],
)
def test_a_copy_that_is_rounded_otherwise_is_a_copy(
    tmp_path, make_slice, save_slice, ingest_params, read_in_process, rounded
):
    for n in range(1, 7):
        here = {"ImagePositionPatient": [-124.755859375, -80.0, 5.0 * n]}
        save_slice(make_slice(number=n, **here), tmp_path / "a" / f"{n}")
        there = here | {keyword: value(n) for keyword, value in rounded.items()}
        save_slice(make_slice(number=n, **there), tmp_path / "b" / f"{n}")
    assert read_in_process(tmp_path, ingest_params).counts == {"used": 6, "duplicate_instance": 6}


def candidate(name: str, **fields: object) -> Header:
    known = {
        "sop_class_uid": "1.2.840.10008.5.1.4.1.1.2", "sop_instance_uid": name, "series_uid": "2", "study_uid": "1",
        "patient_id": "P1", "rows": 32, "columns": 32, "orientation": (1.0, 0.0, 0.0, 0.0, 1.0, 0.0),
        "position": (0.0, 0.0, 0.0),
    }  # fmt: skip
    return Header(name, Path(name), **known | fields)  # pyright: ignore[reportArgumentType]


@pytest.mark.parametrize(
    ("other", "what"),
    [
        ({"position": (0.0, 0.0, 5.0)}, "slices in different places"),
        ({"orientation": (1.0, 0.0, 0.0, 0.0, 0.9, 0.4)}, "slices in different places"),
        ({"rows": 64}, "pictures of different sizes"),
        ({"study_uid": "4", "series_uid": "3", "patient_id": "P2"}, "slices of different studies"),
    ],
)
def test_one_slice_uid_in_two_places(other, what):
    [first, second], more = find_mixed_identity([candidate("a", sop_instance_uid="9"), candidate("b", sop_instance_uid="9", **other)])  # fmt: skip
    assert first.reason is second.reason is Reason.MIXED_IDENTITY
    assert first.detail == second.detail == f"SOPInstanceUID is shared by {what}"
    assert more in [dict.fromkeys("ab", f"{first.detail}: 1 file and 1 file ({name})") for name in "ab"]


def test_an_empty_patient_is_no_patient_and_many_are_counted():
    alone = [candidate("a"), candidate("b", patient_id="")]
    assert find_mixed_identity(alone) == (alone, {})
    many = [candidate(f"{n:04}", patient_id=f"P{n % 1200}") for n in range(2400)]
    headers, more = find_mixed_identity(many)
    assert {header.detail for header in headers} == {"StudyInstanceUID is shared by 1,200 PatientIDs"}
    assert set(more.values()) == {
        "StudyInstanceUID is shared by 1,200 PatientIDs: 2 files, 2 files (0001, 1201), 2 files (0002, 1202), "
        "2 files (0003, 1203), …"
    }
    few = [candidate(f"{patient}{n}", patient_id=patient) for patient in "ABC" for n in range({"A": 8, "B": 1, "C": 4}[patient])]  # fmt: skip
    [detail] = set(find_mixed_identity(few)[1].values())
    assert detail.endswith("3 PatientIDs: 8 files, 4 files (C0, C1, C2, …) and 1 file (B0)")
