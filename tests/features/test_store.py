"""Features computed once: equal to the network's own answers, resumed after a kill, refused where they do not fit."""

from __future__ import annotations

import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from ich_pipeline.core.errors import InputError
from ich_pipeline.features import store
from ich_pipeline.features.classifier import Head
from ich_pipeline.features.store import answers_from
from ich_pipeline.training.interpolated import interpolated_probabilities
from ich_pipeline.training.network import Network, NetworkSpec
from ich_pipeline.windowing.windows import Window

DEGREES = (0.0, 0.25)
WINDOWS = (Window("brain", 40, 80), Window("subdural", 80, 200), Window("wide", 40, 380))
SPEC = NetworkSpec(
    "tinynet", 32, WINDOWS, ("any", "epidural"), "none", "float32", 0.9, 3, cut="re_lu_1", also_pooled=("re_lu",),
    pooling=("mean", 0.05),
)  # fmt: skip


@pytest.fixture(scope="module")
def network() -> Network:
    """A cut network, pooled at two depths in two ways, with a head that says something."""
    network = Network.build(SPEC)
    features = int(network.model.get_layer("gap").output.shape[-1])
    network.set_head(np.random.default_rng(0).normal(size=(features, 2)), np.array([0.2, -1.0]))
    return network


def slices(count: int = 11) -> tuple[np.ndarray, np.ndarray, pd.DataFrame]:
    """Slices, neighbours (a gap after the fourth), and their rows of a window index."""
    rng = np.random.default_rng(1)
    hu = rng.integers(-150, 230, (count, 32, 32)).astype(np.int16)
    before, after = np.arange(count) - 1, np.arange(count) + 1
    after[[3, count - 1]], before[[0, 4]] = -1, -1
    neighbours = np.stack([before, after], axis=1)
    index = pd.DataFrame({"SOPInstanceUID": [f"1.{k}" for k in range(count)], "before": before, "after": after})
    return hu, neighbours, index


def made(network: Network, folder: Path) -> store.Features:
    hu, neighbours, index = slices()
    names = store.view_names(DEGREES, mirrored=True)
    store.compute(network, hu, neighbours, names, folder)
    store.describe(folder, index, names)
    return store.read(folder, list(index["SOPInstanceUID"]))


def test_a_head_on_stored_features_answers_as_the_network_does(network: Network, tmp_path: Path) -> None:
    made(network, tmp_path / "tinynet" / "windows")
    hu, neighbours, index = slices()
    expected = interpolated_probabilities(network, hu, neighbours, DEGREES)
    given = answers_from(tmp_path, "windows", list(index["SOPInstanceUID"]))(network, hu, neighbours, DEGREES)
    assert np.abs(given - expected).max() < 1e-6
    chosen = [7, 2]  # other slices, in another order
    few = answers_from(tmp_path, "windows", [f"1.{k}" for k in chosen])(network, hu[chosen], neighbours[chosen], (0.0,))
    assert np.abs(few[0] - expected[0][chosen]).max() < 1e-6
    nothing = answers_from(tmp_path / "none", "windows", list(index["SOPInstanceUID"]))(
        network, hu, neighbours, DEGREES
    )
    assert np.array_equal(nothing, expected)


def test_features_are_those_that_the_head_reads(network: Network, tmp_path: Path) -> None:
    features = made(network, tmp_path)
    kernel, bias = network.model.get_layer("head").get_weights()
    hu, _, _ = slices()
    of_view = {"original": hu, "mirrored": hu[:, :, ::-1]}
    for name, pictures in of_view.items():
        answers = Head(kernel.astype(float), bias.astype(float)).probabilities(features.views[name])
        assert np.abs(answers - network.probabilities(pictures)).max() < 1e-6
    assert len(features.learning()) == 2


def test_a_killed_computation_goes_on_and_ends_with_the_same_bytes(tmp_path: Path) -> None:
    script = textwrap.dedent(
        f"""
        import os, signal, sys
        sys.path[:0] = [{str(Path(__file__).parent)!r}, {str(Path(__file__).parents[2])!r}]
        import conftest, test_store
        from pathlib import Path
        from ich_pipeline.features import store
        from ich_pipeline.training.network import Network
        store.CHUNK = 4
        folder, kill_after = Path(sys.argv[1]), int(sys.argv[2])
        def track(items, words, total=None):
            for number, item in enumerate(items):
                if kill_after and number == kill_after:
                    os.kill(os.getpid(), signal.SIGKILL)
                yield item
        hu, neighbours, index = test_store.slices()
        names = store.view_names(test_store.DEGREES, True)
        store.compute(Network.build(test_store.SPEC), hu, neighbours, names, folder, track)
        """
    )

    def run(folder: Path, kill_after: int) -> int:
        return subprocess.run(
            [sys.executable, "-c", script, str(folder), str(kill_after)], capture_output=True
        ).returncode

    assert run(tmp_path / "killed", 5) == -signal.SIGKILL
    assert (tmp_path / "killed" / store.DONE).is_file()
    assert run(tmp_path / "killed", 0) == 0
    assert run(tmp_path / "whole", 0) == 0
    assert (tmp_path / "killed" / store.ARRAY).read_bytes() == (tmp_path / "whole" / store.ARRAY).read_bytes()
    assert not (tmp_path / "killed" / store.DONE).exists()


def test_a_slice_without_features_is_named(network: Network, tmp_path: Path) -> None:
    made(network, tmp_path)
    with pytest.raises(InputError, match=r"no features of SOPInstanceUID 9\.9"):
        store.read(tmp_path, ["1.0", "9.9"])
