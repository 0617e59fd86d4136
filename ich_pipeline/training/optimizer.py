"""The optimiser from settings; Adam's update as one fused operation on TensorFlow."""

from __future__ import annotations

import math
from typing import Any

from ich_pipeline.config import TrainingParams
from ich_pipeline.training.backend import keras, ops

# The learning rate of every step, by Keras' own schedules.

schedules: Any = keras.optimizers.schedules


def schedule(total: int, peak: float, training: TrainingParams, begun: int = 0) -> Any:
    """The schedule of a training of ``total`` steps, for an optimiser that is made ``begun`` steps after its start.

    Linear warm-up over ``warmup_fraction`` of the training; then ``cosine`` falls to zero, ``step`` to the factors of
    ``step_decay`` at their shares of the training, ``constant`` stays.
    """
    warmup = round(training.warmup_fraction * total)
    falls = training.schedule == "cosine"
    curve = schedules.CosineDecay(
        peak / (warmup + 1),  # the first step learns too
        max(total - warmup, 1),
        alpha=0.0 if falls else 1.0,
        warmup_target=peak if warmup else None,
        warmup_steps=warmup,
    )
    factors = None
    if training.schedule == "step":
        shares, values = zip(*training.step_decay, strict=True)
        factors = schedules.PiecewiseConstantDecay([math.ceil(share * total) - 1 for share in shares], [1.0, *values])
    return _OfTheTraining(curve, factors, begun, training.accumulate)


class _OfTheTraining(schedules.LearningRateSchedule):
    """Keras counts calls of one optimiser: parts of batches, and from 0 again after the frozen passes."""

    def __init__(self, curve: Any, factors: Any | None, begun: int, parts: int) -> None:
        self._curve, self._factors, self._begun, self._parts = curve, factors, begun, parts

    def __call__(self, calls: Any) -> Any:
        step = ops.floor_divide(calls, self._parts) + self._begun  # type: ignore[operator]
        rate = self._curve(step)
        return rate if self._factors is None else rate * self._factors(step)


def make_optimizer(training: TrainingParams, rate: Any) -> keras.optimizers.Optimizer:
    """The optimiser of the settings, with gradients clipped to a global norm.

    Args:
        training: kind, momentum, weight decay, clipping, number format.
        rate: learning rate, or a schedule of Keras.
    """
    shared: dict[str, Any] = {"learning_rate": rate, "global_clipnorm": training.gradient_clip_norm}
    if training.accumulate > 1:
        shared["gradient_accumulation_steps"] = training.accumulate
    optimizer: keras.optimizers.Optimizer
    if training.optimizer == "nesterov":
        optimizer = keras.optimizers.SGD(momentum=training.momentum, nesterov=True, **shared)
    else:
        decay = training.weight_decay if training.optimizer == "adamw" else None
        optimizer = FusedAdam(weight_decay=decay, **shared)
    # Small gradients vanish in float16 unless the loss is scaled up first; bfloat16 has the range of float32.
    return keras.optimizers.LossScaleOptimizer(optimizer) if training.dtype == "mixed_float16" else optimizer


class FusedAdam(keras.optimizers.Adam):
    """Keras' Adam (with decoupled weight decay, where set: AdamW), its update in TensorFlow's fused kernel.

    Keras writes the update as a dozen operations a variable. On a CPU that is most of the time to trace a graph and
    a third of a step; the fused kernel computes the same formula in one pass. Other backends compile Keras' own update.
    """

    def update_step(self, gradient: Any, variable: Any, learning_rate: Any) -> None:
        if keras.backend.backend() != "tensorflow":
            super().update_step(gradient, variable, learning_rate)
            return
        import tensorflow as tf

        index = self._get_variable_index(variable)
        iterations: Any = self.iterations  # a variable, or with accumulation what is computed from one
        step = tf.cast(getattr(iterations, "value", iterations) + 1, tf.float32)
        tf.raw_ops.ResourceApplyAdam(
            var=variable.handle,
            m=self._momentums[index].value.handle,
            v=self._velocities[index].value.handle,
            beta1_power=tf.pow(self.beta_1, step),
            beta2_power=tf.pow(self.beta_2, step),
            lr=learning_rate,
            beta1=self.beta_1,
            beta2=self.beta_2,
            epsilon=self.epsilon,
            grad=gradient,
        )
