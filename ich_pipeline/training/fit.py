"""Training of one network: seeded, with looks at the validation set, keeping the best weights."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ich_pipeline.config import NetworkParams, TrainingParams
from ich_pipeline.errors import InputError
from ich_pipeline.progress import Track, quiet
from ich_pipeline.training.augmentation import Augment, draw_transforms
from ich_pipeline.training.backend import keras
from ich_pipeline.training.data import CohortSlices
from ich_pipeline.training.loss import class_weights, mean_loss, weighted_binary_crossentropy, weighted_prevalence
from ich_pipeline.training.network import Network, NetworkSpec
from ich_pipeline.training.optimizer import make_optimizer
from ich_pipeline.training.schedule import learning_rate
from ich_pipeline.windowing import clip_range


@dataclass(frozen=True)
class Look:
    """One look at the validation set. A figure that the cohort cannot give is None."""

    look: int  # from 1
    step: int  # optimiser steps so far
    epoch: float  # passes over the training slices so far
    loss: float  # mean training loss since the last look
    val_loss: float
    val_map: float | None  # mean average precision over the subtypes with positives in at least two patients
    val_auc_any: float | None
    learning_rate: float  # of the last step


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


def slices_a_pass(truth: NDArray[np.int8], negatives_per_positive: float | None) -> int:
    """Slices in one pass: all of them, or every positive one and so many times as many negative ones.

    Args:
        truth: (n, labels); column 0 is "any".
        negatives_per_positive: None for all slices, as in the paper.
    """
    positives = int(truth[:, 0].sum())
    if negatives_per_positive is None or positives == 0:
        return len(truth)
    return positives + min(round(negatives_per_positive * positives), len(truth) - positives)


def total_steps(slices: int, settings: NetworkParams) -> int:
    """Optimiser steps of a whole training with so many slices a pass."""
    return max(round(settings.epochs * slices / settings.batch_size), 1)


def start_network(spec: NetworkSpec, train: CohortSlices, training: TrainingParams) -> Network:
    """A network before training, its head at the best constant answer for this cohort's weighted loss."""
    return Network.build(spec, weighted_prevalence(train.truth, class_weights(train.truth, training.class_weight_cap)))


def fit(
    network: Network,
    train: CohortSlices,
    validation: CohortSlices,
    settings: NetworkParams,
    training: TrainingParams,
    on_look: Callable[[Look], None] = lambda look: None,
    track: Track = quiet,
) -> FitResult:
    """Train ``network`` in place and leave it with the weights of the best look.

    The best look has the highest validation mAP; where validation gives none, the lowest validation loss.
    All chance (order of the slices, augmentation, dropout) comes from ``network.spec.seed``.

    Args:
        network: from :func:`start_network`.
        train: training slices.
        validation: looked at ``training.validations`` times, evenly over the training, the last time at its end.
        settings: epochs, batch size and learning rate of this architecture.
        training: what all trainings share.
        on_look: called after every look, while the training goes on.
        track: shows progress over the steps.

    Raises:
        InputError: the loss is not finite before the first look (after it, training ends with the best weights so far
            and ``stopped`` says so).
    """
    spec = network.spec
    # Of the whole cohort, also where a pass draws fewer negative slices: docs/decisions.md has what was measured.
    weights = class_weights(train.truth, training.class_weight_cap)
    a_pass = slices_a_pass(train.truth, training.negatives_per_positive)
    model = _training_model(network, training)
    no_xla: Any = False  # the affine transform has no XLA kernel
    model.compile(optimizer=make_optimizer(training), loss=weighted_binary_crossentropy(weights), jit_compile=no_xla)
    optimizer: Any = model.optimizer
    total = total_steps(a_pass, settings)
    look_steps = {round(total * (k + 1) / training.validations) for k in range(training.validations)} - {0}
    generator = np.random.default_rng([spec.seed, 1])
    batches = _batches(train.truth, a_pass, settings.batch_size, np.random.default_rng([spec.seed, 2]))

    history: list[Look] = []
    losses: list[float] = []
    best: tuple[Look, list[NDArray[Any]], NDArray[np.float32]] | None = None
    stopped = "all steps done"
    for step in track(range(total), f"train {spec.architecture}", total=total):
        chosen = next(batches)
        rate = learning_rate(step, total, settings.learning_rate, training)
        optimizer.learning_rate = rate
        transforms = draw_transforms(generator, len(chosen), spec.image_size, training.augmentation)
        hu = train.hu[chosen].astype(np.float32)
        losses.append(float(model.train_on_batch([hu, transforms], train.truth[chosen].astype(np.float32))))
        if not math.isfinite(losses[-1]):
            stopped = f"the loss of step {step + 1} was not finite"
            break
        if step + 1 not in look_steps:
            continue
        probabilities = network.probabilities(validation.hu)
        epoch = (step + 1) * settings.batch_size / a_pass
        look = _look(
            len(history) + 1, step + 1, epoch, float(np.mean(losses)), rate, validation, probabilities, weights
        )
        losses.clear()
        history.append(look)
        on_look(look)
        if best is None or _better(look, best[0]):
            best = (look, network.model.get_weights(), probabilities)
        elif look.look - best[0].look >= training.patience:
            stopped = f"no better validation result in {training.patience} looks"
            break
    if best is None:
        raise InputError(
            f"params.yaml: networks.{spec.architecture}.learning_rate {settings.learning_rate:g}: {stopped}, before the first "
            "look at the validation set; lower it or training.gradient_clip_norm."
        )
    network.model.set_weights(best[1])
    return FitResult(tuple(history), best[0], stopped, best[2])


def _training_model(network: Network, training: TrainingParams) -> keras.Model:
    """The network behind the augmentation; shares its weights."""
    size = network.spec.image_size
    hu = keras.Input((size, size), dtype="float32", name="hu")
    transforms = keras.Input((8,), dtype="float32", name="transforms")
    fill = clip_range(network.spec.windows)[0]
    return keras.Model([hu, transforms], network.model(Augment(fill, name="augment")(hu, transforms)))


def _batches(
    truth: NDArray[np.int8], a_pass: int, size: int, generator: np.random.Generator
) -> Iterator[NDArray[np.int64]]:
    """Endless batches of equal size over shuffled passes; a batch may end one pass and begin the next.

    Every pass holds all positive slices and draws its own negative ones, so that over the passes all are seen.
    """
    positive, negative = np.flatnonzero(truth[:, 0]), np.flatnonzero(truth[:, 0] == 0)
    waiting = np.empty(0, np.int64)
    while True:
        while len(waiting) < size:
            drawn = generator.permutation(negative)[: a_pass - len(positive)]
            waiting = np.concatenate([waiting, generator.permutation(np.concatenate([positive, drawn]))])
        yield waiting[:size]
        waiting = waiting[size:]


def _look(
    number: int,
    step: int,
    epoch: float,
    loss: float,
    rate: float,
    validation: CohortSlices,
    probabilities: NDArray[np.float32],
    weights: Any,
) -> Look:
    from sklearn.metrics import average_precision_score, roc_auc_score

    truth = validation.truth
    # One patient's slices tell nothing of the next patient: such a finding has no part in choosing the weights.
    patients = validation.table["patient_key"].to_numpy()
    estimable = [k for k in range(1, truth.shape[1]) if len(set(patients[truth[:, k] > 0])) >= 2]
    precisions = [float(average_precision_score(truth[:, k], probabilities[:, k])) for k in estimable]
    both_kinds = 0 < truth[:, 0].sum() < len(truth)
    return Look(
        look=number,
        step=step,
        epoch=epoch,
        loss=loss,
        val_loss=mean_loss(truth, probabilities, weights),
        val_map=float(np.mean(precisions)) if precisions else None,
        val_auc_any=float(roc_auc_score(truth[:, 0], probabilities[:, 0])) if both_kinds else None,
        learning_rate=rate,
    )


def _better(look: Look, best: Look) -> bool:
    if look.val_map is None or best.val_map is None:
        return look.val_loss < best.val_loss
    return look.val_map > best.val_map
