"""A tiny phantom cohort, made once for the tests of this package; small exports of real CT headers."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import pydicom
import pytest
from pydicom.data import get_testdata_file

from ich_pipeline.config import Params, load_params
from ich_pipeline.phantom import create_phantom

PROFILE = Path(__file__).parents[2] / "ich_pipeline" / "profiles" / "phantom.yaml"


def _tiny_params(**changes: object) -> Params:
    params = load_params(PROFILE)
    phantom = params.phantom.model_copy(
        update={
            "patients": 12,
            "slices": 6,
            "size": 96,
            "positive_fraction": 0.5,
            "second_series_fraction": 0.25,
            **changes,
        }
    )
    return params.model_copy(update={"phantom": phantom})


def _tree_sha256(folder: Path) -> str:
    digest = hashlib.sha256()
    for path in sorted(p for p in folder.rglob("*") if p.is_file()):
        digest.update(path.relative_to(folder).as_posix().encode() + b"\0")
        digest.update(hashlib.sha256(path.read_bytes()).digest())
    return digest.hexdigest()


@pytest.fixture(scope="session")
def tiny_params() -> Callable[..., Params]:
    """The phantom profile with a dozen patients of 96 pixels; keywords change ``params.phantom``."""
    return _tiny_params


@pytest.fixture(scope="session")
def tree_sha256() -> Callable[[Path], str]:
    """One hash over names and bytes of all files below a folder."""
    return _tree_sha256


@pytest.fixture(scope="session")
def tiny_phantom(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """``data/`` of the tiny cohort, made by one process."""
    target = tmp_path_factory.mktemp("phantom") / "data"
    create_phantom(_tiny_params(), target, workers=1)
    return target


def _write_export(root: Path, slices: Sequence[Mapping[str, object]]) -> Path:
    """pydicom's own CT sample under other identifiers, one file an entry; every entry gives DICOM keywords and values."""
    ds = pydicom.dcmread(str(get_testdata_file("CT_small.dcm", download=False)))
    del ds.ContrastBolusAgent
    for number, keywords in enumerate(slices):
        for keyword, value in {"StudyInstanceUID": "2.25.1", "SeriesInstanceUID": "2.25.2", **keywords}.items():
            setattr(ds, keyword, value)
        folder = root / f"disc {number % 2}" / "IMAGES"
        folder.mkdir(parents=True, exist_ok=True)
        ds.save_as(folder / f"IM{number}")
    return root


@pytest.fixture(scope="session")
def write_export() -> Callable[[Path, Sequence[Mapping[str, object]]], Path]:
    """Writes a folder of CT slices (128 × 128) with the identifiers that a test wants."""
    return _write_export


@pytest.fixture(scope="session")
def params() -> Params:
    """The phantom profile."""
    return load_params(PROFILE)
