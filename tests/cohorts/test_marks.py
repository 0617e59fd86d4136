"""Masks and boxes on their way into a cohort; NIfTI against SimpleITK."""

from __future__ import annotations

import gzip
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from typer.testing import CliRunner

from ich_pipeline.cli import main as cli
from ich_pipeline.cohorts.marks import STANDARD
from ich_pipeline.cohorts.nifti import read_nifti
from ich_pipeline.tables.label_tables import STUDY, UID
from ich_pipeline.tables.masks import Box, read_masks

WriteExport = Callable[[Path, Sequence[Mapping[str, object]]], Path]
HEADER = "PatientNumber,SliceNumber,Intraventricular,Intraparenchymal,Subarachnoid,Epidural,Subdural,No_Hemorrhage"
SIDE = 128  # of the images


def ich(*arguments: str | Path) -> tuple[int, str, str]:
    done = CliRunner().invoke(cli.app, [str(a) for a in arguments], env={"COLUMNS": "240"})
    return done.exit_code, done.stdout, done.stderr


def _write(path: Path, voxels: np.ndarray, code: str) -> None:
    """Voxels (slices, rows, columns) of an axial head in the standard view, stored along the axes of a code such as RAS."""
    image = sitk.GetImageFromArray(voxels)  # its directions are those of DICOM's coordinates: LPS
    image.SetSpacing((0.5, 0.5, 5.0))
    sitk.WriteImage(sitk.DICOMOrient(image, code), str(path))


@pytest.mark.parametrize("code", ["LPS", "RAS", "LAS", "RPS", "PLS", "ARS"])
@pytest.mark.parametrize("kind", ["nii", "nii.gz"])
def test_a_volume_is_seen_as_its_images_are(tmp_path, code, kind):
    voxels = np.random.default_rng(3).integers(0, 200, (3, 4, 6)).astype(np.uint8)
    path = tmp_path / f"049.{kind}"
    _write(path, voxels, code)
    found = read_nifti(path)
    for k in range(3):
        np.testing.assert_array_equal(found.picture(k, STANDARD), voxels[k])
        # A head that lies on its face: both axes of the image point the other way.
        np.testing.assert_array_equal(found.picture(k, (-1, 0, 0, 0, -1, 0)), voxels[k, ::-1, ::-1])
        # A tilted gantry.
        np.testing.assert_array_equal(found.picture(k, (1, 0, 0, 0, 0.94, -0.34)), voxels[k])
    with pytest.raises(ValueError, match="3 slices, not 4"):
        found.picture(3, STANDARD)
    with pytest.raises(ValueError, match="from slice to slice"):
        found.picture(0, (0, 1, 0, 0, 0, -1))


@given(st.binary(max_size=60), st.integers(0, 400), st.booleans())
@settings(max_examples=60, deadline=None)
def test_broken_volumes_are_refused(tmp_path_factory, junk, at, packed):
    path = tmp_path_factory.getbasetemp() / "broken.nii"
    _write(path, np.zeros((2, 3, 4), np.uint8), "LPS")
    content = bytearray(path.read_bytes())
    content[at : at + len(junk)] = junk
    path.write_bytes(gzip.compress(bytes(content[:400]))[:-4] if packed else bytes(content))
    try:
        assert read_nifti(path).voxels.ndim == 3
    except ValueError as error:
        assert str(error)


def _ctich(tmp_path: Path, write_export: WriteExport) -> tuple[Path, Path]:
    """Four slices of patient 50: none, epidural, epidural and subdural, none."""
    rows = [{UID: f"2.25.{n}", "PatientID": "CTICH-050", "InstanceNumber": n} for n in (1, 2, 3, 4)]
    kinds = {1: "0,0,0,0,0,1", 2: "0,0,0,1,0,0", 3: "0,0,0,1,1,0", 4: "0,0,0,0,0,1"}
    table = tmp_path / "hemorrhage_diagnosis.csv"
    table.write_text("\n".join([HEADER, *(f"50,{n},{kinds[n]}" for n in kinds)]) + "\n")
    return write_export(tmp_path / "export", rows), table


@pytest.mark.parametrize("form", ["nifti", "jpeg"])
def test_masks_of_ctich(project: Path, tmp_path: Path, write_export: WriteExport, form: str) -> None:
    source, table = _ctich(tmp_path, write_export)
    masks = np.zeros((4, SIDE, SIDE), np.uint8)
    masks[1, 20:40, 60:90] = masks[2, 50:60, 10:30] = 255
    masks[3, 0:4, 0:4] = 255  # where the labels see nothing
    folder = tmp_path / "masks"
    if form == "nifti":
        folder.mkdir()
        _write(folder / "050.nii", masks, "RAS")
    else:
        brain = folder / "Patients_CT" / "050" / "brain"
        brain.mkdir(parents=True)
        for n in (2, 3, 4):  # at another size, as the data set has them
            Image.fromarray(masks[n - 1].repeat(2, 0).repeat(2, 1)).save(brain / f"{n}_HGE_Seg.jpg", quality=95)
    status, out, err = ich("cohort", "physionet-ctich", source, "--labels", table, "--masks", folder)
    assert status == 0, err
    assert "Masks of 2 of the 2 positive slices." in out and "1 mask or box of what the labels do not name" in out
    found = read_masks(Path("data/masks.csv"))
    assert {uid: list(of) for uid, of in found.items()} == {"2.25.2": ["epidural"], "2.25.3": ["any"]}
    np.testing.assert_array_equal(found["2.25.2"]["epidural"], masks[1] > 0)
    np.testing.assert_array_equal(found["2.25.3"]["any"], masks[2] > 0)
    assert not found.boxes


def test_masks_that_do_not_fit_are_a_fault(project: Path, tmp_path: Path, write_export: WriteExport) -> None:
    source, table = _ctich(tmp_path, write_export)
    folder = tmp_path / "masks"
    folder.mkdir()
    status, _, err = ich("cohort", "physionet-ctich", source, "--labels", table, "--masks", folder)
    assert status == 2 and "holds no mask of CT-ICH" in err
    _write(folder / "050.nii", np.ones((2, SIDE, SIDE // 2), np.uint8), "LPS")
    status, _, err = ich("cohort", "physionet-ctich", source, "--labels", table, "--masks", folder)
    assert status == 2 and "4 masks that cannot be read or do not fit their images" in err and err.count("\n") == 1
    assert not Path("data").exists()
    status, out, _ = ich("cohort", "physionet-ctich", source, "--labels", table, "--masks", folder, "--lenient")
    assert status == 0 and "Masks of 0 of the 2 positive slices." in out


def test_boxes_of_bhx(project: Path, tmp_path: Path, write_export: WriteExport) -> None:
    source = write_export(tmp_path / "export", [{UID: f"2.25.{n}"} for n in (1, 2, 3)])
    labels = tmp_path / "labels.csv"
    labels.write_text(
        f"{UID},epidural,intraparenchymal,intraventricular,subarachnoid,subdural\n"
        "2.25.1,0,0,0,0,0\n2.25.2,0,1,0,0,1\n2.25.3,0,0,0,1,0\n"
    )
    boxes = tmp_path / "1_Initial_Manual_Labeling.csv"
    head = f",{UID},SeriesInstanceUID,{STUDY},data,labelName,labelType\n"  # its first column has no name

    def row(n: int, uid: str, data: str, name: str) -> str:
        return f'{n},{uid},2.25.8,2.25.9,"{data}",{name},LABEL\n'

    one = "{'x': 10.5, 'y': 20, 'width': 30, 'height': 8.25}"
    good = [
        row(0, "2.25.2", one, "Intraparenchymal"),
        row(1, "2.25.2", one, "Intraparenchymal"),  # the same again
        row(2, "2.25.2", one.replace("'", '""').replace("10.5", "-4"), "Chronic"),
        row(3, "2.25.2", one.replace("10.5", "90"), "Chronic"),
        row(4, "2.25.1", one, "Epidural"),  # the labels see none
        row(5, "2.25.77", one, "Epidural"),  # of another series
    ]
    boxes.write_text(head + "".join(good))
    status, out, err = ich("cohort", "folder", source, "--labels", labels, "--boxes", boxes)
    assert status == 0, err
    assert "Boxes of 1 of the 2 positive slices." in out
    assert "1 study of which images with boxes" in out and "1 mask or box of what the labels do not name" in out
    found = read_masks(Path("data/masks.csv"))
    assert len(found) == 0 and list(found.boxes) == ["2.25.2"]
    assert found.boxes["2.25.2"]["intraparenchymal"].boxes == (Box(10.5, 20, 30, 8.25),)
    # What leaves the picture is cut off.
    assert found.boxes["2.25.2"]["subdural"].boxes == (Box(0, 20, 26, 8.25), Box(90, 20, 30, 8.25))
    bad = [
        "{'x': 1}",
        "polygon",
        one.replace("10.5", "500"),
        "[" * 300,
        "{'x': 1e999, 'y': 0, 'width': 1, 'height': 1}",
    ]
    rows = [row(9, "2.25.3", data, "Subarachnoid") for data in bad]
    boxes.write_text(head + "".join([*good, *rows, row(9, "2.25.3", one, "Tumour")]))
    before = Path("data/masks.csv").read_bytes()
    status, _, err = ich("cohort", "folder", source, "--labels", labels, "--boxes", boxes, "--replace")
    assert status == 2 and err.count("\n") == 1
    assert "5 boxes without a place in their images" in err and "1 row with an unknown label" in err
    assert Path("data/masks.csv").read_bytes() == before
    status, _, err = ich("cohort", "folder", source, "--labels", labels, "--boxes", boxes, "--replace", "--lenient")
    assert status == 0, err
    assert Path("data/masks.csv").read_bytes() == before
    boxes.write_text("a,b\n1,2\n")
    status, _, err = ich("cohort", "folder", source, "--labels", labels, "--boxes", boxes, "--replace")
    assert status == 2 and "has no column, or more than one, of the name SOPInstanceUID, data, labelName" in err
    status, _, err = ich("cohort", "folder", source, "--labels", labels, "--boxes", tmp_path / "none.csv", "--replace")
    assert status == 2 and err.count("\n") == 1 and "none.csv is missing" in err
    cases = tmp_path / "cases.csv"
    cases.write_text(f"{STUDY},epidural,intraparenchymal,intraventricular,subarachnoid,subdural\n2.25.8,0,0,0,0,1\n")
    status, _, err = ich("cohort", "folder", source, "--labels", cases, "--boxes", boxes, "--replace")
    assert status == 2 and "masks and boxes are of slices" in err
    assert Path("data/masks.csv").read_bytes() == before
