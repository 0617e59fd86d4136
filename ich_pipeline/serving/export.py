"""What a version serves, made from its Keras networks when it is registered, and held against them on training slices.

Serving never imports this: here is TensorFlow.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ich_pipeline.config import ExplainParams
from ich_pipeline.core.described_arrays import write_arrays
from ich_pipeline.core.errors import InputError
from ich_pipeline.core.files import write_json
from ich_pipeline.explain.attention import Explainer, gradient_tensors
from ich_pipeline.sequence.head import SequenceHead
from ich_pipeline.sequence.served import ServedHead, arrays_of
from ich_pipeline.serving.engine import (
    CHUNK,
    GRADIENTS,
    HEAD,
    MAPS,
    MAPS_SCHEMA,
    NETWORK,
    TAIL,
    ServedExplainer,
    ServedNetwork,
)
from ich_pipeline.training.network import Network
from ich_pipeline.training.onnx_export import to_onnx
from ich_pipeline.windowing.windows import prepare

EQUAL = 1e-5  # of probabilities; of other numbers, as a share of the largest
COMPUTES = "float32"  # whatever precision a network learned in: processors have no convolutions in half precision
CHECKED = 16  # training slices
# A cell at which a maximum or a ReLU turns within the rounding of the layers before has another gradient, and so another
# value: of the phantom's Inception-v3 0.13 % of the cells, by 0.003 of the map's maximum at most. One that turns deep in the network
# moves every cell that it sees: 2 % by 0.003, of HiResCAM at the first layers of a ResNet-50, on a processor without AVX-512.
CELLS_APART, APART = 0.1, 0.01  # the share of a map's cells that may, and by how much


def export_network(source: Path, folder: Path, slices: NDArray[np.int16], explain: ExplainParams | None) -> None:
    """Write a network's graphs beside its ``network.json``.

    Args:
        source: what :meth:`Network.save` wrote.
        folder: holds its ``network.json`` already.
        slices: real training slices (n, r, r) in HU, of any size, to hold the graphs against Keras.
        explain: settings, where it is the network whose maps are shown; else None.

    Raises:
        InputError: an operation cannot be exported, or the graphs answer otherwise than Keras.
    """
    network = Network.load(source, dtype=COMPUTES)
    explainer = None if explain is None else Explainer(network, explain)
    called = f"The network {network.spec.architecture}"
    _write_network(network, explainer, folder, called)
    if explainer is not None:
        _write_maps(explainer, folder, called)
    served = ServedNetwork(folder)
    hu = prepare(slices[:CHECKED], network.spec.image_size, network.spec.windows)
    for what, ours, theirs in zip(
        ("features", "probabilities"),
        served.features_and_probabilities(hu),
        network.features_and_probabilities(hu),
        strict=True,
    ):
        check_equal(called, what, ours, theirs)
    if explainer is not None:
        ours, theirs = ServedExplainer(served, folder).explain(hu), explainer.explain(hu)
        check_equal(called, "attention maps", ours.maps, theirs.maps, CELLS_APART)
        if (ours.method, ours.grid) != (theirs.method, theirs.grid):
            raise InputError(
                f"{called} shows maps of {ours.method} as a graph, of {theirs.method} in Keras: {_REPORT}."
            )


def export_head(source: Path, folder: Path, slices: NDArray[np.int16], network: Path, served: Path) -> None:
    """Write a sequence head's ``head.npz`` beside its ``head.json``.

    Args:
        source: what :meth:`SequenceHead.save` wrote.
        folder: holds its ``head.json`` already.
        slices: as of :func:`export_network`; they stand for one case.
        network: of the head, as Keras has it.
        served: of the head, exported.

    Raises:
        InputError: it answers otherwise than Keras.
    """
    from ich_pipeline.sequence.reading import SequenceReader

    head, keras_network = SequenceHead.load(source), Network.load(network, dtype=COMPUTES)
    own = ServedHead(head.spec, arrays_of(head))
    own.save(folder)
    spec = keras_network.spec
    hu = prepare(slices[:CHECKED], spec.image_size, spec.windows)
    one_case = np.zeros(len(hu), np.int64)
    ours = SequenceReader(ServedNetwork(served), own).probabilities(hu, one_case)[1]
    theirs = SequenceReader(keras_network, head).probabilities(hu, one_case)[1]
    check_equal(f"The sequence head of {spec.architecture}", "probabilities", ours, theirs)


def _write_network(network: Network, explainer: Explainer | None, folder: Path, called: str) -> None:
    model, size = network.model, network.spec.image_size
    names = ["probabilities", "features"]
    if explainer is None:
        features = model.get_layer("gap").output
        whole, made = type(model)(model.input, [model.output, features]), lambda outputs: outputs
    else:
        names.append("shown")
        whole, head = explainer.forward, model.get_layer("head")
        made = lambda outputs: [head(outputs[1]), outputs[1], outputs[0]]  # noqa: E731
    graph = to_onnx(lambda hu: made(whole(hu, training=False)), [("hu", (None, size, size), "float32")], names, called)
    (folder / NETWORK).write_bytes(graph)
    kernel, bias = network.head()
    write_arrays(folder / HEAD, {"kernel": kernel, "bias": bias})


def _write_maps(explainer: Explainer, folder: Path, called: str) -> None:
    """What stands behind the activation that is shown."""
    shape = tuple(int(n) for n in explainer.forward.outputs[0].shape[1:])
    rows = len(explainer.shown_kernel)
    inputs: Sequence[tuple[str, tuple[int | None, ...], str]] = [("activation", (None, *shape), COMPUTES)]
    tail = to_onnx(lambda activation: [explainer.tail(activation)], inputs, ["features"], called)
    (folder / TAIL).write_bytes(tail)
    if explainer.by_gradient:
        gradients = gradient_tensors(explainer.tail)
        # Of one size: only then are all shapes of the backward pass known to the graph.
        inputs = [("activation", (CHUNK, *shape), COMPUTES), ("weights", (CHUNK, rows), COMPUTES)]
        graph = to_onnx(lambda *given: [gradients(*given)], inputs, ["gradients"], f"{called}'s gradients")
        (folder / GRADIENTS).write_bytes(graph)
    about = {
        "how": explainer.how,
        "method": explainer.method,
        "rows": rows,
        "grid": explainer.grid.to_json(),
        "gradients": explainer.by_gradient,
    }
    write_json(folder / MAPS, {"schema": MAPS_SCHEMA, **about})


_REPORT = "this is a fault of the export; nothing is registered"


def check_equal(called: str, what: str, ours: NDArray[Any], theirs: NDArray[Any], apart: float = 0.0) -> None:
    """Refuse a graph that answers otherwise than Keras.

    Args:
        called: the network, for the sentence.
        what: is compared.
        ours: what the graph gave.
        theirs: what Keras gave.
        apart: share of the values that may differ by up to :data:`APART` in place of :data:`EQUAL`.

    Raises:
        InputError: it does.
    """
    difference = np.abs(np.asarray(ours, np.float64) - np.asarray(theirs, np.float64))
    scale = max(1.0, float(np.abs(theirs).max(initial=0)))
    limit = EQUAL * scale
    farthest = APART * scale if apart else limit
    if not ((difference <= farthest).all() and (difference > limit).mean() <= apart):
        raise InputError(
            f"{called}: {what} of the exported graph differ from Keras' by up to {difference.max():.2g} on training slices, by more "
            f"than {limit:.2g} in {(difference > limit).mean():.2%} of the values: {_REPORT}."
        )
