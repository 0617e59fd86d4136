"""Features of the last convolution and their relevance to a label.

A network ends in global average pooling (layer ``gap``) and one dense layer (``head``). So the logit of a label is
``sum over k of weight[k, label] * feature[k] + bias[label]``: each term is the contribution of one feature.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray


def head_weights(model: Any) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Kernel (F, L) and bias (L,) of the Keras model's layer ``head``."""
    kernel, bias = model.get_layer("head").get_weights()
    return np.asarray(kernel, np.float32), np.asarray(bias, np.float32)


def relevance(features: NDArray[np.floating], weights: NDArray[np.floating]) -> NDArray[np.float32]:
    """Contribution of every feature to a label's logit: head weight times ReLU-activated feature.

    Args:
        features: (n, F), global average of the last feature maps.
        weights: (F,), the label's column of the head's kernel.

    Returns:
        float32 (n, F); negative where a feature speaks against the label.
    """
    return np.maximum(features, 0).astype(np.float32) * np.asarray(weights, np.float32)


def classic_features(contributions: NDArray[np.float32], count: int) -> NDArray[np.int32]:
    """The features that are relevant in many positives of a subtype.

    A feature is relevant in a slice when its contribution is positive and among the ``count`` largest of that slice.
    The classic features are the ``count`` that are relevant in most positives; ties go to the larger mean contribution,
    then to the lower index.

    Args:
        contributions: (positives, F), from :func:`relevance`.
        count: how many features; fewer come back where fewer are relevant in any positive.

    Returns:
        int32 indices of features, most often relevant first.
    """
    count = min(count, contributions.shape[1])
    # A stable sort of the negated values: equal contributions keep the order of the features on every machine.
    order = np.argsort(-contributions, axis=1, kind="stable")[:, :count]
    relevant = np.zeros(contributions.shape, bool)
    np.put_along_axis(relevant, order, True, axis=1)
    relevant &= contributions > 0
    votes = relevant.sum(axis=0)
    mean = contributions.mean(axis=0, dtype=np.float64)
    ranked = np.lexsort((np.arange(len(votes)), -mean, -votes))
    return ranked[:count][votes[ranked[:count]] > 0].astype(np.int32)


def basis_space(contributions: NDArray[np.float32], classic: NDArray[np.integer]) -> NDArray[np.float32]:
    """Normalised relevance: positive contributions of the classic features, scaled to L2 length 1.

    Rows that show none of the classic features stay zero.

    Returns:
        float32 (n, len(classic)). Distances between two non-zero rows lie in 0 (same pattern) to sqrt(2) (no feature
        in common).
    """
    shown = np.maximum(contributions[:, classic], 0).astype(np.float64)
    length = np.sqrt((shown * shown).sum(axis=1, keepdims=True))
    return np.divide(shown, length, out=np.zeros_like(shown), where=length > 0).astype(np.float32)
