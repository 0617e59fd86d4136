"""Training of one network: seeded, with looks at the validation set, keeping the best weights; goes on where it was killed."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from contextlib import closing
from dataclasses import asdict, dataclass, replace
from itertools import islice
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ich_pipeline.config import NetworkParams, TrainingParams
from ich_pipeline.errors import InputError
from ich_pipeline.progress import Track, quiet
from ich_pipeline.training.batch_norm import re_estimate
from ich_pipeline.training.checkpoint import Best, Checkpoint, State
from ich_pipeline.training.data import CohortSlices
from ich_pipeline.training.devices import scope, strategy
from ich_pipeline.training.faults import NotFinite, told
from ich_pipeline.training.looks import Look, look_steps, take_look
from ich_pipeline.training.loss import ClassWeights, class_weights, weighted_prevalence
from ich_pipeline.training.network import Network, NetworkSpec
from ich_pipeline.training.sampling import Sampler, SamplerState, ahead, slices_a_pass
from ich_pipeline.training.schedule import learning_rate
from ich_pipeline.training.trainer import Trainer, checked


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


class _Run:
    """One training on its way: where it stands, and how it takes a step, a look, and its end."""

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
        self._network, self._train, self._validation = network, train, validation
        self._settings, self._training = settings, training
        self._on_look, self._checkpoint = on_look, checkpoint
        # Of the whole cohort, also where a pass draws fewer negative slices: docs/decisions.md has what was measured.
        self._weights: ClassWeights = class_weights(train.truth, training.class_weight_cap)
        self._a_pass = slices_a_pass(train.truth, training.negatives_per_positive)
        self._total = total_steps(self._a_pass, settings)
        self._frozen = round(settings.frozen_epochs * self._a_pass / settings.batch_size)  # steps
        self._trainer = Trainer(network, settings, training, self._weights)
        self._state = State(0, (), (), self._sampler().state, None, None, ())

    def finish(self, track: Track) -> FitResult:
        """Take all steps that are left, then leave the network with the best weights."""
        self._resume()
        if self._state.stopped is None:
            self._take_steps(track)
        best = self._state.best
        if best is None or self._state.stopped is None:  # the last step looks and ends
            raise RuntimeError("a training ended without a look at the validation set")
        self._network.model.set_weights(list(best.weights))
        return FitResult(self._state.history, best.look, self._state.stopped, best.probabilities)

    def _resume(self) -> None:
        state = self._checkpoint.load() if self._checkpoint else None
        if state is None:
            self._trainer.begin(frozen=self._frozen > 0)
            return
        if state.stopped is None:
            # A state at the very end of the frozen passes is still of their optimiser.
            self._trainer.begin(frozen=self._frozen > 0 and state.step <= self._frozen)
            fits = self._trainer.restore(state.variables)
        else:
            fits = state.best is not None and len(state.best.weights) == len(self._network.model.weights)
        if not fits or state.step > self._total:
            assert self._checkpoint is not None
            raise InputError(f"{self._checkpoint.path} is of another network: remove it, and the training begins anew.")
        self._state = state
        for look in state.history:
            self._on_look(look)

    def _take_steps(self, track: Track) -> None:
        name, start = self._network.spec.architecture, self._state.step
        looks = look_steps(self._total, self._training.validations)
        words = f"train {name}" + (f", resumed after step {start}" if start else "")
        with closing(ahead(islice(self._sampler(self._state.sampler), self._total - start))) as batches:  # type: ignore[type-var]
            for step in track(range(start, self._total), words, total=self._total - start):
                if step == self._frozen and step > 0:
                    self._trainer.begin(frozen=False)
                batch = next(batches)
                rate = learning_rate(step, self._total, self._settings.learning_rate, self._training)
                loss = checked(self._trainer.step(batch, rate), step + 1)
                self._state = replace(
                    self._state, step=step + 1, losses=(*self._state.losses, loss), sampler=batch.after
                )
                if step + 1 in looks:
                    self._look(rate)
                if self._state.stopped is not None:
                    break
                self._keep(variables=True)
        self._keep(variables=False)

    def _look(self, rate: float) -> None:
        step, history = self._state.step, self._state.history
        count = self._training.batch_norm_batches
        if count:
            backbone = self._network.model.get_layer("backbone")
            slices = (self._train.hu[chosen].astype(np.float32) for chosen in self._statistics_batches(count))
            re_estimate(self._network.model, backbone, slices)
        probabilities = self._network.probabilities(self._validation.hu)
        if not np.isfinite(probabilities).all():
            raise NotFinite(step)
        look = take_look(
            len(history) + 1,
            step,
            step * self._settings.batch_size / self._a_pass,
            float(np.mean(self._state.losses)),
            rate,
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
            stopped = "all steps done"
        self._state = replace(self._state, history=(*history, look), losses=(), best=best, stopped=stopped)
        self._on_look(look)

    def _keep(self, *, variables: bool) -> None:
        """Keep the state: with all variables while the training goes on and it is time, without them at its end."""
        if self._checkpoint is None or (variables and not self._checkpoint.due):
            return
        values = self._trainer.variables if variables else ()
        if not self._checkpoint.save(replace(self._state, variables=values)):
            raise NotFinite(self._state.step)

    def _sampler(self, state: SamplerState | None = None, other: int = 0) -> Sampler:
        seed, size = self._network.spec.seed + other, self._settings.batch_size
        return Sampler(self._train, self._a_pass, size, self._training.augmentation, seed, state)

    def _statistics_batches(self, count: int) -> list[NDArray[Any]]:
        """The same slices at every look, drawn as training draws them."""
        sampler = self._sampler(other=1)
        return [sampler.draw() for _ in range(count)]
