"""Keras, loaded in silence: the one place where TensorFlow comes into the process, and where a graphics card is set up.

On a card both backends by default pick algorithms by speed, add in changing order, and multiply float32 with 10 bits of
mantissa (TF32). Here the same training gives the same bytes on one card, and float32 is float32.
"""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager

from ich_pipeline.core.silence import silent

# Read by TensorFlow itself too. "0" gives the repeatable bytes up, for a network that has no such kernels on a card.
REPEATABLE = "TF_DETERMINISTIC_OPS"
_XLA_FLAG = "--xla_gpu_deterministic_ops"


@contextlib.contextmanager
def _without_jax() -> Iterator[None]:
    """TensorFlow's converter for phones loads JAX where it is installed: a seventh of its start, for nothing used here."""
    unknown = "jax" not in sys.modules
    if unknown:
        sys.modules["jax"] = None  # type: ignore[assignment]
    try:
        yield
    finally:
        if unknown:
            del sys.modules["jax"]


with silent():
    if os.environ.get("KERAS_BACKEND", "tensorflow") == "tensorflow":
        with _without_jax():
            import tensorflow as tf
    import keras

    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        # Looks for a card now, where TensorFlow's complaints are not shown to the user.
        if tf.config.list_physical_devices("GPU"):
            tf.config.experimental.enable_tensor_float_32_execution(False)
            if os.environ.get(REPEATABLE) != "0":
                tf.config.experimental.enable_op_determinism()
    elif keras.backend.backend() == "jax":
        given = os.environ.get("XLA_FLAGS", "")  # read when the first device is asked for
        if os.environ.get(REPEATABLE) != "0" and _XLA_FLAG not in given:
            os.environ["XLA_FLAGS"] = f"{given} {_XLA_FLAG}=true".strip()

ops = keras.ops


def exact(dtype: str) -> AbstractContextManager[None]:
    """Where a network of this dtype policy computes: float32 stays float32 on JAX too; other policies ask for less."""
    if keras.backend.backend() != "jax" or dtype != "float32":
        return contextlib.nullcontext()
    import jax

    return jax.default_matmul_precision("highest")


__all__ = ["exact", "keras", "ops"]
