"""One optimiser step: the network behind its augmentation, compiled for one device, XLA, parts of a batch, or several GPUs."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ich_pipeline.config import NetworkParams, TrainingParams
from ich_pipeline.errors import InputError
from ich_pipeline.training.augmentation import Augment
from ich_pipeline.training.backbones import freeze
from ich_pipeline.training.backend import exact, keras, ops
from ich_pipeline.training.checkpoint import fitting
from ich_pipeline.training.devices import scope
from ich_pipeline.training.faults import NotFinite
from ich_pipeline.training.loss import ClassWeights, weighted_binary_crossentropy
from ich_pipeline.training.network import Network
from ich_pipeline.training.optimizer import make_optimizer
from ich_pipeline.training.sampling import Batch
from ich_pipeline.windowing import clip_range


class Trainer:
    """A network with its optimiser. It begins a phase (:meth:`begin`), then takes steps."""

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
        self._strategy = network.strategy
        replicas = 1 if self._strategy is None else self._strategy.num_replicas_in_sync
        if settings.batch_size % (replicas * training.accumulate):
            raise InputError(
                f"params.yaml: networks.{network.spec.architecture}.batch_size {settings.batch_size} cannot be shared by "
                f"{replicas} GPUs in {training.accumulate} parts each: take a multiple of {replicas * training.accumulate}."
            )
        augment = Augment(clip_range(network.spec.windows)[0], name="augment")
        # TensorFlow's affine transform has no XLA kernel: then it goes before the compiled step instead of into it.
        self._apart = self._tensorflow and training.jit_compile
        if self._apart:
            import tensorflow as tf

            self._augment = tf.function(lambda hu, transforms: augment(hu, transforms))
            self.model = network.model
        else:
            self.model = _behind(augment, network)

    def begin(self, *, frozen: bool) -> None:
        """Compile anew with a fresh optimiser: with the whole backbone ``frozen``, or but for its lower layers."""
        backbone = self._network.model.get_layer("backbone")
        freeze(backbone, self._network.spec.architecture, 1.0 if frozen else self._settings.frozen_layers)
        # JAX without compilation takes a hundred times as long.
        compiled: Any = self._training.jit_compile if self._tensorflow else True
        with scope(self._strategy):
            optimizer = make_optimizer(self._training)
            self.model.compile(optimizer=optimizer, loss=self._loss, jit_compile=compiled)
            optimizer.build(self.model.trainable_variables)
        self._optimizer: Any = optimizer

    def step(self, batch: Batch, rate: float) -> float:
        """One optimiser step at a learning rate; returns the loss, which may be no number."""
        self._optimizer.learning_rate = rate
        parts = self._training.accumulate
        if parts == 1:
            return self._on_batch(batch.hu, batch.transforms, batch.truth)
        size = len(batch.hu) // parts
        cuts = [slice(k * size, (k + 1) * size) for k in range(parts)]
        return float(np.mean([self._on_batch(batch.hu[c], batch.transforms[c], batch.truth[c]) for c in cuts]))

    def _on_batch(self, hu: NDArray[Any], transforms: NDArray[Any], truth: NDArray[Any]) -> float:
        inputs: Any = self._augment(hu, transforms) if self._apart else [hu, transforms]
        if self._strategy is None:
            with exact(self._network.spec.dtype):
                return float(self.model.train_on_batch(inputs, truth))
        return self._on_replicas(inputs if isinstance(inputs, list) else [inputs], truth)

    def _on_replicas(self, inputs: list[Any], truth: NDArray[Any]) -> float:
        """Keras would give every replica the whole batch: here each gets its share."""
        strategy: Any = self._strategy
        size = len(truth) // strategy.num_replicas_in_sync

        def shares(values: Any) -> Any:
            def share(context: Any) -> Any:
                start = context.replica_id_in_sync_group * size
                return ops.convert_to_tensor(values[start : start + size])

            return strategy.experimental_distribute_values_from_function(share)

        given = [shares(one) for one in inputs]
        self.model.make_train_function()
        self.model.reset_metrics()
        function: Any = self.model.train_function
        logs = function(iter([(given[0] if len(given) == 1 else given, shares(truth))]))
        return float(logs["loss"])

    @property
    def variables(self) -> tuple[NDArray[Any], ...]:
        """All that a step reads and changes: weights, states of random layers, the optimiser's."""
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
        return [*self.model.variables, *self._optimizer.variables]


def checked(loss: float, step: int) -> float:
    """The loss of a step, counted from 1; raises :class:`NotFinite` where it is none."""
    if not math.isfinite(loss):
        raise NotFinite(step)
    return loss


def _behind(augment: Augment, network: Network) -> keras.Model:
    """The network behind the augmentation; shares its weights."""
    size = network.spec.image_size
    with scope(network.strategy):
        hu = keras.Input((size, size), dtype="float32", name="hu")
        transforms = keras.Input((8,), dtype="float32", name="transforms")
        return keras.Model([hu, transforms], network.model(augment(hu, transforms)))
