"""Two backbones of three layers; importing this registers them. The paper's four take half a minute to trace, these a second.

TinyNet has what training must handle, BatchNorm and dropout; CalmNet has neither, so that parts of a batch add up exactly.
"""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from ich_pipeline.training.backend import keras


def TinyNet(include_top: bool = False, weights: None = None, input_shape: Any = None) -> keras.Model:
    """(n, s, s, 3) to (n, s/8, s/8, 24); as a function of ``keras.applications``."""
    inputs = keras.Input(input_shape)
    x = inputs
    for filters in (8, 16, 24):
        x = keras.layers.Conv2D(filters, 3, strides=2, padding="same", use_bias=False)(x)
        x = keras.layers.BatchNormalization()(x)
        x = keras.layers.ReLU()(x)
        x = keras.layers.Dropout(0.05)(x)
    return keras.Model(inputs, x, name="tinynet")


def preprocess_input(pictures: Any) -> Any:
    """0..255 to -1..1."""
    return pictures / 127.5 - 1.0


def CalmNet(include_top: bool = False, weights: None = None, input_shape: Any = None) -> keras.Model:
    """(n, s, s, 3) to (n, s/8, s/8, 24), no BatchNorm, no dropout."""
    inputs = keras.Input(input_shape)
    x = inputs
    for filters in (8, 16, 24):
        x = keras.layers.Conv2D(filters, 3, strides=2, padding="same", activation="relu")(x)
    return keras.Model(inputs, x, name="calmnet")


places: Any = keras.applications
places.TinyNet = TinyNet
places.CalmNet = CalmNet
places.calmnet = SimpleNamespace(CalmNet=CalmNet, preprocess_input=preprocess_input)
places.tinynet = SimpleNamespace(TinyNet=TinyNet, preprocess_input=preprocess_input)
