"""The head: features and logits of a case's slices in, better logits out; saved as ``head.json`` beside ``head.weights.h5``.

A bidirectional recurrent network over the slices of a case, as the winners of the RSNA 2019 haemorrhage challenge and RADnet
(Grewal et al. 2018, doi 10.1109/ISBI.2018.8363574) put behind their slice networks. Here it is small, a gated recurrent unit
each way (Cho et al. 2014), and it adds to the network's own logits. Its last layer begins at zero, so that a head before
training changes nothing.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ich_pipeline.core.files import write_json
from ich_pipeline.sequence.cases import by_cases
from ich_pipeline.sequence.spec import CASES, SPEC_FILE, HeadSpec
from ich_pipeline.training.backbones import load_written_weights
from ich_pipeline.training.backend import keras, ops

WEIGHTS_FILE = "head.weights.h5"


class Residual(keras.layers.Layer):
    """Probabilities from the network's logits and what the head adds to them."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.supports_masking = True

    def call(self, logits: Any, change: Any) -> Any:
        """Both (cases, slices, labels)."""
        return ops.sigmoid(logits + change)

    def compute_mask(self, inputs: Any, previous_mask: Any = None) -> None:
        """None: Keras would put the mask on the loss as well, which the loss's own weights already do."""
        return None


class SequenceHead:
    """A spec and its Keras model: features (b, t, F), logits (b, t, labels) and mask (b, t) to probabilities."""

    def __init__(self, spec: HeadSpec, model: keras.Model) -> None:
        self.spec = spec
        self.model = model

    @staticmethod
    def build(
        spec: HeadSpec, mean: NDArray[np.floating] | None = None, variance: NDArray[np.floating] | None = None
    ) -> SequenceHead:
        """A head before training.

        Args:
            spec: what to build.
            mean, variance: of each feature over the training slices, shape (F,); they scale the features.
        """
        keras.utils.set_random_seed(spec.seed)
        layers = keras.layers
        features = keras.Input((None, spec.features), dtype="float32", name="features")
        logits = keras.Input((None, len(spec.labels)), dtype="float32", name="logits")
        mask = keras.Input((None,), dtype="bool", name="mask")
        # Fixed scaling. Its epsilon keeps a feature that hardly varied in training from exploding on another slice.
        scale = layers.BatchNormalization(center=False, scale=False, trainable=False, name="scale")
        x = scale(features, training=False)
        x = layers.Dropout(spec.dropout, seed=spec.seed, name="drop_features")(x)
        x = layers.Dense(spec.units, activation="relu", name="project")(x)
        x = layers.Concatenate(name="with_logits")([x, logits])
        # cuDNN refuses sequences that are padding as a whole, and differs from other devices.
        portable: Any = False
        recurrent = layers.GRU(spec.units, return_sequences=True, use_cudnn=portable, name="gru")
        x = layers.Bidirectional(recurrent, name="both_ways")(x, mask=mask)
        x = layers.Dropout(spec.dropout, seed=spec.seed + 1, name="drop_states")(x)
        change = layers.Dense(len(spec.labels), kernel_initializer="zeros", name="change")(x)
        model = keras.Model(
            [features, logits, mask], Residual(name="probabilities")(logits, change), name="sequence_head"
        )
        if mean is not None and variance is not None:
            scale.set_weights([np.asarray(mean, np.float32), np.asarray(variance, np.float32)])
        return SequenceHead(spec, model)

    @staticmethod
    def load(folder: Path) -> SequenceHead:
        """The head that :meth:`save` left in ``folder``.

        Raises:
            InputError: a file is missing, broken, or of another version.
        """
        folder = Path(folder)
        head = SequenceHead.build(HeadSpec.load(folder))
        load_written_weights(head.model, folder / WEIGHTS_FILE, folder / SPEC_FILE, "sequence")
        return head

    def save(self, folder: Path) -> None:
        """Write ``head.json`` and ``head.weights.h5`` into an existing folder; equal weights give equal bytes."""
        write_json(Path(folder) / SPEC_FILE, self.spec.to_json())
        self.model.save_weights(Path(folder) / WEIGHTS_FILE)

    def probabilities(
        self, features: NDArray[np.floating], logits: NDArray[np.floating], case_index: NDArray[np.integer]
    ) -> NDArray[np.float32]:
        """Probabilities of slices, without calibration.

        Args:
            features: (n, F), pooled features of the network; may be a memory map.
            logits: (n, labels), of the network alone.
            case_index: (n,) case of each slice; the slices of a case come in order of position.

        Returns:
            float32 (n, labels).
        """
        return by_cases(lambda batch: self.model.predict_on_batch(batch.inputs), features, logits, case_index, CASES)
