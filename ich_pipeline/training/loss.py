"""Binary cross-entropy weighted by class frequency, a label at a time."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

EPSILON = 1e-7  # keeps log() finite; float32 resolves it beside 1


class ClassWeights(NamedTuple):
    """Weights of positive and negative slices, float32 of shape (labels,) each."""

    positive: NDArray[np.float32]
    negative: NDArray[np.float32]


def class_weights(truth: NDArray[Any], cap: float) -> ClassWeights:
    """``N / (2 N+)`` and ``N / (2 N-)`` a label, neither above ``cap``.

    Args:
        truth: 0 and 1, shape (n, labels).
        cap: a rare label would otherwise drown the others; a label of one kind only gets the cap for the other kind.
    """
    total = len(truth)
    positives = truth.sum(axis=0, dtype=np.float64)

    def weight(counts: NDArray[np.float64]) -> NDArray[np.float32]:
        return np.minimum(total / np.maximum(2 * counts, 1e-9), cap).astype(np.float32)

    return ClassWeights(weight(positives), weight(total - positives))


def weighted_prevalence(truth: NDArray[Any], weights: ClassWeights) -> NDArray[np.float64]:
    """The constant answer with the lowest weighted loss, shape (labels,): the head starts there."""
    share = truth.mean(axis=0, dtype=np.float64)
    positive, negative = weights.positive * share, weights.negative * (1 - share)
    return positive / (positive + negative)


def weighted_binary_crossentropy(weights: ClassWeights) -> Callable[[Any, Any], Any]:
    """A Keras loss of truth and probability (n, labels), meaned over labels: shape (n,)."""
    from ich_pipeline.training.backend import ops  # TensorFlow, which heads on stored features do not need

    def loss(truth: Any, probability: Any) -> Any:
        probability = ops.clip(probability, EPSILON, 1 - EPSILON)
        positive = weights.positive * truth * ops.log(probability)
        negative = weights.negative * (1 - truth) * ops.log(1 - probability)
        return ops.negative(ops.mean(positive + negative, axis=-1))

    return loss


def mean_loss(truth: NDArray[Any], probability: NDArray[Any], weights: ClassWeights) -> float:
    """The same loss of all slices in numpy."""
    clipped = np.clip(probability.astype(np.float64), EPSILON, 1 - EPSILON)
    terms = weights.positive * truth * np.log(clipped) + weights.negative * (1 - truth) * np.log(1 - clipped)
    return float(-terms.mean())
