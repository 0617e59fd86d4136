from __future__ import annotations

import keras
import numpy as np
from keras import ops

from ich_pipeline.training.loss import (
    ClassWeights,
    class_weights,
    mean_loss,
    weighted_binary_crossentropy,
    weighted_prevalence,
)

TRUTH = np.array([[1, 0, 0], [1, 0, 0], [0, 0, 0], [0, 1, 0], [0, 0, 0], [0, 0, 0], [0, 0, 0], [0, 0, 0]], np.int8)


def test_class_weights_by_hand() -> None:
    weights = class_weights(TRUTH, cap=3.0)
    np.testing.assert_allclose(weights.positive, [8 / 4, 3.0, 3.0])  # 8/2 and 8/0 are capped
    np.testing.assert_allclose(weights.negative, [8 / 12, 8 / 14, 8 / 16], rtol=1e-6)


def test_weighted_prevalence_has_the_lowest_loss() -> None:
    weights = class_weights(TRUTH, cap=3.0)
    best = weighted_prevalence(TRUTH, weights)
    np.testing.assert_allclose(best, [0.5, 3 / 7, 0], rtol=1e-6)

    def loss(p: float) -> float:
        return mean_loss(TRUTH[:, 1:2], np.full((8, 1), p), ClassWeights(weights.positive[1:2], weights.negative[1:2]))

    assert loss(float(best[1])) < min(loss(float(best[1]) - 0.01), loss(float(best[1]) + 0.01))


def test_unit_weights_are_keras_binary_crossentropy() -> None:
    p = np.random.default_rng(0).uniform(0.01, 0.99, TRUTH.shape).astype(np.float32)
    ones = np.ones(3, np.float32)
    ours = np.asarray(weighted_binary_crossentropy(ClassWeights(ones, ones))(ops.cast(TRUTH, "float32"), p))
    theirs = np.asarray(keras.losses.binary_crossentropy(TRUTH.astype(np.float32), p))
    np.testing.assert_allclose(ours, theirs, rtol=1e-5)


def test_device_and_numpy_loss_agree() -> None:
    weights = class_weights(TRUTH, cap=5.0)
    p = np.random.default_rng(1).uniform(0, 1, TRUTH.shape).astype(np.float32)
    p[0, 0], p[1, 1] = 0, 1  # the clipped ends
    ours = np.asarray(weighted_binary_crossentropy(weights)(ops.cast(TRUTH, "float32"), p)).mean()
    np.testing.assert_allclose(ours, mean_loss(TRUTH, p, weights), rtol=2e-3)
