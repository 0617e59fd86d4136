from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from scipy import ndimage

from ich_pipeline.config import AugmentationParams
from ich_pipeline.training.augmentation import Augment, draw_transforms

NONE = AugmentationParams(rotation_deg=0, shift=0, zoom=0, shear_deg=0, horizontal_flip=False)
ALL = AugmentationParams(rotation_deg=20, shift=0.1, zoom=0.2, shear_deg=10, horizontal_flip=True)
HU = np.random.default_rng(0).integers(-20, 181, (6, 24, 24)).astype(np.float32)


def apply(transforms: np.ndarray, hu: np.ndarray = HU) -> np.ndarray:
    return np.asarray(Augment(-20)(hu, transforms))


def draw(ranges: AugmentationParams, seed: int = 1, count: int = 6) -> np.ndarray:
    return draw_transforms(np.random.default_rng(seed), count, 24, ranges)


def test_ranges_of_zero_change_nothing() -> None:
    np.testing.assert_array_equal(apply(draw(NONE)), HU)


def test_flip_mirrors_about_half_of_the_pictures() -> None:
    moved = apply(draw(NONE.model_copy(update={"horizontal_flip": True})))
    kinds = [
        "same" if (a == b).all() else "mirrored" if (a == b[:, ::-1]).all() else "other"
        for a, b in zip(moved, HU, strict=True)
    ]
    assert set(kinds) == {"same", "mirrored"}


def test_a_quarter_turn_is_exact() -> None:
    quarter = np.array([[0, -1, 23, 1, 0, 0, 0, 0]], np.float32)
    np.testing.assert_allclose(apply(quarter, HU[:1])[0], np.rot90(HU[0]), atol=1e-3)


def test_same_as_scipy_away_from_the_border() -> None:
    transforms = draw(ALL)
    ours = apply(transforms)
    assert not np.array_equal(ours, HU)
    for image, moved, t in zip(HU, ours, transforms, strict=True):
        # scipy counts in (row, column), Keras in (x, y).
        matrix = np.array([[t[4], t[3]], [t[1], t[0]]])
        offset: Any = (t[5], t[2])
        theirs = ndimage.affine_transform(image, matrix, offset=offset, order=1, mode="constant", cval=-20.0)
        inside = ndimage.affine_transform(np.ones_like(image), matrix, offset=offset, order=1, cval=0.0) > 0.999
        assert inside.sum() > 100
        np.testing.assert_allclose(moved[inside], theirs[inside], atol=0.05)


def test_outside_is_filled() -> None:
    shifted = np.array([[1, 0, 100, 0, 1, 0, 0, 0]], np.float32)
    assert (apply(shifted, HU[:1]) == -20).all()


def test_seed_decides_and_ranges_do_not_disturb_each_other() -> None:
    np.testing.assert_array_equal(draw(ALL), draw(ALL))
    assert not np.array_equal(draw(ALL), draw(ALL, seed=2))
    shift_only = NONE.model_copy(update={"shift": 0.1})
    flip_and_shift = shift_only.model_copy(update={"zoom": 0.2})
    np.testing.assert_allclose(draw(flip_and_shift)[:, 0] - 1, draw(NONE.model_copy(update={"zoom": 0.2}))[:, 0] - 1)
    assert np.abs(draw(shift_only, count=500)[:, [2, 5]]).max() == pytest.approx(2.4, abs=0.05)
