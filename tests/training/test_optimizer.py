from __future__ import annotations

from pathlib import Path

import keras
import numpy as np
import pytest

from ich_pipeline.config import load_params
from ich_pipeline.training.optimizer import make_optimizer

PHANTOM = Path(__file__).parents[2] / "ich_pipeline" / "profiles" / "phantom.yaml"


@pytest.mark.parametrize(
    ("name", "peer"),
    [
        ("adam", lambda: keras.optimizers.Adam(0.01, global_clipnorm=1.0)),
        ("adamw", lambda: keras.optimizers.AdamW(0.01, weight_decay=0.1, global_clipnorm=1.0)),
        ("nesterov", lambda: keras.optimizers.SGD(0.01, momentum=0.9, nesterov=True, global_clipnorm=1.0)),
    ],
)
def test_the_update_is_that_of_keras(name: str, peer) -> None:
    settings = load_params(PHANTOM).training.model_copy(
        update={"optimizer": name, "weight_decay": 0.1, "gradient_clip_norm": 1.0, "momentum": 0.9}
    )
    start = np.linspace(-1, 1, 6, dtype=np.float32).reshape(2, 3)
    ours, theirs = keras.Variable(start), keras.Variable(start)
    mine, reference = make_optimizer(settings, 0.01), peer()
    draw = np.random.default_rng(0)
    for _ in range(5):
        gradient = draw.normal(size=(2, 3)).astype(np.float32)
        mine.apply([keras.ops.convert_to_tensor(gradient)], [ours])
        reference.apply([keras.ops.convert_to_tensor(gradient)], [theirs])
    assert np.abs(np.asarray(ours) - start).max() > 0.01
    np.testing.assert_allclose(np.asarray(ours), np.asarray(theirs), rtol=1e-5, atol=1e-6)


def test_float16_scales_the_loss_and_takes_it_back() -> None:
    training = load_params(PHANTOM).training
    plain = make_optimizer(training, 0.5)
    scaling = make_optimizer(training.model_copy(update={"dtype": "mixed_float16"}), 0.5)
    found = []
    for optimizer, factor in ((plain, 1.0), (scaling, 2.0**15)):
        variable = keras.Variable(np.ones(3, np.float32))
        assert float(optimizer.scale_loss(1.0)) == factor if factor > 1 else True
        optimizer.apply(
            [keras.ops.convert_to_tensor(np.array([0.1, -0.2, 0.0], np.float32) * np.float32(factor))], [variable]
        )
        found.append(np.asarray(variable))
    np.testing.assert_allclose(found[0], [0.5, 1.5, 1.0], atol=1e-3)
    np.testing.assert_allclose(found[0], found[1], rtol=1e-6)
