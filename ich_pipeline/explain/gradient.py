"""The one place that differs between Keras backends: the gradient of a logit."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

Gradients = Callable[[NDArray[Any], NDArray[np.float32]], NDArray[np.float32]]


def logit_gradients(tail: Callable[[Any], Any]) -> Gradients:
    """Build the function that gives a logit's gradient with respect to an inner activation.

    Args:
        tail: from the activation (n, h, w, K) to the pooled features (n, F), float32.

    Returns:
        function of an activation (n, h, w, K) and the head's weights of the label explained in each row (n, F), that
        gives float32 (n, h, w, K).
    """
    import keras

    backend = keras.backend.backend()
    if backend == "tensorflow":
        return _tensorflow(tail)
    if backend == "jax":
        return _jax(tail)
    raise RuntimeError(f"LayerCAM has no gradient for the Keras backend {backend!r}: use tensorflow or jax.")


def _tensorflow(tail: Callable[[Any], Any]) -> Gradients:
    import tensorflow as tf

    @tf.function
    def gradients(activation: Any, weights: Any) -> Any:
        with tf.GradientTape() as tape:
            tape.watch(activation)
            logits = tf.reduce_sum(tail(activation) * weights, axis=1)
        return tf.cast(tape.gradient(logits, activation), tf.float32)

    return lambda activation, weights: gradients(tf.constant(activation), tf.constant(weights)).numpy()


def _jax(tail: Callable[[Any], Any]) -> Gradients:
    import jax  # pyright: ignore[reportMissingImports]

    def total(activation: Any, weights: Any) -> Any:
        return (tail(activation) * weights).sum()  # rows are independent, so the sum's gradient is each row's own

    gradient = jax.jit(jax.grad(total))
    return lambda activation, weights: np.asarray(gradient(activation, weights), np.float32)
