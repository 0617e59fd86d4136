"""Where in the picture the cells of a feature map lie.

A cell does not cover "its share" of the picture: layers without padding (the stem of Inception) leave a margin in which no
cell is centred. So the centre of each cell is followed through the layers: a kernel that starts ``before`` pixels outside
its input moves the first centre by ``(extent - 1) / 2 - before`` steps, a stride multiplies the step (receptive-field
arithmetic, Araujo et al. 2019, doi 10.23915/distill.00021).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Pair = tuple[float, float]


@dataclass(frozen=True)
class CellGrid:
    """Centres of a map's cells in shares of the (square) picture, 0 its upper or left edge and 1 the other.

    Attributes:
        first: centre of the first cell, (rows, columns).
        step: from one centre to the next, (rows, columns).
    """

    first: Pair
    step: Pair

    def centres(self, axis: int, cells: int) -> NDArray[np.float64]:
        """Centres of ``cells`` cells along an axis (0 rows, 1 columns)."""
        return np.asarray(self.first[axis] + self.step[axis] * np.arange(cells), np.float64)

    def at(self, axis: int, places: NDArray[np.floating]) -> NDArray[np.float64]:
        """Cell coordinates (0 is the centre of the first cell) of places in shares of the picture."""
        return np.asarray((places - self.first[axis]) / self.step[axis], np.float64)

    def to_json(self) -> dict[str, list[float]]:
        """JSON values; :meth:`from_json` reads them back."""
        return {"first": list(self.first), "step": list(self.step)}

    @classmethod
    def from_json(cls, values: Mapping[str, Sequence[float]]) -> CellGrid:
        """Inverse of :meth:`to_json`."""
        (a, b), (c, d) = values["first"], values["step"]
        return cls((float(a), float(b)), (float(c), float(d)))


@dataclass(frozen=True)
class _Lattice:
    """Centres in pixels of the input, the first pixel's centre being 0.5."""

    first: Pair
    step: Pair


def cell_grid(model: Any, tensor: Any) -> CellGrid:
    """The grid of a feature map of a Keras model, by its layers.

    Args:
        model: functional, one input (n, rows, columns, channels).
        tensor: output (n, h, w, K) of one of its layers.

    Raises:
        ValueError: a layer on the way changes the size of its map in a way that is not known here, or the map mixes
            paths of different steps.
    """
    found = _lattices(model, _Lattice((0.5, 0.5), (1.0, 1.0))).get(id(tensor))
    if isinstance(found, ValueError):
        raise found
    if found is None:
        raise ValueError(f"{model.name}: this tensor is no map of the picture")
    rows, columns = model.inputs[0].shape[1:3]
    return CellGrid((found.first[0] / rows, found.first[1] / columns), (found.step[0] / rows, found.step[1] / columns))


def _lattices(model: Any, start: _Lattice) -> dict[int, _Lattice | ValueError | None]:
    """Lattice of every tensor of a model by ``id``.

    None for what has no place, such as a global average; the error for what no rule here covers, which matters only where
    such a map is asked for.
    """
    import keras

    everywhere = (keras.layers.GlobalAveragePooling2D, keras.layers.GlobalMaxPooling2D)
    known: dict[int, _Lattice | ValueError | None] = {id(tensor): start for tensor in model.inputs}
    # In topological order; a Sequential has layers alone.
    for operation in getattr(model, "operations", model.layers):
        if isinstance(operation, keras.layers.InputLayer):
            continue
        inputs = [(known.get(id(t)), tuple(t.shape)) for t in _flat(operation.input)]
        for output in _flat(operation.output):
            is_map = len(output.shape) == 4 and not isinstance(operation, everywhere)
            known[id(output)] = _after(operation, inputs, tuple(output.shape)) if is_map else None
    return known


def _after(
    operation: Any, inputs: Sequence[tuple[_Lattice | ValueError | None, tuple[Any, ...]]], shape: tuple[Any, ...]
) -> _Lattice | ValueError | None:
    import keras

    placed: list[tuple[_Lattice, tuple[Any, ...]]] = []
    for lattice, before in inputs:
        if isinstance(lattice, ValueError):
            return lattice
        if lattice is not None:
            placed.append((lattice, before))
    if not placed:
        return None
    if isinstance(operation, keras.Model):
        return _lattices(operation, placed[0][0])[id(operation.outputs[0])]
    try:
        return _merged(operation, [_through(operation, lattice, before, shape) for lattice, before in placed])
    except ValueError as error:
        return error


def _merged(operation: Any, found: Sequence[_Lattice]) -> _Lattice:
    """Paths that meet in one map; where they are shifted against each other (NASNet's), the middle of them."""
    if any(not np.allclose(one.step, found[0].step) for one in found):
        raise ValueError(f"{operation.name} joins maps of different steps: the place of its cells is not known")
    first = np.mean([one.first for one in found], axis=0)
    return _Lattice((float(first[0]), float(first[1])), found[0].step)


def _through(operation: Any, lattice: _Lattice, before: tuple[Any, ...], after: tuple[Any, ...]) -> _Lattice:
    import keras

    layers = keras.layers
    if isinstance(operation, layers.ZeroPadding2D):
        return _shifted(lattice, [-side[0] for side in operation.padding])
    if isinstance(operation, layers.Cropping2D):
        return _shifted(lattice, [side[0] for side in operation.cropping])
    if isinstance(operation, layers.UpSampling2D):
        return _finer(lattice, operation.size)
    kernel = getattr(operation, "kernel_size", None) or getattr(operation, "pool_size", None)
    if kernel is None:
        if before[1:3] != after[1:3]:
            raise ValueError(
                f"{operation.name} ({type(operation).__name__}) turns a map of {before[1:3]} into one of {after[1:3]}: "
                "the place of its cells is not known"
            )
        return lattice
    first, step = [], []
    for axis, (width, stride, dilation) in enumerate(_kernels(operation, kernel)):
        extent = (width - 1) * dilation + 1
        outside = _padding_before(before[1 + axis], extent, stride) if operation.padding == "same" else 0
        first.append(lattice.first[axis] + lattice.step[axis] * ((extent - 1) / 2 - outside))
        step.append(lattice.step[axis] * stride)
    return _Lattice((first[0], first[1]), (step[0], step[1]))


def _kernels(operation: Any, kernel: Any) -> Iterator[tuple[int, int, int]]:
    """(width, stride, dilation) of rows and columns."""
    dilation = getattr(operation, "dilation_rate", 1)
    for axis in range(2):
        yield tuple(v if isinstance(v, int) else v[axis] for v in (kernel, operation.strides, dilation))  # type: ignore[misc]


def _padding_before(size: int, extent: int, stride: int) -> int:
    """Rows before the first that ``same`` padding adds: the smaller half, as TensorFlow and JAX do it."""
    return max((-(-size // stride) - 1) * stride + extent - size, 0) // 2


def _shifted(lattice: _Lattice, cells: Sequence[int]) -> _Lattice:
    a, b = (first + step * by for first, step, by in zip(lattice.first, lattice.step, cells, strict=True))
    return _Lattice((a, b), lattice.step)


def _finer(lattice: _Lattice, factors: Sequence[int]) -> _Lattice:
    a, b = (step / factor for step, factor in zip(lattice.step, factors, strict=True))
    c, d = (first - (step - fine) / 2 for first, step, fine in zip(lattice.first, lattice.step, (a, b), strict=True))
    return _Lattice((c, d), (a, b))


def _flat(value: Any) -> list[Any]:
    if isinstance(value, Mapping):
        return [t for one in value.values() for t in _flat(one)]
    return [t for one in value for t in _flat(one)] if isinstance(value, (list, tuple)) else [value]
