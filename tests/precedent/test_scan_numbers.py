"""What a scan's numbers tell, and what they do not depend on."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ich_pipeline.precedent import scan_numbers as module
from ich_pipeline.precedent.model import NAMES as ALL
from ich_pipeline.precedent.model import SMALLEST_SPREAD, WORDS
from ich_pipeline.precedent.scan_numbers import NAMES, looked_at, measure_cases, scan_numbers, slice_numbers
from tests.baselines.drawn import SIZE, head

LOW, HIGH = -20.0, 180.0


def drawn(seed: int = 0, grain: float = 3.0, stretch: float = 1.15) -> np.ndarray:
    rng = np.random.default_rng(seed)
    hu = head(stretch=stretch) + rng.normal(0, grain, (SIZE, SIZE))
    return np.clip(hu.round(), LOW, HIGH).astype(np.int16)


def told(hu: np.ndarray) -> dict[str, float]:
    return dict(zip(NAMES, slice_numbers(hu, LOW, HIGH), strict=True))


def test_each_number_moves_with_what_it_is_of() -> None:
    usual = told(drawn())
    assert usual["brain_found"] == 1 and np.isfinite(list(usual.values())).all()
    assert told(drawn(grain=9))["grain"] > usual["grain"] + 0.8
    brighter = np.clip(drawn() + 15 * (drawn() > -15) * (drawn() < 100), LOW, HIGH)
    assert told(brighter)["brain_median"] == pytest.approx(usual["brain_median"] + 15, abs=1)
    turned = told(np.rot90(drawn()))
    assert turned["tilt"] > 60 > 20 > usual["tilt"]
    rng = np.random.default_rng(2)
    streaked = drawn() + (rng.random((SIZE, SIZE)) < 0.02) * 90
    assert told(np.clip(streaked, LOW, HIGH))["thin"] > usual["thin"] + 1
    nobody = told(np.full((SIZE, SIZE), int(LOW), np.int16))
    assert nobody["brain_found"] == nobody["head_share"] == 0 and np.isnan(nobody["grain"])


def test_a_fine_grain_is_told_from_a_coarse_one() -> None:
    from scipy.ndimage import gaussian_filter

    rng = np.random.default_rng(3)
    coarse = gaussian_filter(rng.normal(size=(SIZE, SIZE)), 1.0)
    fine = rng.normal(size=(SIZE, SIZE))
    plain = head(stretch=1.15)
    both = [np.clip(plain + 5 * grain / grain.std(), LOW, HIGH) for grain in (coarse, fine)]
    assert told(both[0])["grain_size"] > told(both[1])["grain_size"] + 0.2


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 400))
def test_first_and_last_slice_are_looked_at_and_never_more_than_said(count: int) -> None:
    rows = looked_at(count)
    assert rows[0] == 0 and rows[-1] == count - 1
    assert len(rows) == min(count, module.LOOKED_AT) and (np.diff(rows) > 0).all()


def test_a_case_is_the_middle_of_its_slices_whatever_their_order(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hu = np.stack([drawn(0), drawn(1, grain=9), drawn(2), np.full((SIZE, SIZE), int(LOW), np.int16)])
    found = scan_numbers(hu, LOW, HIGH)
    np.testing.assert_array_equal(found, scan_numbers(hu[::-1], LOW, HIGH))
    assert found[NAMES.index("brain_found")] == 0.75
    grains = [told(picture)["grain"] for picture in hu[:3]]
    assert found[NAMES.index("grain")] == np.median(grains)
    np.save(tmp_path / "hu.npy", hu)
    cases = [np.array([0, 1, 2, 3]), np.array([2]), np.array([1, 2])]
    alone = measure_cases(tmp_path / "hu.npy", cases, LOW, HIGH, workers=1)
    np.testing.assert_array_equal(alone[0], found)
    monkeypatch.setattr(module, "ALONE", 1)
    np.testing.assert_array_equal(measure_cases(tmp_path / "hu.npy", cases, LOW, HIGH, workers=2), alone)


@settings(max_examples=25, deadline=None)
@given(
    seed=st.integers(0, 10_000),
    kind=st.sampled_from(["noise", "blobs", "bone", "flat"]),
    size=st.sampled_from([8, 33, 64]),
)
def test_any_picture_gives_numbers_or_none(seed: int, kind: str, size: int) -> None:
    rng = np.random.default_rng(seed)
    hu = {
        "noise": rng.uniform(LOW, HIGH, (size, size)),
        "blobs": np.kron(rng.uniform(LOW, HIGH, (size // 4 + 1,) * 2), np.ones((4, 4)))[:size, :size],
        "bone": np.full((size, size), HIGH),
        "flat": np.full((size, size), rng.uniform(LOW, HIGH)),
    }[kind]
    found = slice_numbers(hu.astype(np.int16), LOW, HIGH)
    assert found.shape == (len(NAMES),) and not np.isinf(found).any()


def test_every_number_has_words_and_a_smallest_spread() -> None:
    assert len(WORDS) == len(ALL) == len(set(WORDS)) and set(SMALLEST_SPREAD) == set(ALL)
