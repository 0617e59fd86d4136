"""The engine that serves: each network as an ONNX graph, run by ONNX Runtime. It starts at once, without TensorFlow.

:mod:`ich_pipeline.serving.export` writes what is read here, when a version is registered.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ich_pipeline.core.described_arrays import read_arrays
from ich_pipeline.core.errors import InputError
from ich_pipeline.core.files import read_versioned
from ich_pipeline.core.stopwatch import part
from ich_pipeline.explain.attention import Explainer
from ich_pipeline.explain.geometry import CellGrid
from ich_pipeline.serving.content import AGAIN
from ich_pipeline.training.spec import NetworkSpec
from ich_pipeline.workers.parallel import process_count

NETWORK, HEAD = "network.onnx", "head.npz"
MAPS, TAIL, GRADIENTS = "attention.json", "tail.onnx", "gradients.onnx"  # beside the network whose maps are shown
MAPS_SCHEMA = "attention/1"
# Slices in one run, always full, each run on one core: so a slice's answer depends neither on its company nor on the
# number of cores, small runs stay in the cache, and no core waits for another within a layer.
CHUNK = 4


@cache
def _cores() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(process_count(0), thread_name_prefix="onnx")


class Graph:
    """One ONNX graph, whose inputs and outputs have a row a slice."""

    def __init__(self, path: Path) -> None:
        """Read it.

        Raises:
            InputError: there is none, as in versions of before, or it is broken.
        """
        if not path.is_file():
            raise InputError(
                f"{path} is missing: the version was registered before answers came from ONNX Runtime, or lost a file; {AGAIN}."
            )
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        options.use_deterministic_compute = True
        options.log_severity_level = 3
        try:
            self._session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
        except Exception as error:  # the runtime's own, which share no other base
            raise InputError(
                f"{path} is no graph that can be run ({' '.join(str(error).split())[:200]}): {AGAIN}."
            ) from None
        self._inputs = [one.name for one in self._session.get_inputs()]

    def __call__(self, outputs: Sequence[str], *rows: Any) -> list[NDArray[np.float32]]:
        """Run it over arrays of n rows each, as float32.

        Args:
            outputs: names of the results wanted.
            rows: an array for each input, n rows.
        """
        count = len(rows[0])

        def run(start: int) -> list[NDArray[np.float32]]:
            given = {}
            for name, whole in zip(self._inputs, rows, strict=True):
                taken = whole[start : start + CHUNK]
                given[name] = np.zeros((CHUNK, *whole.shape[1:]), np.float32)
                given[name][: len(taken)] = taken
            return [np.asarray(found)[: count - start] for found in self._session.run(list(outputs), given)]

        parts = list(_cores().map(run, range(0, max(count, 1), CHUNK)))
        return [np.concatenate(found) for found in zip(*parts, strict=True)]


class ServedNetwork:
    """What :class:`ich_pipeline.training.network.Network` answers, from its exported graph."""

    def __init__(self, folder: Path) -> None:
        """Read ``network.json``, ``network.onnx`` and ``head.npz``.

        Raises:
            InputError: one is missing or broken.
        """
        self.spec = NetworkSpec.load(folder)
        self.graph = Graph(folder / NETWORK)
        arrays = read_arrays(folder / HEAD, AGAIN)
        self._kernel, self._bias = arrays["kernel"], arrays["bias"]

    def probabilities(self, hu: Any) -> NDArray[np.float32]:
        """Uncalibrated probabilities (n, labels) of slices (n, s, s) in HU, prepared for this network."""
        with part("forward"):
            return self.graph(["probabilities"], hu)[0]

    def features_and_probabilities(self, hu: Any) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """What the head reads, (n, F), and the probabilities, from one forward pass."""
        with part("forward"):
            features, probabilities = self.graph(["features", "probabilities"], hu)
        return features, probabilities

    def head(self) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """The head's kernel (F, labels) and bias (labels,)."""
        return self._kernel, self._bias


class ServedExplainer(Explainer):
    """An explainer whose passes run in ONNX Runtime. All that follows from activations and gradients is shared with Keras'."""

    def __init__(self, network: ServedNetwork, folder: Path) -> None:
        """Read ``attention.json`` and the graphs beside it.

        Raises:
            InputError: one is missing or broken, or of another version.
        """
        about = read_versioned(folder / MAPS, MAPS_SCHEMA, AGAIN)
        self._kernel, self._bias = network.head()
        self._pooling, self._size = network.spec.pooling, network.spec.image_size
        self._rows = slice(-int(about["rows"]), None)
        self._how, self.method, self.grid = about["how"], about["method"], CellGrid.from_json(about["grid"])
        self._forward = _Passes(network.graph)
        tail = Graph(folder / TAIL)
        self.tail = lambda activation: _run(tail, "features", activation)
        self._gradients = None
        if about["gradients"]:
            gradients = Graph(folder / GRADIENTS)
            self._gradients = lambda activation, weights: _run(gradients, "gradients", activation, weights)

    @staticmethod
    def _padded(rows: NDArray[Any]) -> NDArray[Any]:
        return rows  # a graph fills its own batches


def _run(graph: Graph, output: str, *rows: Any) -> NDArray[np.float32]:
    with part("forward"):
        return graph([output], *rows)[0]


class _Passes:
    """The forward pass as an explainer asks for it."""

    def __init__(self, graph: Graph) -> None:
        self._graph = graph

    def predict_on_batch(self, hu: NDArray[np.float32]) -> list[NDArray[np.float32]]:
        """The shown activation and the pooled features."""
        with part("forward"):
            return self._graph(["shown", "features"], hu)
