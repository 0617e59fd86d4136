"""What does this device do with the networks? Speed by number format, equal bytes of two trainings, agreement with the CPU.

Run as ``python benchmarks/card.py [ARCHITECTURE [PIXELS [BATCH]]]`` on a machine with a graphics card; also under
``KERAS_BACKEND=jax``. Slices are noise, weights random. Prints

* the time of an optimiser step in each number format, as a ratio to float32's;
* whether two trainings from one seed end with the same bytes;
* the largest difference between the probabilities that this device and the CPU give with the same weights.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from noise import device_name, noise_slices, started, timed

from ich_pipeline.config import NetworkParams, Params, load_params
from ich_pipeline.training.backend import keras
from ich_pipeline.training.data import CohortSlices
from ich_pipeline.training.network import Network
from ich_pipeline.training.sampling import Batches
from ich_pipeline.training.trainer import Trainer

DTYPES = ("float32", "mixed_bfloat16", "mixed_float16")
STEPS, WARM_UP = 10, 3
REPEATED = 6  # steps of each of the two trainings
JUDGED = 32  # slices
# The CPU's answers, in a process that sees no card.
ON_CPU = (
    "import sys; from pathlib import Path; import numpy as np\n"
    "from ich_pipeline.training.network import Network; f = Path(sys.argv[1])\n"
    "np.save(f / 'cpu.npy', Network.load(f).probabilities(np.load(f / 'hu.npy')))\n"
)


def main(architecture: str, size: int, batch: int) -> None:
    """Print the three answers."""
    params = load_params(Path(__file__).parent.parent / "ich_pipeline" / "profiles" / "paper.yaml")
    settings = next(iter(params.networks.values()))
    settings = settings.model_copy(update={"batch_size": batch, "image_size": size, "weights": "none"})
    print(f"{architecture}, {size} pixels, batches of {batch}; {keras.backend.backend()} on {device_name()}")
    with tempfile.TemporaryDirectory() as folder:
        slices = noise_slices(Path(folder) / "hu.npy", batch * (STEPS + WARM_UP), size, params.label_set.columns)
        _formats(architecture, settings, params, slices)
        _twice(architecture, settings, params, slices)
        _beside_cpu(architecture, settings, params, slices, Path(folder))


def _begun(
    architecture: str, dtype: str, settings: NetworkParams, params: Params, slices: CohortSlices, steps: int
) -> tuple[Network, Trainer, Batches]:
    training = params.training.model_copy(update={"dtype": dtype})
    network, trainer = started(architecture, settings, params.model_copy(update={"training": training}), slices)
    size, ranges = settings.batch_size, training.augmentation
    return network, trainer, Batches(slices, len(slices), size, ranges, 1, range(steps), augment=trainer.augment)


def _formats(architecture: str, settings: NetworkParams, params: Params, slices: CohortSlices) -> None:
    first = None
    for dtype in DTYPES:
        clock = timed(*_begun(architecture, dtype, settings, params, slices, STEPS + WARM_UP))
        took = clock.seconds(WARM_UP)
        first = first or took
        print(
            f"  {dtype}: {1000 * took:.1f} ms a step, {first / took:.2f} times float32's speed; mean loss {clock.loss:.4f}"
        )


def _twice(architecture: str, settings: NetworkParams, params: Params, slices: CohortSlices) -> None:
    for dtype in DTYPES[:2]:
        ends = []
        for _ in range(2):
            network, trainer, batches = _begun(architecture, dtype, settings, params, slices, REPEATED)
            trainer.begin(1e-3, frozen=False)
            timed(network, trainer, batches)
            ends.append(trainer.variables)
        unequal = sum(a.tobytes() != b.tobytes() for a, b in zip(*ends, strict=True))
        said = "the same bytes" if not unequal else f"{unequal} of {len(ends[0])} variables differ"
        print(f"  two trainings of {REPEATED} steps in {dtype}: {said}", flush=True)


def _beside_cpu(architecture: str, settings: NetworkParams, params: Params, slices: CohortSlices, folder: Path) -> None:
    network, _, _ = _begun(architecture, "float32", settings, params, slices, 0)
    hu = np.asarray(slices.hu[:JUDGED], np.float32)
    _spread(network, hu)
    here = network.probabilities(hu)
    network.save(folder)
    np.save(folder / "hu.npy", hu)
    alone = {**os.environ, "CUDA_VISIBLE_DEVICES": "", "JAX_PLATFORMS": "cpu"}
    subprocess.run([sys.executable, "-c", ON_CPU, str(folder)], env=alone, check=True)
    difference = np.abs(here - np.load(folder / "cpu.npy")).max()
    print(
        f"  {JUDGED} slices here and on the CPU, float32: probabilities of {here.min():.2f} to {here.max():.2f} differ by {difference:.1e} at most"
    )


def _spread(network: Network, hu: np.ndarray[Any, Any]) -> None:
    """Give the head weights that spread the answers over 0 to 1, so that a difference shows."""
    head: Any = network.model.get_layer("head")
    pooled = keras.Model(network.model.inputs, network.model.get_layer("gap").output)
    features = network.run_batched(pooled, hu)[0]
    drawn = np.random.default_rng(1).normal(0, 1, head.get_weights()[0].shape)
    logits = features @ drawn
    scale = 2 / np.maximum(logits.std(axis=0), 1e-9)
    head.set_weights([drawn * scale, -(logits * scale).mean(axis=0)])


if __name__ == "__main__":
    name, pixels, slices_a_batch = [*sys.argv[1:], *("inception_v3", "299", "32")[len(sys.argv) - 1 :]]
    main(name, int(pixels), int(slices_a_batch))
