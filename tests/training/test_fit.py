from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from ich_pipeline.config import AugmentationParams, NetworkParams, TrainingParams, load_params
from ich_pipeline.core.errors import Fault
from ich_pipeline.training.data import CohortSlices, SliceRows
from ich_pipeline.training.fit import FitResult, fit, network_seed, start_network, total_steps
from ich_pipeline.training.looks import Look
from ich_pipeline.training.network import WEIGHTS_FILE, Network, NetworkSpec
from ich_pipeline.windowing.windows import Window

PHANTOM = Path(__file__).parents[2] / "ich_pipeline" / "profiles" / "phantom.yaml"
WINDOWS = (Window("brain", 40, 80), Window("subdural", 80, 200), Window("stroke", 40, 40))
SPEC = NetworkSpec("tinynet", 32, WINDOWS, ("any", "left", "right"), "none", "float32", 0.9, 5)
STILL = AugmentationParams(rotation_deg=0, shift=0, zoom=0, shear_deg=0, horizontal_flip=False)
SETTINGS = NetworkParams(image_size=32, epochs=2, batch_size=8, learning_rate=0.002, weights="none")


def training(**changes: object) -> TrainingParams:
    return load_params(PHANTOM).training.model_copy(
        update={"augmentation": STILL, "patience": 9, "validations": 2, **changes}
    )


def heads(count: int, seed: int, size: int = 32) -> CohortSlices:
    """Grey squares with a bright spot left, right, or nowhere."""
    draw = np.random.default_rng(seed)
    hu = draw.normal(30, 4, (count, 32, 32))
    kind = np.arange(count) % 3
    for image, k in zip(hu, kind, strict=True):
        row, column = draw.integers(8, 20), draw.integers(3, 9)
        column = column if k == 1 else 22 + column % 6
        if k:
            image[row : row + 5, column : column + 5] = 70
    hu = hu.repeat(-(-size // 32), axis=1).repeat(-(-size // 32), axis=2)[:, :size, :size]
    truth = np.stack([kind > 0, kind == 1, kind == 2], axis=1).astype(np.int8)
    keys = [f"1.{k}" for k in range(count)]
    table = pd.DataFrame({"SOPInstanceUID": keys, "patient_key": keys})  # a patient a slice
    return CohortSlices(table, SliceRows(hu.round().astype(np.int16), np.arange(count)), np.full((count, 2), -1), truth)


def run(
    settings: NetworkParams, setting: TrainingParams, spec: NetworkSpec = SPEC, **more
) -> tuple[Network, FitResult]:
    train = heads(32, 0)
    network = start_network(spec, train, setting)
    return network, fit(network, train, more.pop("validation", train), settings, setting, **more)


def test_overfits_a_few_slices() -> None:
    looks: list[Look] = []
    settings = SETTINGS.model_copy(update={"epochs": 40, "learning_rate": 0.01})
    network, result = run(settings, training(validations=4), on_look=looks.append)
    assert result.best.val_auc_any == 1.0 and result.best.val_map == 1.0
    assert looks == list(result.history) and [look.step for look in looks] == [40, 80, 120, 160]
    # What stays in the network is the best look, not the last one.
    np.testing.assert_array_equal(network.probabilities(heads(32, 0).hu), result.validation_probabilities)


def test_the_same_seed_gives_the_same_bytes(tmp_path: Path) -> None:
    augmented = training(augmentation=load_params(PHANTOM).training.augmentation, validations=1)
    saved = []
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        network, result = run(SETTINGS, augmented)
        network.save(tmp_path / name)
        saved.append(((tmp_path / name / WEIGHTS_FILE).read_bytes(), result.history))
    assert saved[0] == saved[1]


def test_a_loss_that_is_not_finite_ends_with_a_sentence() -> None:
    truth = heads(32, 0).truth.astype(np.float32)
    truth[:, 1:] = np.nan
    broken = dataclasses.replace(heads(32, 0), truth=truth)
    network = start_network(SPEC, heads(32, 0), training())
    sentence = r"the loss of step 1 was not finite: lower networks.tinynet.learning_rate .* No state was kept yet"
    with pytest.raises(Fault, match=sentence):
        fit(network, broken, heads(32, 0), SETTINGS, training())


def test_stops_when_it_gets_no_better() -> None:
    # At a learning rate of nearly nothing every look is alike.
    setting = training(validations=8, patience=2)
    _, result = run(SETTINGS.model_copy(update={"learning_rate": 1e-12}), setting)
    assert result.stopped == "no better validation result in 2 looks" and len(result.history) == 3
    assert result.best.look == 1


def test_validation_without_positives_is_judged_by_its_loss() -> None:
    none = heads(32, 1)
    none = dataclasses.replace(none, truth=np.zeros_like(none.truth))
    _, result = run(SETTINGS, training(), validation=none)
    assert result.best.val_map is None and result.best.val_auc_any is None
    assert result.best.val_loss == min(look.val_loss for look in result.history)


def test_seeds_and_steps() -> None:
    assert (
        network_seed(2019, "vgg16") != network_seed(2019, "resnet50")
        and network_seed(1, "a") == network_seed(0, "a") + 1
    )
    assert total_steps(100, SETTINGS.model_copy(update={"epochs": 1.5})) == 19
    assert total_steps(1, SETTINGS.model_copy(update={"epochs": 0.1})) == 1


@pytest.mark.long
@pytest.mark.parametrize(
    ("architecture", "size", "rate"),
    [("vgg16", 32, 0.0005), ("resnet50", 32, 0.001), ("inception_v3", 80, 0.001), ("inception_resnet_v2", 80, 0.001)],
)
def test_each_network_overfits_32_slices(architecture: str, size: int, rate: float) -> None:
    slices = heads(32, 0, size)
    spec = dataclasses.replace(SPEC, architecture=architecture, image_size=size)
    settings = SETTINGS.model_copy(update={"image_size": size, "epochs": 20, "learning_rate": rate})
    setting = training(validations=4, batch_norm_batches=4)
    network = start_network(spec, slices, setting)
    result = fit(network, slices, slices, settings, setting)
    assert result.best.val_auc_any == 1.0 and result.best.val_map == 1.0
