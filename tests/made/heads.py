"""Small heads and necks in known Hounsfield units, as slices for the tests of which scan is read."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ich_pipeline.dicom.header import Header

SIZE, PIXEL = 64, 3.5
CORNER = -(SIZE - 1) / 2 * PIXEL
_Y, _X = (np.mgrid[:SIZE, :SIZE] - (SIZE - 1) / 2) * PIXEL


def head(seed: int = 0, brain: float = 34, shift: float = 0.0) -> NDArray[np.int16]:
    """Scalp, closed skull, brain with noise."""
    radius = np.hypot((_X - shift) / 74, _Y / 92)
    hu = np.select([radius < 0.84, radius < 0.95, radius < 1], [brain, 1000.0, 40.0], -1000.0)
    return (hu + np.random.default_rng(seed).normal(0, 4, hu.shape)).round().astype(np.int16)


def neck(seed: int = 0) -> NDArray[np.int16]:
    """Fat, muscle, spine, airway."""
    hu = np.full(_X.shape, -1000.0)
    for wide, deep, y, value in ((68, 60, 0, -90), (60, 52, 0, 55), (18, 16, 18, 420), (10, 9, -22, -1000)):
        hu[np.hypot(_X / wide, (_Y - y) / deep) < 1] = value
    return (hu + np.random.default_rng([9, seed]).normal(0, 6, hu.shape)).round().astype(np.int16)


def place(z: float) -> dict[str, Any]:
    """Fields of a slice at ``z`` mm."""
    return {"position": (CORNER, CORNER, z), "PixelSpacing": [PIXEL, PIXEL], "FrameOfReferenceUID": "2.25.4"}


def header(z: float, name: str = "", **fields: Any) -> Header:
    """What the ingest knows of one slice of a head, without a file."""
    known: dict[str, Any] = {
        "sop_class_uid": "1.2.840.10008.5.1.4.1.1.2",
        "series_uid": "2.25.1",
        "study_uid": "2.25.2",
        "patient_id": "P1",
        "kernel": "H31s",
        "frame_of_reference": "2.25.4",
        "thickness_mm": 5.0,
        "rows": 512,
        "columns": 512,
        "spacing_mm": (0.48828, 0.48828),
        "orientation": (1.0, 0.0, 0.0, 0.0, 1.0, 0.0),
        "position": (-125.0, -125.0, z),
    }
    name = name or f"{fields.get('series_uid', '')}/{fields.get('acquisition_number', '')}/{z:.3f}"
    known["sop_instance_uid"] = name
    return Header(name, Path(name), **known | fields)
