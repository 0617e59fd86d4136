from __future__ import annotations

import dataclasses
import threading
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ich_pipeline.config import AugmentationParams
from ich_pipeline.training.backend import keras
from ich_pipeline.training.data import CohortSlices, SliceRows
from ich_pipeline.training.sampling import Batches, slices_a_pass

RANGES = AugmentationParams(rotation_deg=9, shift=0.1, zoom=0.1, shear_deg=2, horizontal_flip=True)


def slices() -> CohortSlices:
    truth = np.zeros((40, 3), np.int8)
    truth[[3, 8, 20, 33], 0] = 1
    hu = np.repeat(np.arange(40, dtype=np.int16), 16).reshape(40, 4, 4)
    return CohortSlices(pd.DataFrame(index=range(40)), SliceRows(hu, np.arange(40)), np.full((40, 2), -1), truth)


def test_a_pass_holds_every_positive_slice_and_its_own_negative_ones() -> None:
    truth = slices().truth
    assert slices_a_pass(truth, None) == 40
    assert slices_a_pass(truth, 2.0) == 12
    assert slices_a_pass(truth, 100.0) == 40
    assert slices_a_pass(truth[truth[:, 0] == 0], 2.0) == 36
    batches = Batches(slices(), 12, 6, RANGES, 0)
    passes = [set(np.concatenate([batches.rows(2 * k), batches.rows(2 * k + 1)]).tolist()) for k in range(60)]
    assert all({3, 8, 20, 33} <= one and len(one) == 12 for one in passes)
    assert set.union(*passes) == set(range(40)), "over the passes every slice is seen"


def equal(ours: Any, theirs: Any) -> bool:
    (one, truth), (other, known) = ours, theirs
    return np.array_equal(truth, known) and all(np.array_equal(one[name], other[name]) for name in ("hu", "transforms"))


@given(st.integers(1, 11), st.integers(0, 2**31), st.lists(st.integers(0, 20), min_size=1, max_size=6))
@settings(max_examples=25, deadline=None)
def test_a_batch_follows_from_seed_and_step_alone(size: int, seed: int, asked: list[int]) -> None:
    whole = list(Batches(slices(), 12, size, RANGES, seed, range(21)))
    jumping = Batches(slices(), 12, size, RANGES, seed, range(21))
    assert all(equal(jumping[k], whole[k]) for k in asked), "in any order"
    late = Batches(slices(), 12, size, RANGES, seed, range(asked[0], 21))
    assert len(late) == 21 - asked[0] and all(map(equal, late, whole[asked[0] :])), "from any step on"
    inputs, truth = whole[0]
    assert inputs["hu"].dtype == truth.dtype == np.float32 and len(inputs["hu"]) == size
    assert not equal(whole[0], Batches(slices(), 12, size, RANGES, seed + 1, range(1))[0])


def test_parts_of_a_step_are_its_slices_in_order() -> None:
    whole, parts = (Batches(slices(), 12, 8, RANGES, 3, range(2, 5), count) for count in (1, 4))
    assert (len(whole), len(parts)) == (3, 12)
    for step, (inputs, truth) in enumerate(whole):
        found = [parts[4 * step + k] for k in range(4)]
        np.testing.assert_array_equal(np.concatenate([t for _, t in found]), truth)
        for name in ("hu", "transforms"):
            np.testing.assert_array_equal(np.concatenate([i[name] for i, _ in found]), inputs[name])


class Watched(SliceRows):
    """Rows that tell which thread read them, and when."""

    def __init__(self, fails_at: int | None = None) -> None:
        super().__init__(slices().hu[:], np.arange(40))
        self.threads: list[str] = []
        self.read = threading.Semaphore(0)
        self._fails_at = fails_at

    def __getitem__(self, key: Any) -> Any:
        self.threads.append(threading.current_thread().name)
        self.read.release()
        if len(self.threads) - 1 == self._fails_at:
            raise OSError("the disk is gone")
        return super().__getitem__(key)


def watched(rows: Watched) -> Batches:
    return Batches(dataclasses.replace(slices(), hu=rows), 12, 5, RANGES, 1, range(4))


def test_one_batch_is_read_ahead_in_a_thread() -> None:
    rows = Watched()
    batches = watched(rows)
    batches[0]
    assert rows.read.acquire(timeout=10) and rows.read.acquire(timeout=10), "the next one comes without being asked for"
    assert not rows.read.acquire(timeout=0.2) and len(rows.threads) == 2, "and no other"
    assert rows.threads[0] == threading.current_thread().name != rows.threads[1]
    for k in (1, 2, 3):
        batches[k]
    assert len(rows.threads) == 4, "none is read twice, none beyond the end"


def test_what_broke_while_reading_ahead_is_told() -> None:
    batches = watched(Watched(fails_at=1))
    batches[0]
    with pytest.raises(OSError, match="disk is gone"):
        batches[1]


def test_keras_takes_them_in_order_from_the_first() -> None:
    """Keras peeks at the first batches to learn their shapes; the model must still see each once, in order."""
    seen: list[float] = []
    hu = keras.Input((4, 4), name="hu")
    transforms = keras.Input((8,), name="transforms")
    answer = keras.layers.Dense(3)(keras.layers.Concatenate()([keras.layers.Flatten()(hu), transforms]))
    model = keras.Model({"hu": hu, "transforms": transforms}, answer)
    model.compile(optimizer=keras.optimizers.SGD(0.0), loss=lambda truth, given: truth[:, 0] + 0 * given[:, 0])
    told: Any = lambda batch, logs: seen.append(logs["loss"] * (batch + 1))  # noqa: E731
    batches = Batches(slices(), 12, 5, RANGES, 9, range(3, 10))
    model.fit(batches, shuffle=False, verbose=0, callbacks=[keras.callbacks.LambdaCallback(on_train_batch_end=told)])  # type: ignore[arg-type]
    expected = [batches[k][1][:, 0].mean() for k in range(7)]
    np.testing.assert_allclose(np.diff([0, *seen]), expected, atol=1e-5)
