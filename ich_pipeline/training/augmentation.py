"""Random affine augmentation in HU, before windowing: parameters are drawn on the host, applied on the device in one go.

Drawing (:func:`draw_transforms`, seeded) is apart from applying (:class:`Augment`, deterministic): the seed alone tells
every transform of a training.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ich_pipeline.config import AugmentationParams
from ich_pipeline.training.backend import keras, ops


def draw_transforms(
    generator: np.random.Generator, count: int, size: int, ranges: AugmentationParams
) -> NDArray[np.float32]:
    """One random affine an image, about the picture's centre: flip, then zoom and shear, then rotation, then shift.

    Every range is uniform and symmetric. The draws do not depend on the ranges, so that changing one range leaves the
    others' values as they were.

    Args:
        generator: source of randomness.
        count: number of images.
        size: rows and columns in pixels.
        ranges: all zero and no flip gives the exact identity.

    Returns:
        float32 of shape (count, 8): rows ``a0 a1 a2 b0 b1 b2 0 0``, which send an output pixel (x, y) to the input
        position (a0 x + a1 y + a2, b0 x + b1 y + b2), as ``keras.ops.image.affine_transform`` wants it.
    """
    rotation, shift_x, shift_y, zoom, shear = generator.uniform(-1, 1, (5, count))
    flip = np.where(generator.random(count) < 0.5, -1.0, 1.0) if ranges.horizontal_flip else np.ones(count)
    angle = np.deg2rad(rotation * ranges.rotation_deg)
    slant = np.tan(np.deg2rad(shear * ranges.shear_deg))
    scale = 1 + zoom * ranges.zoom
    cos, sin = np.cos(angle) * scale, np.sin(angle) * scale
    a0, a1 = flip * cos, flip * (slant * cos - sin)
    b0, b1 = sin, cos + slant * sin
    centre = (size - 1) / 2
    a2 = centre - a0 * centre - a1 * centre + shift_x * ranges.shift * size
    b2 = centre - b0 * centre - b1 * centre + shift_y * ranges.shift * size
    nothing = np.zeros(count)
    return np.stack([a0, a1, a2, b0, b1, b2, nothing, nothing], axis=1).astype(np.float32)


class Augment(keras.layers.Layer):
    """Slices (n, s, s) in HU and transforms (n, 8) to transformed slices; ``fill_hu`` where the picture ends."""

    def __init__(self, fill_hu: int, **kwargs: Any) -> None:
        super().__init__(dtype="float32", **kwargs)
        self.fill_hu = fill_hu

    def call(self, hu: Any, transforms: Any) -> Any:
        moved = ops.image.affine_transform(
            ops.expand_dims(hu, -1),
            transforms,
            interpolation="bilinear",
            fill_mode="constant",
            fill_value=self.fill_hu,
            data_format="channels_last",
        )
        return ops.squeeze(moved, -1)

    def compute_output_shape(
        self, hu_shape: tuple[int | None, ...], transforms_shape: tuple[int | None, ...]
    ) -> tuple[int | None, ...]:
        return hu_shape
