"""Gradients that tf2onnx does not know, in operations of ONNX: what a backward pass through a convolutional network needs.

Each handler replaces one node of TensorFlow's gradient graph. Maps are NHWC there and NCHW in ONNX's operations; shapes are known,
since the graph is traced for a batch of one size.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

TO_NCHW, TO_NHWC = [0, 3, 1, 2], [0, 2, 3, 1]


def handlers() -> dict[str, tuple[Callable[..., None], list[Any]]]:
    """By the name of TensorFlow's operation, as ``tf2onnx.convert`` takes them."""
    return {
        "ReluGrad": (_relu, []),
        "Relu6Grad": (_relu6, []),
        "SigmoidGrad": (_sigmoid, []),
        "MaxPoolGrad": (_max_pool, []),
        "AvgPoolGrad": (_average_pool, []),
        "Conv2DBackpropInput": (_convolution, []),
        "DepthwiseConv2dNativeBackpropInput": (_depthwise, []),
    }


def known_shapes(graph: Any, nodes: Any) -> Any:
    """Shapes as numbers, before anything is translated: gradients ask for those of their inputs."""
    from tf2onnx import utils

    for node in [node for node in nodes if node.type == "ShapeN"]:
        for source, output in zip(node.input, node.output, strict=True):
            shape = np.array(graph.get_shape(source), np.int32)
            graph.replace_all_inputs(output, graph.make_const(utils.make_name("shape"), shape).output[0])
        graph.remove_node(node.name)
    return graph.get_nodes()


class _Nodes:
    """Makes nodes in the place of one that is taken away."""

    def __init__(self, graph: Any, node: Any) -> None:
        self.graph, self.node = graph, node
        self.shape, self.dtype = graph.get_shape(node.output[0]), graph.get_dtype(node.output[0])
        self.inputs, self.output = list(node.input), node.output[0]

    def constant(self, values: Any) -> str:
        from tf2onnx import utils

        return self.graph.make_const(utils.make_name("gradient"), np.asarray(values)).output[0]

    def __call__(self, kind: str, inputs: list[str], outputs: int = 1, **attributes: Any) -> Any:
        made = self.graph.make_node(kind, inputs, attr=attributes, output_count=outputs)
        return made.output[0] if outputs == 1 else made.output

    def finish(self, kind: str, inputs: list[str], **attributes: Any) -> None:
        """The last node, which takes over the name of the output."""
        self.graph.remove_node(self.node.name)
        self.graph.make_node(
            kind, inputs, attr=attributes, outputs=[self.output], shapes=[self.shape], dtypes=[self.dtype]
        )


def _relu(graph: Any, node: Any, name: str, args: Any) -> None:
    make = _Nodes(graph, node)
    gradient, output = make.inputs
    open_ = make("Cast", [make("Greater", [output, make.constant(np.float32(0))])], to=1)
    make.finish("Mul", [gradient, open_])


def _relu6(graph: Any, node: Any, name: str, args: Any) -> None:
    make = _Nodes(graph, node)
    gradient, output = make.inputs
    above = make("Greater", [output, make.constant(np.float32(0))])
    open_ = make("And", [above, make("Less", [output, make.constant(np.float32(6))])])
    make.finish("Mul", [gradient, make("Cast", [open_], to=1)])


def _sigmoid(graph: Any, node: Any, name: str, args: Any) -> None:
    make = _Nodes(graph, node)
    output, gradient = make.inputs
    rest = make("Sub", [make.constant(np.float32(1)), output])
    make.finish("Mul", [gradient, make("Mul", [output, rest])])


def _max_pool(graph: Any, node: Any, name: str, args: Any) -> None:
    """Each gradient goes to the place of its window's maximum; where windows overlap, they add up."""
    make = _Nodes(graph, node)
    before, _, gradient = make.inputs
    n, rows, columns, channels = graph.get_shape(before)
    kernel, strides, pads = _window(node, (rows, columns))
    nchw = make("Transpose", [before], perm=TO_NCHW)
    _, places = make("MaxPool", [nchw], outputs=2, kernel_shape=kernel, strides=strides, pads=pads)
    flat = make.constant(np.array([-1], np.int64))
    cells = make.constant(np.array([n * rows * columns * channels], np.int64))
    zeros = make("ConstantOfShape", [cells])  # of float32
    added = make(
        "ScatterElements",
        [zeros, make("Reshape", [places, flat]), make("Reshape", [make("Transpose", [gradient], perm=TO_NCHW), flat])],
        axis=0,
        reduction="add",
    )
    whole = make("Reshape", [added, make.constant(np.array([n, channels, rows, columns], np.int64))])
    make.finish("Transpose", [whole], perm=TO_NHWC)


def _average_pool(graph: Any, node: Any, name: str, args: Any) -> None:
    """Each gradient in equal parts over the cells of its window that lie inside the map."""
    make = _Nodes(graph, node)
    _, gradient = make.inputs
    _, rows, columns, channels = make.shape
    kernel, strides, pads = _window(node, (rows, columns))
    below = graph.get_shape(gradient)[1:3]
    each = zip((rows, columns), kernel, strides, pads[:2], below, strict=True)
    inside = [_inside(*one) for one in each]
    share = (1 / np.outer(*inside)).astype(np.float32)[None, None]
    shared = make("Mul", [make("Transpose", [gradient], perm=TO_NCHW), make.constant(share)])
    ones = make.constant(np.ones((channels, 1, *kernel), np.float32))
    spread = _transposed(make, shared, ones, strides, pads, kernel, (rows, columns), below, channels)
    make.finish("Transpose", [spread], perm=TO_NHWC)


def _convolution(graph: Any, node: Any, name: str, args: Any) -> None:
    """A convolution again, with the kernel turned round, where its stride is 1: onnxruntime is slow at transposed ones."""
    make = _Nodes(graph, node)
    gradient = make.inputs[2]
    _, rows, columns, channels = make.shape
    if not node.inputs[1].is_const():
        raise ValueError("the gradient of a convolution whose kernel is no constant")
    kernel = node.inputs[1].get_tensor_value(as_list=False)  # (h, w, in, out)
    height, width, read, _ = kernel.shape
    if read != channels:
        raise ValueError("the gradient of a convolution in groups")
    dilation = [int(d) for d in node.get_attr("dilations").ints[1:3]] if node.get_attr("dilations") else [1, 1]
    reach = ((height - 1) * dilation[0] + 1, (width - 1) * dilation[1] + 1)
    strides, pads = _strides_and_pads(node, (rows, columns), reach)
    nchw = make("Transpose", [gradient], perm=TO_NCHW)
    if strides == [1, 1]:
        turned = make.constant(np.ascontiguousarray(kernel[::-1, ::-1].transpose(2, 3, 0, 1)))
        outside = [r - 1 - p for r, p in zip((*reach, *reach), pads, strict=True)]
        spread = make(
            "Conv", [nchw, turned], kernel_shape=[height, width], strides=strides, pads=outside, dilations=dilation
        )
    else:
        if dilation != [1, 1]:
            raise ValueError("the gradient of a convolution with stride and dilation")
        straight = make.constant(np.ascontiguousarray(kernel.transpose(3, 2, 0, 1)))
        below = graph.get_shape(node.input[2])[1:3]
        spread = _transposed(make, nchw, straight, strides, pads, [height, width], (rows, columns), below, 1)
    make.finish("Transpose", [spread], perm=TO_NHWC)


def _depthwise(graph: Any, node: Any, name: str, args: Any) -> None:
    make = _Nodes(graph, node)
    _, weights, gradient = make.inputs
    _, rows, columns, channels = make.shape
    height, width, _, multiplier = graph.get_shape(weights)
    strides, pads = _strides_and_pads(node, (rows, columns), (height, width))
    # (h, w, C, m) to ONNX's (C · m, 1, h, w); what ConvTranspose reads of a group is its m maps.
    across = make("Transpose", [weights], perm=[2, 3, 0, 1])
    kernel = make("Reshape", [across, make.constant(np.array([channels * multiplier, 1, height, width], np.int64))])
    below = graph.get_shape(node.input[2])[1:3]
    nchw = make("Transpose", [gradient], perm=TO_NCHW)
    spread = _transposed(make, nchw, kernel, strides, pads, [height, width], (rows, columns), below, channels)
    make.finish("Transpose", [spread], perm=TO_NHWC)


def _transposed(
    make: _Nodes,
    gradient: str,
    kernel: str,
    strides: list[int],
    pads: list[int],
    size: list[int],
    whole: tuple[int, int],
    below: tuple[int, ...],
    groups: int,
) -> str:
    """The transpose of a convolution that made maps of ``below`` cells from maps of ``whole`` cells."""
    reached = [(b - 1) * s + k for b, s, k in zip(below, strides, size, strict=True)]
    # Cells at the far edge that no window reached stay zero: a negative pad is ONNX's output_padding.
    rest = [w + pads[axis] + pads[axis + 2] - r for axis, (w, r) in enumerate(zip(whole, reached, strict=True))]
    return make(
        "ConvTranspose",
        [gradient, kernel],
        kernel_shape=size,
        strides=strides,
        pads=pads,
        output_padding=rest,
        group=groups,
    )


def _window(node: Any, size: tuple[int, int]) -> tuple[list[int], list[int], list[int]]:
    """Kernel, strides and pads of a pooling."""
    kernel = [int(k) for k in node.get_attr("ksize").ints[1:3]]
    strides, pads = _strides_and_pads(node, size, (kernel[0], kernel[1]))
    return kernel, strides, pads


def _strides_and_pads(node: Any, size: tuple[int, int], kernel: tuple[int, int]) -> tuple[list[int], list[int]]:
    strides = [int(s) for s in node.get_attr("strides").ints[1:3]]
    if node.get_attr("padding").s != b"SAME":
        return strides, [0, 0, 0, 0]
    total = [max((-(-n // s) - 1) * s + k - n, 0) for n, s, k in zip(size, strides, kernel, strict=True)]
    return strides, [*(t // 2 for t in total), *(t - t // 2 for t in total)]


def _inside(size: int, kernel: int, stride: int, before: int, count: int) -> np.ndarray:
    """How many cells of each of ``count`` windows lie inside a map of ``size`` cells."""
    starts = np.arange(count) * stride - before
    return np.minimum(starts + kernel, size) - np.maximum(starts, 0)
