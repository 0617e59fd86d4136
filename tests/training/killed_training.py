"""A training in a process of its own, which the resume test kills: ``killed_training.py FOLDER KILL_AT``.

With KILL_AT above 0 the process ends itself by SIGKILL half way through writing that checkpoint; nothing is kept with KILL_AT -1. All that a state must
hold is in play: frozen first passes, parts of a batch, augmentation, re-estimated BatchNorm, weight decay, looks.
"""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import tiny  # noqa: F401  registers the backbone

from ich_pipeline.config import AugmentationParams, NetworkParams, TrainingParams, load_params
from ich_pipeline.core.progress import Track, quiet
from ich_pipeline.training import checkpoint
from ich_pipeline.training.backbones import build_backbone
from ich_pipeline.training.data import CohortSlices, SliceRows
from ich_pipeline.training.fit import FitResult, fit, start_network
from ich_pipeline.training.network import Network, NetworkSpec
from ich_pipeline.windowing.windows import Window

PHANTOM = Path(__file__).parents[2] / "ich_pipeline" / "profiles" / "phantom.yaml"
WINDOWS = (Window("brain", 40, 80), Window("subdural", 80, 200))
EVERY_STEP = 0.0


def settings(folder: Path) -> tuple[NetworkParams, TrainingParams]:
    """Seven steps, the first two with a frozen backbone; looks after the fourth and the last."""
    network = NetworkParams(
        image_size=32,
        epochs=1.75,
        batch_size=8,
        learning_rate=0.002,
        weights=str(folder / "start.weights.h5"),
        frozen_epochs=0.5,
    )
    ranges = AugmentationParams(rotation_deg=9, shift=0.1, zoom=0.1, shear_deg=2, horizontal_flip=True)
    changes: dict[str, Any] = {
        "optimizer": "adamw", "weight_decay": 0.01, "accumulate": 2, "batch_norm_batches": 1, "validations": 2,
        "augmentation": ranges, "negatives_per_positive": None,
    }  # fmt: skip
    return network, load_params(PHANTOM).training.model_copy(update=changes)


def spots(count: int) -> CohortSlices:
    """Grey squares, some with a bright spot left or right."""
    draw = np.random.default_rng(0)
    hu = draw.normal(30, 4, (count, 32, 32))
    kind = np.arange(count) % 3
    hu[kind == 1, 8:14, 3:9] = 70
    hu[kind == 2, 8:14, 22:28] = 70
    truth = np.stack([kind > 0, kind == 1, kind == 2], axis=1).astype(np.int8)
    keys = [f"1.{k}" for k in range(count)]
    table = pd.DataFrame({"SOPInstanceUID": keys, "patient_key": keys})
    return CohortSlices(table, SliceRows(hu.round().astype(np.int16), np.arange(count)), np.full((count, 2), -1), truth)


def start_weights(folder: Path) -> None:
    """The file that the training begins with."""
    build_backbone("tinynet", 32, "none", "float32").save_weights(folder / "start.weights.h5")


def train(folder: Path, state: Path | None, track: Track = quiet) -> tuple[Network, FitResult]:
    """The training, from the state in a folder where there is one."""
    network_settings, training = settings(folder)
    spec = NetworkSpec(
        "tinynet",
        32,
        WINDOWS,
        ("any", "left", "right"),
        network_settings.weights,
        "float32",
        0.9,
        5,
        trainable_windows=True,
    )
    slices = spots(32)
    keeping = None if state is None else checkpoint.Checkpoint(state, EVERY_STEP)
    network = start_network(spec, slices, training)
    return network, fit(network, slices, slices, network_settings, training, track=track, checkpoint=keeping)


def kill_while_writing(number: int) -> None:
    """End this process by SIGKILL when the checkpoint of this number is half written."""
    whole, count = np.savez, 0

    def half(file: Any, **arrays: Any) -> None:
        nonlocal count
        count += 1
        if count == number:
            whole(file, **dict(list(arrays.items())[: len(arrays) // 2]))
            file.flush()
            os.kill(os.getpid(), signal.SIGKILL)
        whole(file, **arrays)

    checkpoint.np.savez = half  # type: ignore[assignment]


if __name__ == "__main__":
    place, kill_at = Path(sys.argv[1]), int(sys.argv[2])
    if kill_at > 0:
        kill_while_writing(kill_at)
    trained, result = train(place, place / "state" if kill_at >= 0 else None)
    (place / sys.argv[2]).mkdir()
    trained.save(place / sys.argv[2])
    result.table().to_csv(place / sys.argv[2] / "history.csv")
