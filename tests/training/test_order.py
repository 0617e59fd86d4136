"""Gradients are the same bytes however busy the machine is."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from ich_pipeline.training.order import VARIABLE, fix_order

# The gradients of Inception-ResNet-v2 for one batch, again and again: how many different ones.
GRADIENTS = """
import hashlib, sys
from ich_pipeline.training.order import fix_order
fix_order("inception_resnet_v2")
import keras, numpy as np, tensorflow as tf
keras.utils.set_random_seed(1)
model = keras.applications.InceptionResNetV2(include_top=False, weights=None, input_shape=(80, 80, 3), pooling="avg")
x = np.random.default_rng(0).normal(size=(16, 80, 80, 3)).astype(np.float32)
@tf.function
def gradients(x):
    with tf.GradientTape() as tape:
        loss = tf.reduce_mean(model(x, training=True) ** 2)
    return tape.gradient(loss, model.trainable_variables)
for _ in range(int(sys.argv[1])):
    print(hashlib.sha256(b"".join(g.numpy().tobytes() for g in gradients(x))).hexdigest(), flush=True)
"""


@pytest.mark.parametrize(("name", "fixed"), [("inception_resnet_v2", True), ("NASNetMobile", True), ("Inception_V3", False), ("vgg16", False)])  # fmt: skip
def test_only_networks_that_need_it_are_slowed(name: str, fixed: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, "")  # so that it is put back as it was, absence included
    monkeypatch.delenv(VARIABLE)
    fix_order(name)
    assert (os.environ.get(VARIABLE) == "1") == fixed
    monkeypatch.setenv(VARIABLE, "3")
    fix_order(name)
    assert os.environ[VARIABLE] == "3"


@pytest.mark.long
def test_two_busy_processes_give_equal_gradients() -> None:
    """Without the fixed order about one in thirty differs when two of these run at the same time."""
    clean = {k: v for k, v in os.environ.items() if k != VARIABLE}
    command = [sys.executable, "-c", GRADIENTS, "40"]
    running = [subprocess.Popen(command, env=clean, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    found = [process.communicate()[0].split() for process in running]
    assert [len(lines) for lines in found] == [40, 40]
    assert len({line for lines in found for line in lines}) == 1
