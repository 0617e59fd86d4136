"""Does input keep the device waiting? The share of a training's time that goes to waiting for the next batch.

A step with batches read ahead, as training does, against one whose batch lies ready. Run as ``python benchmarks/input.py [ARCHITECTURE [PIXELS [BATCH [PROFILE]]]]``, the profile for the number format.
The slices are a memory map on disk.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path
from typing import Any

from noise import device_name, noise_slices, started, timed

from ich_pipeline.config import load_params
from ich_pipeline.training.backend import keras
from ich_pipeline.training.sampling import Batches

STEPS = 12
PROFILES = Path(__file__).parent.parent / "ich_pipeline" / "profiles"
WARM_UP = 2  # steps that compile
SLICES = 2000


def main(architecture: str, size: int, batch: int, profile: str) -> None:
    """Train a few steps either way on noise."""
    params = load_params(PROFILES / f"{profile}.yaml")
    ranges = params.training.augmentation.model_copy(update={"rotation_deg": 15, "shift": 0.1})
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "hu.npy"
        slices = noise_slices(path, SLICES, size, params.label_set.columns)
        settings = next(iter(params.networks.values())).model_copy(
            update={"batch_size": batch, "image_size": size, "weights": "none"}
        )
        network, trainer = started(architecture, settings, params, slices)

        def seconds(batches: keras.utils.PyDataset) -> float:
            return timed(network, trainer, batches).seconds(WARM_UP)

        read = Batches(slices, SLICES, batch, ranges, 1, range(STEPS + WARM_UP), augment=trainer.augment)
        print(
            f"{architecture}, {size} pixels, batches of {batch}, {params.training.dtype}, from a memory map of "
            f"{path.stat().st_size / 1e6:.0f} MB; {keras.backend.backend()} on {device_name()}:"
        )
        held, ahead = seconds(_Held(read)), seconds(read)
        print(f"  one batch again and again {1000 * held:.1f} ms a step")
        print(f"  read one batch ahead      {1000 * ahead:.1f} ms a step, {batch / ahead:.0f} slices/s")
        print(f"  waiting for input         {max(1 - held / ahead, 0):.1%} of the time")


class _Held(keras.utils.PyDataset):
    """The first batch in place of each: nothing is read."""

    def __init__(self, batches: Batches) -> None:
        super().__init__(workers=1)
        self._first, self._count = batches[0], len(batches)

    def __len__(self) -> int:
        return self._count

    def __getitem__(self, index: int) -> Any:
        return self._first


if __name__ == "__main__":
    name, pixels, slices_a_batch, given = [*sys.argv[1:], *("resnet50", "96", "16", "phantom")[len(sys.argv) - 1 :]]
    main(name, int(pixels), int(slices_a_batch), given)
