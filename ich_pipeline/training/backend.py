"""Keras, loaded in silence: the one place where TensorFlow comes into the process."""

from __future__ import annotations

from ich_pipeline.native import silent

with silent():
    import keras

    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        tf.config.list_physical_devices("GPU")  # looks for a GPU now, where its complaints are not shown to the user

ops = keras.ops

__all__ = ["keras", "ops"]
