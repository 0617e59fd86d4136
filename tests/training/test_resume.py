"""Killed and started again, a training ends with the same bytes; what stops it is a sentence, and the state stays."""

from __future__ import annotations

import dataclasses
import errno
import os
import resource
import subprocess
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import killed_training as training
import numpy as np
import pytest

from ich_pipeline.core.errors import Fault, InputError
from ich_pipeline.training import checkpoint as checkpoint_module
from ich_pipeline.training.checkpoint import FILE, Checkpoint, State
from ich_pipeline.training.faults import told
from ich_pipeline.training.fit import fit, start_network
from ich_pipeline.training.network import WEIGHTS_FILE, Network, NetworkSpec


def child(folder: Path, kill_at: int) -> int:
    script = Path(training.__file__)
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(p for p in sys.path if p)}
    return subprocess.run([sys.executable, str(script), str(folder), str(kill_at)], env=environment).returncode


def test_killed_and_started_again_ends_with_the_same_bytes(tmp_path: Path) -> None:
    training.start_weights(tmp_path)
    # Checkpoints are written after every step: the fifth is half written when the process dies.
    assert child(tmp_path, 5) == -9
    kept = Checkpoint(tmp_path / "state", 0).load()
    assert kept is not None and kept.step == 4 and len(kept.history) == 1
    assert child(tmp_path, 0) == 0
    kept = Checkpoint(tmp_path / "state", 0).load()
    assert kept is not None and kept.stopped == "all steps done" and not kept.variables

    assert child(tmp_path, -1) == 0
    for name in (WEIGHTS_FILE, "history.csv"):
        assert (tmp_path / "0" / name).read_bytes() == (tmp_path / "-1" / name).read_bytes(), name
    network = Network.load(tmp_path / "0")
    assert network.windows()[0].center != 40, "the windows learnt too"

    # Ended, but its result was lost: nothing is trained again.
    looks: list[Any] = []
    settings, shared = training.settings(tmp_path)
    slices = training.spots(32)
    again = start_network(network.spec, slices, shared)
    fit(again, slices, slices, settings, shared, looks.append, checkpoint=Checkpoint(tmp_path / "state", 0))
    assert [look.step for look in looks] == [4, 7]
    for ours, whole in zip(again.model.get_weights(), network.model.get_weights(), strict=True):
        np.testing.assert_array_equal(ours, whole)

    # A state of another network is not taken for this one's.
    other = start_network(dataclasses.replace(network.spec, trainable_windows=False), slices, shared)
    with pytest.raises(InputError, match=r"state.npz is of another network: remove it"):
        fit(other, slices, slices, settings, shared, checkpoint=Checkpoint(tmp_path / "state", 0))


@pytest.mark.long
def test_stopped_after_every_step_it_ends_with_the_same_weights(tmp_path: Path) -> None:
    training.start_weights(tmp_path)
    whole, expected = training.train(tmp_path, None)

    def one_step(items: Iterable[Any], description: str, total: int | None = None) -> Iterator[Any]:
        for count, item in enumerate(items):
            if count == 1:
                raise KeyboardInterrupt
            yield item

    for _ in range(6):  # of seven steps; the second ends the frozen passes, the fourth looks
        with pytest.raises(KeyboardInterrupt):
            training.train(tmp_path, tmp_path / "state", one_step)
    network, result = training.train(tmp_path, tmp_path / "state", one_step)
    assert result.history == expected.history
    for ours, theirs in zip(network.model.get_weights(), whole.model.get_weights(), strict=True):
        np.testing.assert_array_equal(ours, theirs)


def small_state(**changes: Any) -> State:
    return dataclasses.replace(State(3, (), None, None, (np.ones((2, 3), np.float32),)), **changes)


def test_a_state_comes_back_as_it_was(tmp_path: Path) -> None:
    keeping = Checkpoint(tmp_path / "state", 0)
    assert keeping.load() is None
    state = small_state()
    assert keeping.save(state)
    back = keeping.load()
    assert back is not None and back.step == 3
    np.testing.assert_array_equal(back.variables[0], state.variables[0])
    assert [p.name for p in (tmp_path / "state").iterdir()] == [FILE]


def test_a_state_that_is_not_finite_leaves_the_last_good_one(tmp_path: Path) -> None:
    keeping = Checkpoint(tmp_path, 0)
    keeping.save(small_state())
    assert not keeping.save(small_state(step=4, variables=(np.array([np.nan], np.float32),)))
    kept = keeping.load()
    assert kept is not None and kept.step == 3


def test_a_damaged_state_is_named(tmp_path: Path) -> None:
    keeping = Checkpoint(tmp_path, 0)
    keeping.save(small_state())
    whole = keeping.path.read_bytes()
    for broken in (whole[:-40], whole[:200] + b"x" * 8 + whole[208:], b"", b"nothing"):
        keeping.path.write_bytes(broken)
        with pytest.raises(InputError, match=r"state.npz is no state .*: remove it, and the training begins anew"):
            keeping.load()


def test_a_full_disk_is_a_sentence_and_keeps_the_last_state(tmp_path: Path) -> None:
    keeping = Checkpoint(tmp_path, 0)
    keeping.save(small_state())
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (64 << 10, before[1]))  # a real error of a real write
    try:
        with (
            pytest.raises(Fault, match=r"on disk .*: make room and start again. It goes on from .*state.npz"),
            told("vgg16", 8, 1, keeping.path),
        ):
            keeping.save(small_state(step=4, variables=(np.ones(1 << 20, np.float32),)))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    kept = keeping.load()
    assert kept is not None and kept.step == 3
    assert [p.name for p in tmp_path.iterdir()] == [FILE], "nothing half written is left"


def test_no_space_and_no_memory_are_told_however_they_are_raised(tmp_path: Path) -> None:
    import tensorflow as tf

    def raised(error: Exception) -> str:
        with pytest.raises(Fault) as caught, told("vgg16", 8, 2, None):
            raise error
        return str(caught.value)

    assert raised(OSError(errno.ENOSPC, "No space left on device")).startswith("no space is left on disk")
    hdf5 = "Can't synchronously write data (file write failed: errno = 28, error message = 'No space left on device')"
    assert raised(RuntimeError(hdf5)).startswith("no space is left on disk")
    exhausted = raised(tf.errors.ResourceExhaustedError(None, None, "OOM when allocating tensor"))
    assert exhausted.startswith("out of memory with batches of 8 in 2 parts") and "training.accumulate" in exhausted
    assert raised(MemoryError("Unable to allocate 9 GiB")).startswith("out of memory")
    with pytest.raises(ZeroDivisionError), told("vgg16", 8, 1, None):
        raise ZeroDivisionError


def test_a_loss_that_breaks_down_is_a_sentence_and_keeps_the_last_good_state(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = NetworkSpec(
        "tinynet", 32, (*training.WINDOWS, training.WINDOWS[0]), ("any", "left", "right"), "none", "float32", 0.9, 5
    )
    settings, shared = training.settings(tmp_path)
    settings = settings.model_copy(update={"weights": "none", "frozen_epochs": 0.0, "epochs": 1.0})
    shared = shared.model_copy(update={"accumulate": 1, "validations": 1})
    slices = training.spots(32)
    network = start_network(spec, slices, shared)
    kept_when: list[int] = []
    saved = checkpoint_module.Checkpoint.save

    def breaks(self: Checkpoint, state: State) -> bool:
        done = saved(self, state)
        kept_when.append(state.step)
        if state.step == 2:  # as a step that goes too far leaves it
            poison(network)
        return done

    monkeypatch.setattr(checkpoint_module.Checkpoint, "save", breaks)
    sentence = r"the loss of step 3 was not finite: lower networks.tinynet.learning_rate .* The last good state stays .*state.npz"
    with pytest.raises(Fault, match=sentence):
        fit(network, slices, slices, settings, shared, checkpoint=Checkpoint(tmp_path / "s", 0))
    kept = Checkpoint(tmp_path / "s", 0).load()
    assert kept_when == [1, 2] and kept is not None and kept.step == 2
    assert all(np.isfinite(values).all() for values in kept.variables)


def poison(network: Network) -> None:
    head: Any = network.model.get_layer("head")
    head.bias.assign(np.full(3, np.nan, np.float32))
