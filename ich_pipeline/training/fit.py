"""Training of one network: seeded, with looks at the validation set, keeping the best weights; goes on where it was killed."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Generator
from contextlib import closing
from dataclasses import asdict, dataclass, replace
from typing import Any, cast

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ich_pipeline.config import NetworkParams, TrainingParams
from ich_pipeline.core.errors import InputError
from ich_pipeline.core.progress import Track, quiet
from ich_pipeline.training.backend import exact, keras
from ich_pipeline.training.batch_norm import re_estimate
from ich_pipeline.training.checkpoint import Best, Checkpoint, State, fitting
from ich_pipeline.training.data import CohortSlices
from ich_pipeline.training.devices import scope, strategy
from ich_pipeline.training.faults import NotFinite, told
from ich_pipeline.training.looks import Look, look_steps, take_look
from ich_pipeline.training.loss import ClassWeights, class_weights, weighted_prevalence
from ich_pipeline.training.network import Network, NetworkSpec
from ich_pipeline.training.optimizer import schedule
from ich_pipeline.training.sampling import Batches, slices_a_pass
from ich_pipeline.training.trainer import Trainer

DONE = "all steps done"


@dataclass(frozen=True)
class FitResult:
    """What a training leaves beside the network, whose weights are those of the ``best`` look."""

    history: tuple[Look, ...]
    best: Look
    stopped: str  # why it ended
    validation_probabilities: NDArray[np.float32]  # (n, labels) of the best look

    def table(self) -> pd.DataFrame:
        """One row a look."""
        return pd.DataFrame([asdict(look) for look in self.history])


def network_seed(seed: int, architecture: str) -> int:
    """The seed of an architecture's training: the same in every run, another for every architecture."""
    return (seed + int(hashlib.sha256(architecture.encode()).hexdigest()[:8], 16)) % 2**31


def total_steps(slices: int, settings: NetworkParams) -> int:
    """Optimiser steps of a whole training with so many slices a pass."""
    return max(round(settings.epochs * slices / settings.batch_size), 1)


def start_network(spec: NetworkSpec, train: CohortSlices, training: TrainingParams) -> Network:
    """A network before training, its head at the best constant answer for this cohort's weighted loss."""
    prevalence = weighted_prevalence(train.truth, class_weights(train.truth, training.class_weight_cap))
    chosen = strategy(training.gpus)
    with scope(chosen):
        network = Network.build(spec, prevalence)
    network.strategy = chosen
    return network


def fit(
    network: Network,
    train: CohortSlices,
    validation: CohortSlices,
    settings: NetworkParams,
    training: TrainingParams,
    on_look: Callable[[Look], None] = lambda look: None,
    track: Track = quiet,
    checkpoint: Checkpoint | None = None,
) -> FitResult:
    """Train ``network`` in place and leave it with the weights of the best look.

    The best look has the highest validation mAP; where validation gives none, the lowest validation loss.
    All chance (order of the slices, augmentation, dropout) comes from ``network.spec.seed``. On one device a training
    that goes on from a checkpoint ends with the same weights, byte for byte, as one that was never stopped.

    Args:
        network: from :func:`start_network`.
        train: training slices.
        validation: looked at ``training.validations`` times, evenly over the training, the last time at its end.
        settings: epochs, batch size and learning rate of this architecture.
        training: what all trainings share.
        on_look: called after every look, while the training goes on; those before a resumed step first.
        track: shows progress over the steps.
        checkpoint: keeps states to resume from, and resumes from the one that it has; the caller removes its
            folder once the result is safe.

    Raises:
        InputError: a setting or the kept state does not fit this network.
        Fault: the loss is not finite, or memory or disk is used up; the last good state is kept.
    """
    run = _Run(network, train, validation, settings, training, on_look, checkpoint)
    kept = checkpoint.path if checkpoint else None
    with told(network.spec.architecture, settings.batch_size, training.accumulate, kept):
        return run.finish(track)


class _Run(keras.callbacks.Callback):
    """One training on its way, by Keras' fit: where it stands, and what it does between two steps."""

    def __init__(
        self,
        network: Network,
        train: CohortSlices,
        validation: CohortSlices,
        settings: NetworkParams,
        training: TrainingParams,
        on_look: Callable[[Look], None],
        checkpoint: Checkpoint | None,
    ) -> None:
        super().__init__()
        self._network, self._train, self._validation = network, train, validation
        self._settings, self._training = settings, training
        self._on_look, self._checkpoint = on_look, checkpoint
        # Of the whole cohort, also where a pass draws fewer negative slices: docs/decisions.md has what was measured.
        self._weights: ClassWeights = class_weights(train.truth, training.class_weight_cap)
        self._a_pass = slices_a_pass(train.truth, training.negatives_per_positive)
        self._total = total_steps(self._a_pass, settings)
        self._frozen = round(settings.frozen_epochs * self._a_pass / settings.batch_size)  # steps
        self._looks = look_steps(self._total, training.validations)
        self._trainer = Trainer(network, settings, training, self._weights)
        self._state = State(0, (), None, None, ())

    def finish(self, track: Track) -> FitResult:
        """Take all steps that are left, then leave the network with the best weights."""
        self._resume()
        start = self._state.step
        words = f"train {self._network.spec.architecture}" + (f", resumed after step {start}" if start else "")
        steps = track(range(start, self._total), words, total=self._total - start)
        with closing(cast(Generator[int], steps)) as self._progress:
            for frozen, end in ((True, self._frozen), (False, self._total)):
                # A state at the very end of the frozen passes is still of their optimiser.
                if self._state.stopped is None and end and self._state.step <= end:
                    self._fit(end, frozen=frozen)
            if self._state.stopped == DONE:
                next(self._progress, None)
        best = self._state.best
        if best is None or self._state.stopped is None:  # the last step looks and ends
            raise RuntimeError("a training ended without a look at the validation set")
        self._network.model.set_weights(list(best.weights))
        return FitResult(self._state.history, best.look, self._state.stopped, best.probabilities)

    def _resume(self) -> None:
        state = self._checkpoint.load() if self._checkpoint else None
        if state is None:
            return
        shapes = [tuple(weight.shape) for weight in self._network.model.weights]
        if state.step > self._total or (state.best is not None and not fitting(state.best.weights, shapes)):
            raise self._of_another()
        self._state = state
        for look in state.history:
            self._on_look(look)

    def _of_another(self) -> InputError:
        path = self._checkpoint.path if self._checkpoint else None
        return InputError(f"{path} is of another network: remove it, and the training begins anew.")

    def _fit(self, end: int, *, frozen: bool) -> None:
        """A phase of the training, or what is left of it: up to a step."""
        begun, training = 0 if frozen else self._frozen, self._training
        self._rate = schedule(self._total, self._settings.learning_rate, training, begun)
        self._trainer.begin(self._rate, frozen=frozen)
        self._begun = begun
        if self._state.variables and not self._trainer.restore(self._state.variables):
            raise self._of_another()
        self._start = self._state.step
        if self._start < end:
            batches = self._batches(range(self._start, end), training.accumulate, self._trainer.augment)
            with exact(self._network.spec.dtype):
                self._trainer.model.fit(batches, shuffle=False, verbose=0, callbacks=[self])  # type: ignore[arg-type]
        self._state = replace(self._state, variables=())

    def _batches(self, steps: range, parts: int = 1, augment: Any = None, other: int = 0) -> Batches:
        seed, size = self._network.spec.seed + other, self._settings.batch_size
        return Batches(self._train, self._a_pass, size, self._training.augmentation, seed, steps, parts, augment)

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        """Put back the mean of the losses as it was kept: Keras has just reset it."""
        self._trainer.restore(self._state.variables)

    def on_train_batch_begin(self, batch: int, logs: Any = None) -> None:
        """Show a step."""
        if batch % self._training.accumulate == 0:
            next(self._progress)

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        """Judge the loss; after a whole step look, and keep the state, where it is time."""
        loss = float(logs["loss"])  # mean since the last look
        if not math.isfinite(loss):
            raise NotFinite(self._start + batch // self._training.accumulate + 1)
        steps, part = divmod(batch + 1, self._training.accumulate)
        if part:
            return
        self._state = replace(self._state, step=self._start + steps, variables=())
        if self._state.step in self._looks:
            self._look(loss)
        elif self._checkpoint is None or not self._checkpoint.due:
            return
        self._keep()

    def _look(self, loss: float) -> None:
        model: Any = self.model  # on JAX, asking for it brings the weights back from the compiled step
        model.reset_metrics()
        step, history = self._state.step, self._state.history
        if count := self._training.batch_norm_batches:
            drawn = self._batches(range(count), other=1)  # the same at every look
            slices = (self._train.hu[drawn.rows(k)].astype(np.float32) for k in range(count))
            re_estimate(self._network.model, self._network.model.get_layer("backbone"), slices)
        probabilities = self._network.probabilities(self._validation.hu)
        if not np.isfinite(probabilities).all():
            raise NotFinite(step)
        look = take_look(
            len(history) + 1,
            step,
            step * self._settings.batch_size / self._a_pass,
            loss,
            float(self._rate((step - 1 - self._begun) * self._training.accumulate)),
            self._validation,
            probabilities,
            self._weights,
        )
        best, stopped = self._state.best, None
        if look.better_than(best and best.look):
            best = Best(look, tuple(self._network.model.get_weights()), probabilities)
        elif best is not None and look.look - best.look.look >= self._training.patience:
            stopped = f"no better validation result in {self._training.patience} looks"
        if step == self._total and stopped is None:
            stopped = DONE
        self._state = replace(self._state, history=(*history, look), best=best, stopped=stopped)
        model.stop_training = stopped is not None
        self._on_look(look)

    def _keep(self) -> None:
        """Keep the state: with all variables while the training goes on, without them at its end."""
        if self._checkpoint is None:
            return
        _: Any = self.model  # as above
        values = self._trainer.variables if self._state.stopped is None else ()
        if not self._checkpoint.save(replace(self._state, variables=values)):
            raise NotFinite(self._state.step)
