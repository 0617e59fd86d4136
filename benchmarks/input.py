"""Does input keep the device waiting? The share of a training's time that goes to waiting for the next batch.

Read one batch ahead, as training does, against reading each batch when it is wanted. Prints both shares and their
ratio; run as ``python benchmarks/input.py [ARCHITECTURE [PIXELS [BATCH [PROFILE]]]]``, the profile for the number format.
The slices are a memory map on disk.
"""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from pathlib import Path

from noise import device_name, noise_slices, started

from ich_pipeline.config import load_params
from ich_pipeline.training.backend import keras
from ich_pipeline.training.sampling import Batch, Sampler, ahead

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
        _, trainer = started(architecture, settings, params, slices)

        def waiting(read: Callable[[Iterable[Batch]], Iterator[Batch]]) -> tuple[float, float]:
            batches = read(islice(Sampler(slices, SLICES, batch, ranges, 1), STEPS + WARM_UP))
            waited, started = 0.0, 0.0
            for step in range(STEPS + WARM_UP):
                if step == WARM_UP:
                    waited, started = 0.0, time.perf_counter()
                asked = time.perf_counter()
                item = next(batches)
                waited += time.perf_counter() - asked
                trainer.step(item, 1e-4)
            total = time.perf_counter() - started
            return waited / total, STEPS * batch / total

        print(
            f"{architecture}, {size} pixels, batches of {batch}, {params.training.dtype}, from a memory map of "
            f"{path.stat().st_size / 1e6:.0f} MB; {keras.backend.backend()} on {device_name()}:"
        )
        plain, plain_rate = waiting(iter)
        early, early_rate = waiting(ahead)
        print(f"  read when wanted     {plain:.2%} of the time waiting, {plain_rate:.0f} slices/s")
        print(f"  read one batch ahead {early:.2%} of the time waiting, {early_rate:.0f} slices/s")
        print(f"  waiting {plain / max(early, 1e-9):.1f} times shorter")


if __name__ == "__main__":
    name, pixels, slices_a_batch, given = [*sys.argv[1:], *("resnet50", "96", "16", "phantom")[len(sys.argv) - 1 :]]
    main(name, int(pixels), int(slices_a_batch), given)
