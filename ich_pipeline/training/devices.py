"""On which devices a network trains: one, or all GPUs of this machine, each with its share of every batch."""

from __future__ import annotations

import contextlib
from contextlib import AbstractContextManager
from typing import Any, Literal

from ich_pipeline.core.errors import InputError
from ich_pipeline.training.backend import keras


def strategy(gpus: Literal["one", "all"], kind: str = "GPU") -> Any | None:
    """TensorFlow's mirrored strategy over all devices of a kind; None where there is one, or one is wanted.

    Raises:
        InputError: all are wanted on a backend that this project spreads over one device only.
    """
    if gpus == "one":
        return None
    if keras.backend.backend() != "tensorflow":
        raise InputError(
            f"params.yaml: training.gpus 'all' works with TensorFlow, but KERAS_BACKEND is {keras.backend.backend()}: "
            "set it to 'one'."
        )
    import tensorflow as tf

    devices = [device.name for device in tf.config.list_logical_devices(kind)]
    return tf.distribute.MirroredStrategy(devices) if len(devices) > 1 else None


def scope(chosen: Any | None) -> AbstractContextManager[Any]:
    """Where variables are made for a strategy."""
    return contextlib.nullcontext() if chosen is None else chosen.scope()
