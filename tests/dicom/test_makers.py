"""One spelling a maker, and no free text of a header."""

from __future__ import annotations

import pytest

from ich_pipeline.dicom.makers import OTHER, maker
from ich_pipeline.phantom.scanners import SCANNERS


@pytest.mark.parametrize(
    ("written", "name"),
    [
        ("SIEMENS", "Siemens"), ("Siemens Healthineers", "Siemens"), ("GE MEDICAL SYSTEMS", "GE"), ("Philips Medical Systems", "Philips"),
        ("TOSHIBA", "Canon (Toshiba)"), ("Canon Medical Systems", "Canon (Toshiba)"), ("NMS", "Neusoft"), ("UIH", "United Imaging"),
        ("Hitachi Medical Corporation", "Fujifilm (Hitachi)"), ("NeuroLogica", "Samsung NeuroLogica"), ("  ", ""),
        ("SIEMENS for Jane Doe", "Siemens"), ("Geoffrey Doe", OTHER), ("Jane Doe", OTHER),
    ],
)  # fmt: skip
def test_known_makers_in_one_spelling(written: str, name: str) -> None:
    assert maker(written) == name


def test_the_synthetic_scanners_are_told_apart() -> None:
    assert len({maker(scanner.manufacturer) for scanner in SCANNERS} - {OTHER}) == len(SCANNERS)
