"""How long would a profile's trainings take on this device? A measured step, times the steps: an estimate until they are run.

Run as ``python benchmarks/hours.py [PROFILE [CASES [SLICES_A_CASE [BATCH]]]]``; by default the ``paper`` profile and the 704
training cases of Lee et al. 2019 with 40 slices each; 200 more are the validation cohort. A BATCH smaller than the
profile's is for devices with less memory: the steps are then as many more. Slices are noise in a memory map, weights random;
both cost what real ones do. Also for another backend: ``KERAS_BACKEND=jax``.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from noise import device_name, noise_slices, started, timed
from timing import seconds

from ich_pipeline.config import Params, load_params
from ich_pipeline.training.backend import keras
from ich_pipeline.training.data import CohortSlices
from ich_pipeline.training.fit import total_steps
from ich_pipeline.training.network import Network
from ich_pipeline.training.sampling import Batches, slices_a_pass

STEPS, WARM_UP = 10, 3
VALIDATION_CASES = 200
PROFILES = Path(__file__).parent.parent / "ich_pipeline" / "profiles"


def main(profile: str, cases: int, slices_a_case: int, batch: int | None) -> None:
    """Print a line a network, and their sum with the ablation's trainings."""
    params = load_params(PROFILES / f"{profile}.yaml")
    count = cases * slices_a_case
    print(
        f"profile {profile}, {keras.backend.backend()} on {device_name()}, {params.training.dtype}: {cases} training cases "
        f"of {slices_a_case} slices"
    )
    hours = dict(_hours(params, count, VALIDATION_CASES * slices_a_case, batch))
    total = sum(hours[name] for name in (*params.architectures, *params.ablation))
    print(f"all trainings, the ablation's among them, one after another: {total:.1f} h (estimate; none was run)")


def _hours(params: Params, count: int, validation: int, batch: int | None) -> Iterator[tuple[str, float]]:
    for name in params.architectures:
        settings = params.networks[name]
        settings = settings.model_copy(update={"batch_size": batch or settings.batch_size})
        measured = settings.batch_size * (STEPS + WARM_UP)  # so many slices lie on the disk; the steps draw from them
        with tempfile.TemporaryDirectory() as folder:
            slices = noise_slices(Path(folder) / "hu.npy", measured, settings.image_size, params.label_set.columns)
            network, trainer = started(name, settings, params, slices)
            steps = range(STEPS + WARM_UP)
            batches = Batches(
                slices, measured, settings.batch_size, params.training.augmentation, 1, steps, augment=trainer.augment
            )
            step = timed(network, trainer, batches).seconds(WARM_UP)
            look = _seconds_a_slice(network, slices)
        a_pass = round(count * slices_a_pass(slices.truth, params.training.negatives_per_positive) / measured)
        steps, looks = total_steps(a_pass, settings), params.training.validations
        hours = (steps * step + looks * validation * look) / 3600
        print(
            f"  {name}: {1000 * step:.0f} ms a step of {settings.batch_size} slices of {settings.image_size} pixels, "
            f"{steps:,} steps; {looks} looks at {validation:,} slices, {1000 * look:.2f} ms each: {hours:.1f} h",
            flush=True,
        )
        yield name, hours


def _seconds_a_slice(network: Network, slices: CohortSlices) -> float:
    """Of looking at the validation set."""
    network.probabilities(slices.hu[: len(slices) // 2])  # compiles
    return seconds(lambda: network.probabilities(slices.hu), repeats=2) / len(slices)


if __name__ == "__main__":
    given = [int(text) for text in sys.argv[2:]]
    main(
        sys.argv[1] if len(sys.argv) > 1 else "paper",
        *(given[:2] + [704, 40][len(given) :]),
        batch=given[2] if len(given) > 2 else None,
    )
