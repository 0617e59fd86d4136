"""Training of a head on a network's frozen features: seeded; validation chooses the epoch, "before training" among them."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ich_pipeline.config import SequenceParams
from ich_pipeline.core.errors import Fault
from ich_pipeline.core.progress import Track, quiet
from ich_pipeline.sequence.cases import Batch, batch_of, padded_length, rows_of_cases
from ich_pipeline.sequence.head import HeadSpec, SequenceHead
from ich_pipeline.training.data import CohortSlices
from ich_pipeline.training.looks import Look, take_look
from ich_pipeline.training.loss import ClassWeights, class_weights, mean_loss, weighted_binary_crossentropy
from ich_pipeline.training.optimizer import FusedAdam

CLIP_NORM = 1.0  # of the gradient: recurrent networks are known for a rare huge one
BLOCK = 4096  # slices whose features are in memory at once


@dataclass(frozen=True)
class CohortSequences:
    """All slices of a cohort's cases, also those without labels: they are context for the others.

    Attributes:
        features: float32 (n, F); may be a memory map.
        logits: float32 (n, labels), of the network alone.
        case_index: (n,) case of each slice; the slices of a case come in order of position.
        labelled: bool (n,).
        cohort: the labelled slices, in the same order.
    """

    features: NDArray[np.float32]
    logits: NDArray[np.float32]
    case_index: NDArray[np.integer]
    labelled: NDArray[np.bool_]
    cohort: CohortSlices


@dataclass(frozen=True)
class FitResult:
    """What a training leaves: the head with the weights of the best epoch, all looks, and its validation answers.

    ``history`` begins with the network alone (look 1, epoch 0). ``validation`` is (labelled slices, labels).
    """

    head: SequenceHead
    history: tuple[Look, ...]
    best: Look
    validation: NDArray[np.float32]

    def table(self) -> pd.DataFrame:
        """One row a look."""
        return pd.DataFrame([asdict(look) for look in self.history])


def fit_head(
    spec: HeadSpec,
    train: CohortSequences,
    validation: CohortSequences,
    params: SequenceParams,
    class_weight_cap: float,
    on_look: Callable[[Look], None] = lambda look: None,
    track: Track = quiet,
) -> FitResult:
    """Train a head; validation is looked at after every epoch, and before the first.

    The epoch with the highest validation mAP is kept; where validation gives none, the one with the lowest validation loss.
    The network saw the training slices and is surer of them than of others, so a head that fits them closely trusts the
    network too much: few units and dropout are there against it, and the epoch is chosen on other patients.

    Raises:
        Fault: the loss or an answer is not finite.
    """
    head = SequenceHead.build(spec, *_scale(train.features))
    weights = class_weights(train.cohort.truth, class_weight_cap)
    optimizer = FusedAdam(learning_rate=params.learning_rate, global_clipnorm=CLIP_NORM)
    head.model.compile(optimizer=optimizer, loss=weighted_binary_crossentropy(weights))
    draw = np.random.default_rng(spec.seed)

    def look(epoch: int, step: int, loss: float) -> tuple[Look, NDArray[np.float32]]:
        answers = head.probabilities(validation.features, validation.logits, validation.case_index)
        answers = answers[validation.labelled]
        if not np.isfinite(answers).all():
            raise _not_finite(spec, f"answers after epoch {epoch} were")
        found = take_look(epoch + 1, step, epoch, loss, params.learning_rate, validation.cohort, answers, weights)
        on_look(found)
        return found, answers

    best, answers = look(0, 0, _loss_alone(train, weights))
    history, kept, step = [best], head.model.get_weights(), 0
    for epoch in track(range(1, params.epochs + 1), f"sequence head of {spec.architecture}", total=params.epochs):
        losses = []
        for batch, truth, weight in _batches(train, params.batch_cases, draw):
            step += 1
            losses.append(float(head.model.train_on_batch(batch.inputs, truth, sample_weight=weight)))
            if not math.isfinite(losses[-1]):
                raise _not_finite(spec, f"loss of step {step} was")
        found, given = look(epoch, step, float(np.mean(losses)))
        history.append(found)
        if found.better_than(best):
            best, answers, kept = found, given, head.model.get_weights()
        elif found.look - best.look >= params.patience:
            break
    # A head of its own: the file also holds the state of dropout, which the last epoch moved on.
    done = SequenceHead.build(dataclasses.replace(spec, epoch=round(best.epoch)))
    done.model.set_weights(kept)
    return FitResult(done, tuple(history), best, answers)


def _not_finite(spec: HeadSpec, what: str) -> Fault:
    return Fault(
        f"the {what} not finite in the sequence head of {spec.architecture}: lower sequence.learning_rate in params.yaml, or "
        f"take {spec.architecture} out of sequence.architectures; the stage then begins anew."
    )


def _scale(features: NDArray[np.float32]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Mean and variance of each feature, read in blocks."""
    total, squares = np.zeros((2, features.shape[1]))
    for start in range(0, len(features), BLOCK):
        block = features[start : start + BLOCK].astype(np.float64)
        total += block.sum(axis=0)
        squares += (block * block).sum(axis=0)
    mean = total / len(features)
    return mean, np.maximum(squares / len(features) - mean * mean, 0)


def _loss_alone(train: CohortSequences, weights: ClassWeights) -> float:
    logits = train.logits[train.labelled].astype(np.float64)
    return mean_loss(train.cohort.truth, 1 / (1 + np.exp(-logits)), weights)


def _batches(
    train: CohortSequences, size: int, draw: np.random.Generator
) -> Iterator[tuple[Batch, NDArray[np.float32], NDArray[np.float32]]]:
    """One pass over the cases in a drawn order: inputs, truth (b, t, labels) and weight (b, t) of each slice.

    Weights are 0 without labels or in the padding, and their mean over the batch is 1: Keras divides by all places, and
    the loss is to be the mean over the labelled slices.
    """
    cases = rows_of_cases(train.case_index)
    position = np.cumsum(train.labelled) - 1  # of a labelled row in the truth
    order = draw.permutation(len(cases))
    for start in range(0, len(order), size):
        chosen = [cases[i] for i in order[start : start + size]]
        length = padded_length(max(map(len, chosen)))
        batch = batch_of(train.features, train.logits, chosen, size, length)
        truth = np.zeros((size, length, train.cohort.truth.shape[1]), np.float32)
        weight = np.zeros((size, length), np.float32)
        for at, rows in enumerate(chosen):
            places = np.flatnonzero(train.labelled[rows])
            truth[at, places] = train.cohort.truth[position[rows[places]]]
            weight[at, places] = 1
        yield batch, truth, weight * (weight.size / weight.sum())
