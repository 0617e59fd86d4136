"""Features of the last convolution, their relevance to a label, and what they tell of a subtype.

A network ends in global average pooling (layer ``gap``) and one dense layer (``head``). So the logit of a label is
``sum over k of weight[k, label] * feature[k] + bias[label]``: each term is the contribution of one feature, its relevance.

Any haemorrhage raises most of the relevances of most subtypes. What is classic of a subtype is therefore measured against
the positive slices without it, not against healthy ones.
"""

from __future__ import annotations

from dataclasses import dataclass
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


@dataclass(frozen=True)
class Classic:
    """The classic features of a subtype, the most telling first, and how to measure them.

    Attributes:
        features: int32 (c,) indices.
        centre: float32 (c,) mean relevance in the positive slices without the subtype.
        spread: float32 (c,) standard deviation, pooled over the slices with and without it; above 0.
    """

    features: NDArray[np.int32]
    centre: NDArray[np.float32]
    spread: NDArray[np.float32]

    def excess(self, contributions: NDArray[np.float32]) -> NDArray[np.float64]:
        """How much more of each classic feature slices show than other positives: (n, c), in standard deviations."""
        return (contributions[:, self.features].astype(np.float64) - self.centre) / self.spread

    def space(self, contributions: NDArray[np.float32]) -> NDArray[np.float32]:
        """The excess scaled to L2 length 1, (n, c): the pattern without its strength. A row without any stays zero.

        Distances between two non-zero rows lie in 0 (same pattern) to 2 (the opposite).
        """
        excess = self.excess(contributions)
        length = np.sqrt((excess * excess).sum(axis=1, keepdims=True))
        return np.divide(excess, length, out=np.zeros_like(excess), where=length > 0).astype(np.float32)


def classic_features(with_it: NDArray[np.float32], without: NDArray[np.float32], count: int) -> Classic:
    """The features that are relevant in positives of a subtype and tell it from the other positives.

    A feature is relevant in a slice when its contribution is positive and among the ``count`` largest of that slice. Of
    the features that are relevant in any positive, the classic ones have the largest effect size: difference of the mean
    contributions with and without the subtype, in pooled standard deviations. Where no slice is without it, the mean
    contribution over its standard deviation. Ties go to the lower index.

    Args:
        with_it: (n, F), from :func:`relevance`, of the slices that show the subtype.
        without: (m, F), of the positive slices that do not; may be empty.
        count: how many features; fewer come back where fewer have an effect above zero.
    """
    if not len(with_it):
        nothing = np.zeros(0, np.float32)
        return Classic(np.zeros(0, np.int32), nothing, nothing)
    centre = without.mean(axis=0, dtype=np.float64) if len(without) else np.zeros(with_it.shape[1])
    variances = [group.var(axis=0, dtype=np.float64) for group in (with_it, without) if len(group)]
    spread = np.sqrt(np.mean(variances, axis=0))
    gain = with_it.mean(axis=0, dtype=np.float64) - centre
    effect = np.divide(gain, spread, out=np.zeros_like(gain), where=spread > 0)
    effect[~_relevant(with_it, count)] = 0
    # A stable sort of the negated values: equal effects keep the order of the features on every machine.
    chosen = np.argsort(-effect, kind="stable")[:count]
    chosen = chosen[effect[chosen] > 0].astype(np.int32)
    return Classic(chosen, centre[chosen].astype(np.float32), spread[chosen].astype(np.float32))


def _relevant(contributions: NDArray[np.float32], count: int) -> NDArray[np.bool_]:
    """Whether each feature is among the ``count`` largest positive contributions of any slice."""
    order = np.argsort(-contributions, axis=1, kind="stable")[:, : min(count, contributions.shape[1])]
    relevant = np.zeros(contributions.shape, bool)
    np.put_along_axis(relevant, order, True, axis=1)
    return np.asarray((relevant & (contributions > 0)).any(axis=0))
