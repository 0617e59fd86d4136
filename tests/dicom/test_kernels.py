"""Kernel names as scanners write them."""

from __future__ import annotations

import pytest

from ich_pipeline.dicom.kernels import sharpness


@pytest.mark.parametrize(
    "kernel", ["H31s", "Hr40f\\3", "J30s", "B30f", "STANDARD", "SOFT", "STD+", "FC21", "FC68", "UB", "UA", "B", "stnd"]
)
def test_soft(kernel):
    assert sharpness(kernel) == "soft"


@pytest.mark.parametrize(
    "kernel", ["H60s", "H70h", "Hr68h\\3", "B70f", "BONE", "BONEPLUS", "EDGE", "LUNG", "FC30", "FC81", "YA", "D"]
)
def test_bone(kernel):
    assert sharpness(kernel) == "bone"


def test_the_description_counts_only_where_the_kernel_is_empty():
    assert sharpness("", "HEAD BONE 1MM") == "bone"
    assert sharpness("H31s", "after bone window") == "soft"
    assert sharpness("11", "BONE") == "unknown"
    assert sharpness("", "") == "unknown"
