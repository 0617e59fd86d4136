"""Every real CT file is accounted for with the right reason, and lossless pixels equal an independent decoder's."""

from __future__ import annotations

import importlib.util
import re
import sys
from collections import Counter
from pathlib import Path
from types import ModuleType

import pytest

from ich_pipeline.core.progress import quiet


@pytest.fixture(scope="module")
def accounts(project_root: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location("ingest_accounts", project_root / "benchmarks" / "ingest_accounts.py")
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # its dataclass looks itself up
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def params(ingest_params):
    return ingest_params.model_copy(update={"workers": 2, "minimum_slices": 4})


def differing(rows) -> list:
    return [row for row in rows if not re.match(r"(lossy, )?equal|no pixels", row.agreement)]


def test_pydicom(accounts, params):
    root = accounts.package_roots()["pydicom"]
    rows, others = accounts.read_source(root, params, quiet)
    assert differing(rows) == []
    files = [p for p in root.rglob("*") if p.is_file()]
    assert len(rows) + sum(others.values()) == len(files)
    assert Counter(row.reason for row in rows) == {
        "header_incomplete": 50,  # TINY_ALPHA: no geometry, no pixels
        "used": 5,
        "no_brain": 4,  # 16 x 16 pixels from outside a head
        "localizer": 2,
        "too_few_slices": 2,
        "contrast": 1,
        "not_ct": 1,  # no Modality
    }


def test_pydicom_data(accounts, params):
    rows, others = accounts.read_source(accounts.package_roots()["pydicom-data"], params, quiet)
    assert differing(rows) == []
    assert {row.path: row.reason for row in rows} == {
        "693_J2KR.dcm": "too_few_slices",
        "693_UNCI.dcm": "too_few_slices",
        "693_UNCR.dcm": "too_few_slices",
        "bad_sequence.dcm": "too_few_slices",
        "eCT_Supplemental.dcm": "reformatted",
        "explicit_VR-UN.dcm": "too_few_slices",
    }
    assert set(others) == {"not_ct", "secondary"}


def test_odd_files(accounts, params, real_data):
    rows, others = accounts.read_source(real_data / "dicom_odd", params, quiet)
    assert differing(rows) == [] and not others
    repaired = [row.path for row in rows if "not repaired" in row.agreement]
    assert repaired == ["TOSHIBA_J2K_SIZ1_PixRep0.dcm"]


@pytest.mark.long
@pytest.mark.parametrize("folder", ["ctich_dicom", "dicom_pacs/ge_tilt", "dicom_pacs/philips_export"])
def test_whole_exports(accounts, params, real_data, folder):
    rows, others = accounts.read_source(real_data / folder, params, quiet)
    assert differing(rows) == []
    assert all(row.agreement.startswith("equal") for row in rows)
    if "philips" not in folder:  # which is a plastic head
        assert {row.reason for row in rows} == {"used"}
    files = [p for p in (real_data / folder).rglob("*") if p.is_file()]
    assert len(rows) + sum(others.values()) == len(files)
