"""Exported functions and gradients against TensorFlow's own; equal functions give equal bytes."""

from __future__ import annotations

import keras
import numpy as np
import onnxruntime
import pytest

from ich_pipeline.core.errors import InputError
from ich_pipeline.explain.attention import gradient_tensors, logit_gradients
from ich_pipeline.training.onnx_export import to_onnx

ROWS, SIDE, CHANNELS = 3, 11, 4
L = keras.layers
LAYERS = {
    "strided convolution": lambda: L.Conv2D(5, 3, strides=2, padding="same"),
    "strided 1 x 1, valid": lambda: L.Conv2D(5, 1, strides=2),
    "convolution, valid": lambda: L.Conv2D(5, (3, 5)),
    "dilated": lambda: L.Conv2D(5, 3, dilation_rate=2, padding="same"),
    "depthwise": lambda: L.DepthwiseConv2D(3, strides=2, padding="same", depth_multiplier=2),
    "largest, overlapping": lambda: L.MaxPooling2D(3, 2),
    "largest, padded": lambda: L.MaxPooling2D(3, 2, padding="same"),
    "mean, padded": lambda: L.AveragePooling2D(3, 1, padding="same"),
    "mean, strided and padded": lambda: L.AveragePooling2D((2, 3), 2, padding="same"),
    "relu6": lambda: L.ReLU(max_value=6.0),
    "sigmoid gate": lambda: L.Activation("silu"),
}


def tail(layer: str) -> keras.Model:
    """Activation → features, by way of the layer."""
    keras.utils.set_random_seed(4)
    given = keras.Input((SIDE, SIDE, CHANNELS))
    x = L.BatchNormalization()(L.Activation("relu")(LAYERS[layer]()(given)))
    return keras.Model(given, L.GlobalAveragePooling2D()(L.Concatenate()([x, L.Conv2D(2, 1)(x)])))


@pytest.mark.parametrize("layer", LAYERS)
def test_a_gradient_in_onnx_is_that_of_tensorflow(layer: str) -> None:
    rng = np.random.default_rng(1)
    activation = rng.normal(0, 3, (ROWS, SIDE, SIDE, CHANNELS)).astype(np.float32)
    made = tail(layer)
    weights = rng.normal(0, 1, (ROWS, made.output_shape[-1])).astype(np.float32)

    def run(given: keras.Model) -> keras.KerasTensor:
        return made(given, training=False)

    inputs = [("activation", activation.shape, "float32"), ("weights", weights.shape, "float32")]
    gradients = gradient_tensors(run)
    graph = to_onnx(lambda *given: [gradients(*given)], inputs, ["gradients"], "A tail")
    assert to_onnx(lambda *given: [gradients(*given)], inputs, ["gradients"], "A tail") == graph
    session = onnxruntime.InferenceSession(graph, providers=["CPUExecutionProvider"])
    (ours,) = session.run(["gradients"], {"activation": activation, "weights": weights})
    theirs = logit_gradients(run)(activation, weights)
    assert np.abs(theirs).max() > 1e-3
    np.testing.assert_allclose(np.asarray(ours), theirs, atol=1e-6)


def test_what_onnx_does_not_know_is_one_sentence() -> None:
    import tensorflow as tf

    with pytest.raises(InputError, match=r"^A tail cannot be exported to ONNX \(.*Betainc.*\)\.$"):
        to_onnx(lambda x: [tf.math.betainc(x, x, x)], [("x", (2, 2), "float32")], ["y"], "A tail")
