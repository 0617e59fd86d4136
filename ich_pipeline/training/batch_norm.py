"""BatchNorm statistics re-estimated over training batches, for trainings too short for moving averages."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ich_pipeline.training.backend import keras, ops


def re_estimate(model: keras.Model, backbone: keras.Model, batches: Iterable[NDArray[np.float32]]) -> None:
    """Set the moving mean and variance of every BatchNorm that learns to those of these batches together.

    The variance is that over all of them: the mean of their variances and squared means, less the square of the mean.
    Training does not read these values, so it goes on as it would have.

    Args:
        model: HU to probabilities.
        backbone: the part of it that holds the layers.
        batches: slices (n, s, s) in HU.
    """
    layers: list[Any] = [
        layer for layer in backbone.layers if isinstance(layer, keras.layers.BatchNormalization) and layer.trainable
    ]
    if not layers:
        return
    momenta = [layer.momentum for layer in layers]
    means = [np.zeros(layer.moving_mean.shape) for layer in layers]
    squares = [np.zeros(layer.moving_mean.shape) for layer in layers]
    count = 0
    try:
        for layer in layers:
            layer.momentum = 0.0  # what moves is then the batch's own value
        for hu in batches:
            model(hu, training=True)
            count += 1
            for k, layer in enumerate(layers):
                mean, variance = (_value(v) for v in (layer.moving_mean, layer.moving_variance))
                means[k] += mean
                squares[k] += variance + mean**2
    finally:
        for layer, momentum in zip(layers, momenta, strict=True):
            layer.momentum = momentum
    for layer, mean, square in zip(layers, means, squares, strict=True):
        layer.moving_mean.assign((mean / count).astype(np.float32))
        layer.moving_variance.assign(np.maximum(square / count - (mean / count) ** 2, 0).astype(np.float32))


def _value(variable: Any) -> NDArray[np.float64]:
    return np.asarray(ops.convert_to_numpy(variable), np.float64)
