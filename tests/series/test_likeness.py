"""The fingerprint of a head: the same however it is stored, another for another head."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from ich_pipeline.dicom.header import Header
from ich_pipeline.quality.twins import distances, persons, twin_cautions, twin_pairs
from ich_pipeline.series.likeness import CELLS, LEVELS, UNSEEN, fingerprint

EXTENT_MM = 224.0


def head(
    size: int, z: NDArray[np.float64], x_mm: float = 0.0, wide: float = 70.0, high: float = 90.0
) -> NDArray[np.float64]:
    """HU of an ellipsoid head of ``size`` × ``size`` pixels over 224 mm at the heights ``z``."""
    a = (np.arange(size) + 0.5) / size * EXTENT_MM - EXTENT_MM / 2
    y, x = np.meshgrid(a, a - x_mm, indexing="ij")
    rho = np.sqrt((x / wide) ** 2 + (y / high) ** 2 + (z[:, None, None] / 110) ** 2)
    return np.select([rho < 0.86, rho < 0.94, rho < 1], [34.0, 1000.0, 40.0], -1000.0)


def print_of(hu: NDArray[np.float64], z: NDArray[np.float64], corner_mm: float = 0.0) -> NDArray[np.int16]:
    size = hu.shape[1]
    spacing = (EXTENT_MM - 2 * corner_mm) / size
    first = -EXTENT_MM / 2 + corner_mm + spacing / 2
    header = Header(
        "x", Path("x"), position=(first, first, 0.0), orientation=(1.0, 0.0, 0.0, 0.0, 1.0, 0.0),
        spacing_mm=(spacing, spacing), rows=size, columns=size,
    )  # fmt: skip
    return fingerprint(np.rint(hu).astype(np.int16), [header] * len(z), z, (spacing, spacing))


def apart(a: NDArray[np.int16], b: NDArray[np.int16]) -> float:
    [(_, _, found)] = distances(np.stack([a, b]).astype(float), 9.0)
    return found


Z = np.arange(-60.0, 60.0, 5.0)


@settings(max_examples=15, deadline=None)
@given(
    noise=st.floats(0, 30), offset=st.integers(-5, 5), first=st.integers(0, 6), last=st.integers(0, 6),
    every=st.sampled_from([1, 2]), size=st.sampled_from([96, 128, 160]), z_mm=st.sampled_from([0, 500, -1310]),
)  # fmt: skip
def test_a_copy_of_a_scan_is_known_again(
    noise: float, offset: int, first: int, last: int, every: int, size: int, z_mm: int
) -> None:
    """Noise, another rescale, fewer slices, another matrix, and wherever the table stood."""
    z = Z + z_mm
    copy = slice(first, len(z) - last, every)
    other = head(size, Z[copy]) + offset + np.random.default_rng(1).normal(0, noise, (len(Z[copy]), size, size))
    assert apart(print_of(head(128, Z), z), print_of(other, z[copy])) < 0.03
    assert apart(print_of(head(128, Z), z), print_of(head(128, Z[copy]) + offset, z[copy])) < 0.02


@pytest.mark.parametrize("other", [{"x_mm": 3.0}, {"wide": 74.0}, {"high": 86.0}])
def test_another_head_is_another(other: dict[str, float]) -> None:
    assert apart(print_of(head(128, Z), Z), print_of(head(128, Z, **other), Z)) > 0.04


def test_a_crop_of_air_changes_nothing() -> None:
    hu = head(224, Z)
    assert apart(print_of(hu, Z), print_of(hu[:, 10:-10, 10:-10], Z, corner_mm=10.0)) < 0.001


def test_the_axes_of_the_file_do_not_count() -> None:
    """A picture that is stored from left to right and upside down lies where its corners lie."""
    hu = np.rint(head(128, Z, 9.0)).astype(np.int16)
    spacing = EXTENT_MM / 128
    low, high = -EXTENT_MM / 2 + spacing / 2, EXTENT_MM / 2 - spacing / 2
    places = [
        Header(
            "x",
            Path("x"),
            position=(at, at, 0.0),
            orientation=along,
            spacing_mm=(spacing, spacing),
            rows=128,
            columns=128,
        )
        for at, along in (
            (low, (1.0, 0, 0, 0, 1.0, 0)),
            (high, (-1.0, 0, 0, 0, -1.0, 0)),
            (low, (0, 1.0, 0, 1.0, 0, 0)),
        )
    ]
    prints = [fingerprint(hu, [place] * len(Z), Z, (spacing, spacing)) for place in places]
    assert all(np.array_equal(prints[0], one) for one in prints)


def test_planes_without_a_slice_are_unseen() -> None:
    planes = print_of(head(64, Z[:8]), Z[:8]).reshape(LEVELS, CELLS, CELLS)  # −60 to −25 mm
    seen = {(level - LEVELS if level > 11 else level) for level in range(LEVELS) if planes[level, 0, 0] != UNSEEN}
    assert seen == {-6, -5, -4, -3}
    assert list(distances(np.stack([planes.ravel()] * 2).astype(float))) == []  # four planes tell too little


def table(prints: list[NDArray[np.int16]], patients: list[str]) -> pd.DataFrame:
    cases = [f"C{i}" for i in range(len(prints))]
    return pd.DataFrame({"fingerprint": prints, "patient_key": patients, "case_id": cases})


def test_patients_of_one_head_are_one_person_and_nobody_else_is() -> None:
    rng = np.random.default_rng(0)
    heads = [head(96, Z, wide=60.0 + 5 * i) for i in range(4)]
    copies = [hu + rng.normal(0, 8, hu.shape) for hu in heads]
    prints = [print_of(hu, Z) for hu in [*heads, copies[2], copies[0], copies[0]]]
    rows = table([*prints, np.array([], np.int16)], ["A", "B", "C", "D", "E", "F", "A", "G"])
    assert sorted(twin_pairs(rows)) == [(0, 5), (2, 4), (5, 6)]  # rows 0 and 6 are one patient's
    assert persons(rows) == {"A": "A", "B": "B", "C": "C", "D": "D", "E": "C", "F": "A", "G": "G"}
    [said] = twin_cautions(rows)
    assert said.startswith("One head stands under two patients (3 pairs: C0 and C5; C2 and C4; C5 and C6): ")
    assert twin_cautions(rows.iloc[:4]) == []


def test_the_blocks_of_a_large_cohort_miss_no_pair() -> None:
    rng = np.random.default_rng(3)
    prints = rng.integers(0, 600, (600, LEVELS * CELLS * CELLS)).astype(np.int16)
    for a, b in ((3, 599), (255, 256), (300, 301)):
        prints[b] = prints[a]
    rows = table(list(prints), [f"P{i}" for i in range(600)])
    assert twin_pairs(rows) == [(3, 599), (255, 256), (300, 301)]
