"""The model that is fitted: the network behind its augmentation, compiled for one device, XLA, or several GPUs."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ich_pipeline.config import NetworkParams, TrainingParams
from ich_pipeline.core.errors import InputError
from ich_pipeline.training.augmentation import Augment
from ich_pipeline.training.backbones import freeze
from ich_pipeline.training.backend import keras, ops
from ich_pipeline.training.checkpoint import fitting
from ich_pipeline.training.devices import scope
from ich_pipeline.training.loss import ClassWeights, weighted_binary_crossentropy
from ich_pipeline.training.network import Network
from ich_pipeline.training.optimizer import make_optimizer
from ich_pipeline.windowing.windows import clip_range


class Trainer:
    """A network with its optimiser. It begins a phase (:meth:`begin`); then ``model`` can be fitted.

    Attributes:
        model: takes slices and transforms as :class:`~ich_pipeline.training.sampling.Batches` gives them.
        augment: for ``Batches``, where the model takes slices that are transformed already; else None.
    """

    def __init__(
        self, network: Network, settings: NetworkParams, training: TrainingParams, weights: ClassWeights
    ) -> None:
        """Prepare.

        Args:
            network: trained in place; of :func:`ich_pipeline.training.fit.start_network`.
            settings: batch size and frozen layers of this architecture.
            training: what all trainings share.
            weights: of the loss.

        Raises:
            InputError: a frozen layer that the architecture does not have, or a batch that the GPUs cannot share.
        """
        self._network, self._settings, self._training = network, settings, training
        self._loss = weighted_binary_crossentropy(weights)
        self._tensorflow = keras.backend.backend() == "tensorflow"
        replicas = 1 if network.strategy is None else network.strategy.num_replicas_in_sync
        if settings.batch_size % (replicas * training.accumulate):
            raise InputError(
                f"params.yaml: networks.{network.spec.architecture}.batch_size {settings.batch_size} cannot be shared by "
                f"{replicas} GPUs in {training.accumulate} parts each: take a multiple of {replicas * training.accumulate}."
            )
        augment = Augment(clip_range(network.spec.windows)[0], name="augment")
        # TensorFlow's affine transform has no XLA kernel: then it goes before the compiled step instead of into it.
        self.augment: Any = None
        if self._tensorflow and training.jit_compile:
            import tensorflow as tf

            self.augment = tf.function(lambda hu, transforms: augment(hu, transforms))
            self.model = network.model
        else:
            self.model = _behind(augment, network)

    def begin(self, rate: Any, *, frozen: bool) -> None:
        """Compile anew with a fresh optimiser: with the whole backbone ``frozen``, or but for its lower layers.

        Args:
            rate: learning rate or schedule.
            frozen: whether this phase trains the head alone.
        """
        backbone = self._network.model.get_layer("backbone")
        freeze(backbone, self._network.spec.architecture, 1.0 if frozen else self._settings.frozen_layers)
        # JAX without compilation takes a hundred times as long.
        compiled: Any = self._training.jit_compile if self._tensorflow else True
        with scope(self._network.strategy):
            optimizer = make_optimizer(self._training, rate)
            self.model.compile(optimizer=optimizer, loss=self._loss, jit_compile=compiled)
            optimizer.build(self.model.trainable_variables)
        self._optimizer: Any = optimizer

    @property
    def variables(self) -> tuple[NDArray[Any], ...]:
        """All that a step reads and changes: weights, states of random layers, the optimiser's, the mean of the losses."""
        return tuple(np.asarray(ops.convert_to_numpy(one)) for one in self._all())

    def restore(self, values: tuple[NDArray[Any], ...]) -> bool:
        """Set :attr:`variables` in the phase that they were of; False where they are of another network."""
        own = self._all()
        if not fitting(values, [tuple(one.shape) for one in own]):
            return False
        for variable, value in zip(own, values, strict=True):
            variable.assign(value)
        return True

    def _all(self) -> list[Any]:
        return [*self.model.variables, *self._optimizer.variables, *self.model.metrics_variables]


def _behind(augment: Augment, network: Network) -> keras.Model:
    """The network behind the augmentation; shares its weights."""
    size = network.spec.image_size
    with scope(network.strategy):
        hu = keras.Input((size, size), dtype="float32", name="hu")
        transforms = keras.Input((8,), dtype="float32", name="transforms")
        return keras.Model({"hu": hu, "transforms": transforms}, network.model(augment(hu, transforms)))
