"""Pretraining on synthetic heads: a network meets blood in many drawn heads before it sees its first patient.

Others have drawn haemorrhage into synthetic heads to evaluate devices: the FDA's InSilicoICH (DIDSR; intraparenchymal, epidural and
subdural blood in XCAT heads, scanned by XCIST, PyPI gecatsim). Here the heads are drawn to pretrain on.

Nothing here reads a patient. What is learnt in the lower layers (edges of blood, bone and fluid in CT windows) carries over
to patients; the upper layers know how the heads are drawn, so a network is cut before them (``networks.<name>.cut``).
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pandas as pd

from ich_pipeline.config import AugmentationParams, NetworkParams, Params, PretrainParams, TrainingParams
from ich_pipeline.core.progress import Track, quiet
from ich_pipeline.phantom.varied.slices import VariedSlices, varied_slices
from ich_pipeline.training.checkpoint import Checkpoint
from ich_pipeline.training.data import CohortSlices, SliceRows
from ich_pipeline.training.fit import FitResult, fit, network_seed, start_network
from ich_pipeline.training.looks import Look
from ich_pipeline.training.network import Network, NetworkSpec
from ich_pipeline.windowing.windows import clip_range, window_of

POOLING = ("mean", 0.01)  # the mean of the largest hundredth is what tells a layer of a small bright spot


def pretraining_spec(name: str, params: Params) -> NetworkSpec:
    """The network that learns on synthetic heads: cut where ``pretrain.cuts`` says, from random weights."""
    return NetworkSpec(
        architecture=name,
        image_size=params.networks[name].image_size,
        windows=tuple(window_of(window) for window in params.windowing.windows),
        labels=params.label_set.columns,
        weights="none",
        dtype=params.training.dtype,
        batch_norm_momentum=_RECIPE["batch_norm_momentum"],
        seed=network_seed(params.pretrain.seed, name),
        cut=params.pretrain.cuts.get(name),
        pooling=POOLING,
    )


# How a network learns from random weights in minutes: docs/decisions.md has what was measured.
_RECIPE = {
    "optimizer": "adam",
    "weight_decay": 0.0,
    "schedule": "cosine",
    "warmup_fraction": 0.1,
    "gradient_clip_norm": 1.0,
    "class_weight_cap": 3.0,
    "negatives_per_positive": 1.0,
    "batch_norm_momentum": 0.9,
    "batch_norm_batches": 0,
    "validations": 3,
    "patience": 3,
    "augmentation": AugmentationParams(rotation_deg=0, shift=0, zoom=0, shear_deg=0, horizontal_flip=True),
}


def training_of(training: TrainingParams) -> TrainingParams:
    """The recipe, with this machine's devices, number format and checkpoints."""
    return training.model_copy(update=_RECIPE)


def settings_of(network: NetworkParams, pretrain: PretrainParams) -> NetworkParams:
    """What the training of one network needs of its own."""
    return network.model_copy(
        update={
            "epochs": pretrain.epochs,
            "batch_size": pretrain.batch_size,
            "learning_rate": pretrain.learning_rate,
            "weights": "none",
            "frozen_layers": 0.0,
            "frozen_epochs": 0.0,
        }
    )


def pretrain(
    name: str,
    params: Params,
    track: Track = quiet,
    on_look: Callable[[Look], None] = lambda look: None,
    checkpoint: Checkpoint | None = None,
) -> tuple[Network, FitResult]:
    """Let a network learn on synthetic heads; the same parameters give the same bytes on one machine.

    Args:
        name: the architecture, one of ``params.networks``.
        params: pretrain, windowing, labels, the network's picture size, and the machine's part of training.
        track: shows progress.
        on_look: called after every look at heads that it does not learn from.
        checkpoint: goes on from the state that it keeps.

    Raises:
        InputError: a configured subtype that the phantom cannot draw, or a layer that the network does not have.
        Fault: memory or disk is used up, or the loss is no number.
    """
    settings, training = settings_of(params.networks[name], params.pretrain), training_of(params.training)
    spec = pretraining_spec(name, params)
    train, validation = heads(params, spec.image_size, track)
    network = start_network(spec, train, training)
    return network, fit(network, train, validation, settings, training, on_look, track, checkpoint)


def heads(params: Params, image_size: int, track: Track = quiet) -> tuple[CohortSlices, CohortSlices]:
    """Slices to train on, and those of other heads to look at, in HU clipped to the union of the windows.

    Raises:
        InputError: a configured subtype that the phantom cannot draw.
    """
    settings = params.pretrain
    drawn = varied_slices(
        params.label_set,
        patients=settings.patients,
        slices=settings.slices,
        size=image_size,
        positive_fraction=settings.positive_fraction,
        faint_fraction=settings.faint_fraction,
        seed=settings.seed,
        variation=settings.variation,
        track=track,
        workers=params.ingest.workers or None,
    )
    np.clip(drawn.hu, *clip_range(params.windowing.windows), out=drawn.hu)
    known = np.unique(drawn.patients)
    looked_at = np.isin(drawn.patients, known[: settings.validation_patients])
    return _cohort(drawn, np.flatnonzero(~looked_at)), _cohort(drawn, np.flatnonzero(looked_at))


def _cohort(drawn: VariedSlices, rows: np.ndarray) -> CohortSlices:
    table = pd.DataFrame({"patient_key": drawn.patients[rows].astype(str)})
    alone = np.full((len(rows), 2), -1, np.int64)  # no slice interpolation while a network learns
    return CohortSlices(table, SliceRows(drawn.hu, rows), alone, drawn.truth[rows])
