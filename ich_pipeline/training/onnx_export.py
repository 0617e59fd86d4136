"""Keras to ONNX: what serving runs is exported once, and is the same bytes for the same weights.

TensorFlow traces the function, tf2onnx translates the trace. Names of nodes count on from what was built before in the process, so
they are numbered anew. ``onnxruntime`` runs the result (:mod:`ich_pipeline.serving.engine`) without TensorFlow.
"""

from __future__ import annotations

import contextlib
import io
import logging
from collections.abc import Callable, Sequence
from typing import Any

from ich_pipeline.core.errors import InputError
from ich_pipeline.core.silence import silent
from ich_pipeline.training.backend import keras

OPSET = 18  # the first in which ScatterElements adds, which the gradient of a maximum needs


def require_tensorflow(wanted: str) -> None:
    """Refuse another backend of Keras.

    Raises:
        InputError: it is not TensorFlow.
    """
    backend = keras.backend.backend()
    if backend != "tensorflow":
        raise InputError(
            f"{wanted}: only TensorFlow's Keras can be exported to ONNX, and this process has loaded Keras on {backend}: unset "
            "KERAS_BACKEND and run `python -m flows.register`, which reads weights that either of them trained."
        )


def to_onnx(
    function: Callable[..., Sequence[Any]],
    inputs: Sequence[tuple[str, Sequence[int | None], str]],
    outputs: Sequence[str],
    called: str,
) -> bytes:
    """Translate a function of tensors.

    Args:
        function: from the inputs to a list of tensors; Keras layers and TensorFlow operations.
        inputs: name, shape (None for a length that varies) and type of each.
        outputs: names of its results, in their order.
        called: what it is, for the sentence.

    Returns:
        an ONNX model; equal for equal functions.

    Raises:
        InputError: an operation has no counterpart in ONNX.
    """
    require_tensorflow(called)
    with silent():
        import tensorflow as tf
        import tf2onnx

    from ich_pipeline.training.onnx_gradients import handlers, known_shapes

    signature = [tf.TensorSpec(shape, getattr(tf, kind), name=name) for name, shape, kind in inputs]
    traced = tf.function(lambda *given: list(function(*given)), input_signature=signature)
    heard = io.StringIO()
    with _listening(heard), silent():
        try:
            model, _ = tf2onnx.convert.from_function(
                traced,
                input_signature=signature,
                opset=OPSET,
                custom_op_handlers=handlers(),
                custom_rewriter=[known_shapes] if all(None not in shape for _, shape, _ in inputs) else None,
            )
        except Exception as error:  # whatever the translation of an operation raises
            raise InputError(f"{called} cannot be exported to ONNX ({_one_line(str(error))}).") from None
    unknown = [line for line in heard.getvalue().splitlines() if "nsupported ops" in line]
    if unknown:
        raise InputError(f"{called} cannot be exported to ONNX ({_one_line(unknown[-1])}).")
    return _named(model, [name for name, _, _ in inputs], outputs).SerializeToString(deterministic=True)


@contextlib.contextmanager
def _listening(heard: io.StringIO) -> Any:
    """Take what tf2onnx says of operations that it does not know, which it does not raise."""
    logger = logging.getLogger("tf2onnx")
    handler, passes = logging.StreamHandler(heard), logger.propagate
    logger.addHandler(handler)
    logger.propagate = False
    try:
        yield
    finally:
        logger.removeHandler(handler)
        logger.propagate = passes


def _named(model: Any, inputs: Sequence[str], outputs: Sequence[str]) -> Any:
    """The model with its inputs and outputs named so, all else in one order and numbered, and nothing of where it was made."""
    from onnx import checker

    graph = model.graph
    order = _in_order(graph)
    weights = {one.name: one for one in graph.initializer}
    names = {one.name: name for one, name in zip(graph.input, inputs, strict=True)}
    names |= {one.name: name for one, name in zip(graph.output, outputs, strict=True)}
    used = []
    for node in order:
        for value in filter(None, (*node.input, *node.output)):
            if value in weights and value not in names:
                used.append(weights[value])
            names.setdefault(value, f"{'w' if value in weights else 't'}{len(names)}")
    for number, node in enumerate(order):
        node.name = f"n{number}"
        node.ClearField("doc_string")
        if not node.domain:
            node.ClearField("domain")  # empty and missing are other bytes
        attributes = sorted(node.attribute, key=lambda one: one.name)
        del node.attribute[:]
        node.attribute.extend(attributes)
        for values in (node.input, node.output):
            values[:] = [names.get(value, value) for value in values]
    for one in (*graph.input, *graph.output):
        for size in one.type.tensor_type.shape.dim:
            if size.HasField("dim_param"):
                size.dim_param = "n"
    for one in (*graph.input, *graph.output, *used):
        one.name = names[one.name]
    kept = [type(one).FromString(one.SerializeToString()) for one in order]
    kept_weights = [type(one).FromString(one.SerializeToString()) for one in used]
    del graph.node[:], graph.initializer[:], graph.value_info[:]
    graph.node.extend(kept)
    graph.initializer.extend(kept_weights)
    graph.name, graph.doc_string = "graph", ""
    model.producer_name, model.producer_version, model.doc_string = "ich-pipeline", "", ""
    checker.check_model(model)
    return model


def _in_order(graph: Any) -> list[Any]:
    """The nodes that the outputs need, each after those that it needs: an order that depends on the graph alone."""
    maker = {value: node for node in graph.node for value in node.output if value}
    order: list[Any] = []
    done: set[int] = set()
    open_ = [maker[one.name] for one in reversed(graph.output) if one.name in maker]
    while open_:
        node = open_[-1]
        waiting = [maker[v] for v in node.input if v in maker and id(maker[v]) not in done]
        if id(node) in done or not waiting:
            open_.pop()
            if id(node) not in done:
                done.add(id(node))
                order.append(node)
        else:
            open_.extend(reversed(waiting))
    return order


def _one_line(text: str) -> str:
    return " ".join(text.split())[:300]
