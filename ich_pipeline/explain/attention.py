"""Attention maps: where in the slice a label's score comes from.

CAM (Zhou et al. 2016, doi 10.1109/CVPR.2016.319) takes the head's own weights on the last feature maps and is exact for
global average pooling: the mean of the map over space plus the head's bias is the logit. Where those maps are too small
to locate anything, an earlier layer's activations are weighted (:mod:`ich_pipeline.explain.methods`). Only the positive part is kept, and a map is divided by its own maximum: it says where, not how
much. A map that is constant locates nothing and is marked so. Its cells lie where the layers put them
(:mod:`ich_pipeline.explain.geometry`).
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ich_pipeline.config import ExplainParams
from ich_pipeline.core.errors import InputError
from ich_pipeline.core.progress import Track, quiet
from ich_pipeline.explain.features import head_weights
from ich_pipeline.explain.geometry import CellGrid, cell_grid
from ich_pipeline.explain.methods import BY_GRADIENT, NAMES, ablation_cam
from ich_pipeline.explain.placed import PlacedMap
from ich_pipeline.training.spec import top_cells

if TYPE_CHECKING:
    from ich_pipeline.training.network import Network

BATCH = 32  # slices a forward pass, the last one padded, so that a slice's map does not depend on its batch
FLAT = 1e-6  # a map whose range is below this share of its maximum is constant


# The one place that differs between Keras backends: the gradient of a logit.

Gradients = Callable[[NDArray[Any], NDArray[np.float32]], NDArray[np.float32]]


def logit_gradients(tail: Callable[[Any], Any]) -> Gradients:
    """Build the function that gives a logit's gradient with respect to an inner activation.

    Args:
        tail: from the activation (n, h, w, K) to the pooled features (n, F), float32.

    Returns:
        function of an activation (n, h, w, K) and the head's weights of the label explained in each row (n, F), that
        gives float32 (n, h, w, K).
    """
    import keras

    backend = keras.backend.backend()
    if backend == "tensorflow":
        return _tensorflow(tail)
    if backend == "jax":
        return _jax(tail)
    raise RuntimeError(f"LayerCAM has no gradient for the Keras backend {backend!r}: use tensorflow or jax.")


def gradient_tensors(tail: Callable[[Any], Any]) -> Callable[[Any, Any], Any]:
    """:func:`logit_gradients` on TensorFlow's tensors: what is traced, and exported for serving."""
    import tensorflow as tf

    def gradients(activation: Any, weights: Any) -> Any:
        with tf.GradientTape() as tape:
            tape.watch(activation)
            logits = tf.reduce_sum(tail(activation) * weights, axis=1)
        return tf.cast(tape.gradient(logits, activation), tf.float32)

    return gradients


def _tensorflow(tail: Callable[[Any], Any]) -> Gradients:
    import tensorflow as tf

    gradients = tf.function(gradient_tensors(tail))
    return lambda activation, weights: gradients(tf.constant(activation), tf.constant(weights)).numpy()


def _jax(tail: Callable[[Any], Any]) -> Gradients:
    import jax  # pyright: ignore[reportMissingImports]

    def total(activation: Any, weights: Any) -> Any:
        return (tail(activation) * weights).sum()  # rows are independent, so the sum's gradient is each row's own

    gradient = jax.jit(jax.grad(total))
    return lambda activation, weights: np.asarray(gradient(activation, weights), np.float32)


@dataclass(frozen=True)
class Attention:
    """Maps and features of n slices from one forward pass.

    Attributes:
        maps: float32 (n, L, h, w), 0..1 with maximum 1 where ``localises``, else zero. Not upsampled.
        localises: bool (n, L), False where the map is constant and must not be drawn.
        features: float32 (n, F), global average of the last feature maps.
        logits: float32 (n, L).
        method: ``"CAM of mixed10, 7 x 7"``: what made the maps, for a caption.
        grid: where the cells of the maps lie.
    """

    maps: NDArray[np.float32]
    localises: NDArray[np.bool_]
    features: NDArray[np.float32]
    logits: NDArray[np.float32]
    method: str
    grid: CellGrid

    def map(self, slice_index: int, label_index: int) -> PlacedMap | None:
        """One map, or None where it locates nothing."""
        if not self.localises[slice_index, label_index]:
            return None
        return PlacedMap(self.maps[slice_index, label_index], self.grid)


class Explainer:
    """A network cut at the layer whose maps are shown; built once, used for many slices."""

    def __init__(self, network: Network, explain: ExplainParams) -> None:
        import keras

        model = network.model
        backbone = model.get_layer("backbone")
        gap = model.get_layer("gap")
        last = backbone.outputs[-1]
        self._kernel, self._bias = head_weights(model)
        self._pooling = network.spec.pooling
        # Of maps that are pooled at several depths, those of the last are shown: its rows of the head's kernel are the last.
        self._rows = slice(-len(self._pooling) * last.shape[-1], None)
        self._how = explain.method
        if explain.method == "auto":
            self._how = "cam" if min(last.shape[1:3]) >= explain.minimum_map else "layercam"
        pool = _pool_of_last(gap, self._pooling, len(backbone.outputs))
        if self._how == "cam":
            layer = network.spec.cut or backbone.layers[-1].name
            shown, self.tail, self._gradients = last, pool, None
        else:
            layer, tail = layer_to_show(backbone, explain.minimum_map, explain.layer)
            shown = backbone.get_layer(layer).output
            self.tail = lambda activation: pool(tail(activation, training=False))  # shown activation → pooled features
            self._gradients = logit_gradients(self.tail) if self._how in BY_GRADIENT else None
        self.grid = cell_grid(backbone, shown)
        hu = keras.Input(model.input_shape[1:], name="hu")
        inner = keras.Model(backbone.inputs, [shown, *backbone.outputs])
        shown, *maps = inner(model.get_layer("preprocess")(model.get_layer("windows")(hu)))
        self._forward = keras.Model(hu, [shown, gap(maps if len(maps) > 1 else maps[0])])
        self._size: int = model.input_shape[1]
        self._where = f"{layer}, {shown.shape[1]} × {shown.shape[2]}"
        self.method = f"{NAMES[self._how]} of {self._where}"

    @staticmethod
    def _padded(rows: NDArray[Any]) -> NDArray[Any]:
        return np.concatenate([rows, np.repeat(rows[-1:], BATCH - len(rows), axis=0)])

    def by(self, how: str) -> Explainer:
        """The same layer by another of the methods that take gradients; both share all that is computed and traced."""
        if self._gradients is None or how not in BY_GRADIENT:
            raise ValueError(f"{self._how} and {how} do not read a layer in the same way")
        other = copy.copy(self)
        other._how, other.method = how, f"{NAMES[how]} of {self._where}"
        return other

    @property
    def kernel(self) -> NDArray[np.float32]:
        """The head's weights (F, L)."""
        return self._kernel

    @property
    def bias(self) -> NDArray[np.float32]:
        """The head's bias (L,)."""
        return self._bias

    @property
    def shown_kernel(self) -> NDArray[np.float32]:
        """Those of its weights that read what :attr:`tail` gives."""
        return self._kernel[self._rows]

    @property
    def forward(self) -> Any:
        """From prepared HU to the shown activation and the pooled features."""
        return self._forward

    @property
    def how(self) -> str:
        """The method, one of :data:`~ich_pipeline.explain.methods.NAMES`."""
        return self._how

    @property
    def by_gradient(self) -> bool:
        """Whether a map needs a backward pass."""
        return self._gradients is not None

    def explain(self, hu: NDArray[Any], wanted: NDArray[np.bool_] | None = None, track: Track = quiet) -> Attention:
        """Maps, features and logits of slices; see :class:`Attention`.

        Args:
            hu: (n, size, size) HU, prepared for this network.
            wanted: bool (n, L), which maps to make (by gradient each needs a backward pass); None for all. The
                others come back as maps that locate nothing.
            track: shows progress over batches.
        """
        raw, features = self.raw_maps(hu, wanted, track)
        return self._attention(raw, features, wanted)

    def by_every_gradient(
        self, hu: NDArray[Any], wanted: NDArray[np.bool_], track: Track = quiet
    ) -> dict[str, Attention]:
        """:meth:`explain` by each of the methods that take gradients, from the same passes."""
        raw, features = self._raw_maps(hu, wanted, tuple(BY_GRADIENT), track)
        return {how: self.by(how)._attention(maps, features, wanted) for how, maps in raw.items()}

    def _attention(
        self, raw: NDArray[np.float32], features: NDArray[np.float32], wanted: NDArray[np.bool_] | None
    ) -> Attention:
        maps, localises = normalise(raw)
        if wanted is not None:
            localises &= wanted
            maps[~wanted] = 0
        logits = features @ self._kernel + self._bias
        return Attention(maps, localises, features, logits, self.method, self.grid)

    def raw_maps(
        self, hu: NDArray[Any], wanted: NDArray[np.bool_] | None = None, track: Track = quiet
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Maps before normalisation (signed for CAM), float32 (n, L, h, w), and pooled features (n, F)."""
        raw, features = self._raw_maps(hu, wanted, (self._how,), track)
        return raw[self._how], features

    def _raw_maps(
        self, hu: NDArray[Any], wanted: NDArray[np.bool_] | None, hows: Sequence[str], track: Track
    ) -> tuple[dict[str, NDArray[np.float32]], NDArray[np.float32]]:
        if hu.ndim != 3 or hu.shape[1:] != (self._size, self._size) or not len(hu):
            raise ValueError(f"slices of shape {hu.shape} for a network of {self._size} × {self._size} pixels")
        if wanted is None:
            wanted = np.ones((len(hu), self._kernel.shape[1]), bool)
        parts = []
        starts = range(0, len(hu), BATCH)
        for start in track(starts, "attention maps", len(starts)):
            chunk = np.asarray(hu[start : start + BATCH], np.float32)
            shown, pooled = self._forward.predict_on_batch(self._padded(chunk))
            activation = np.asarray(shown)[: len(chunk)]
            if self._how == "cam":
                maps = [class_activation(activation.astype(np.float32), self._kernel[self._rows], self._pooling)]
            elif self._how == "ablationcam":
                maps = [ablation_cam(activation.astype(np.float32), self.tail, self._kernel[self._rows], BATCH)]
            else:
                maps = self._by_gradient(activation, wanted[start : start + BATCH], hows)
            parts.append((maps, np.asarray(pooled, np.float32)[: len(chunk)]))
        every = {how: np.concatenate([maps[k] for maps, _ in parts]) for k, how in enumerate(hows)}
        return every, np.concatenate([pooled for _, pooled in parts])

    def _by_gradient(
        self, activation: NDArray[Any], wanted: NDArray[np.bool_], hows: Sequence[str]
    ) -> list[NDArray[np.float32]]:
        """One backward pass for each wanted pair of slice and label; the others stay zero."""
        assert self._gradients is not None
        every = [np.zeros((*wanted.shape, *activation.shape[1:3]), np.float32) for _ in hows]
        slices, labels = np.nonzero(wanted)
        for start in range(0, len(slices), BATCH):
            i, k = slices[start : start + BATCH], labels[start : start + BATCH]
            weights = self._padded(self._kernel[self._rows].T[k])
            gradients = self._gradients(self._padded(activation[i]), weights)[: len(i)]
            for maps, how in zip(every, hows, strict=True):
                maps[i, k] = BY_GRADIENT[how](activation[i].astype(np.float32), gradients)
        return every


def _pool_of_last(gap: Any, pooling: Sequence[str | float], depths: int) -> Any:
    """What pools the last maps alone."""
    if depths == 1:
        return gap
    from ich_pipeline.training.layers import Pool

    return Pool(pooling)


def class_activation(
    activation: NDArray[np.float32], kernel: NDArray[np.float32], pooling: Sequence[str | float]
) -> NDArray[np.float32]:
    """CAM: every cell's share of a label's logit. The mean over the cells is what the pooled map adds to the logit.

    A mean of a channel's largest values comes from the cells that hold them, and from no other.

    Args:
        activation: (n, h, w, K).
        kernel: (poolings · K, L), the head's rows for this map, pooling by pooling.
        pooling: as of :class:`ich_pipeline.training.layers.Pool`.

    Returns:
        float32 (n, L, h, w), signed.
    """
    n, h, w, channels = activation.shape
    flat = activation.reshape(n, h * w, channels)
    total = np.zeros((n, h * w, kernel.shape[1]), np.float32)
    for position, how in enumerate(pooling):
        rows = kernel[position * channels : (position + 1) * channels]
        shared = flat
        if not isinstance(how, str):
            count = top_cells(h * w, how)
            least = np.partition(flat, h * w - count, axis=1)[:, h * w - count][:, None]
            largest = flat >= least  # of equal values all share, each a little less
            shared = flat * largest * (h * w / largest.sum(axis=1, keepdims=True)).astype(np.float32)
        total += shared @ rows
    return np.moveaxis(total.reshape(n, h, w, -1), -1, 1)


def normalise(maps: NDArray[np.float32]) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """Positive part, divided by each map's own maximum; and whether it locates anything.

    Args:
        maps: (n, L, h, w).

    Returns:
        the maps in 0..1 (zero where constant) and bool (n, L).
    """
    positive = np.maximum(maps, 0)
    top = positive.max(axis=(2, 3), keepdims=True)
    spread = top - positive.min(axis=(2, 3), keepdims=True)
    localises = spread > FLAT * top
    scaled = np.divide(positive, top, out=np.zeros_like(positive), where=localises)
    return scaled, localises[..., 0, 0]


def layer_to_show(backbone: Any, minimum_map: int, named: str | None = None) -> tuple[str, Any]:
    """The deepest layer whose map is at least ``minimum_map`` wide and through which everything passes, and its tail.

    Args:
        backbone: Keras model.
        minimum_map: cells.
        named: take this layer instead, whatever its width.

    Raises:
        InputError: the layer that is named is none of the network's, or no layer that everything passes through.
        ValueError: no layer is wide enough.
    """
    for layer in reversed(backbone.layers[1:]):
        shape = getattr(layer.output, "shape", ())
        if named is None and (len(shape) != 4 or min(shape[1:3]) < minimum_map or _subsampled(backbone, layer)):
            continue
        if named in (None, layer.name) and (tail := _tail(backbone, layer)) is not None:
            return layer.name, tail
    if named is not None:
        raise InputError(
            f"params.yaml explain.layer {named!r} is no layer of {backbone.name} that every path goes through: name one "
            "that is (a block's output), or null."
        )
    raise ValueError(
        f"no layer of {backbone.name} has a map of {minimum_map} × {minimum_map} that every path goes through"
    )


def _tail(backbone: Any, layer: Any) -> Any | None:
    """From a layer's output to the last maps; None where another path goes round it: its gradient would tell half the story."""
    import keras

    try:
        return keras.Model(layer.output, backbone.outputs[-1])
    except ValueError:
        return None


def _subsampled(backbone: Any, layer: Any) -> bool:
    """Whether only every other cell of a layer's map is read on: strided 1 × 1 convolutions, as between ResNet's stages.

    The cells between them have no gradient, so that a LayerCAM there is a grid of dots.
    """
    readers = [r for r in backbone.layers[1:] if any(t is layer.output for t in _as_list(r.input))]
    strided = [getattr(r, "kernel_size", None) == (1, 1) and max(r.strides) > 1 for r in readers]
    if len(readers) == 1 and not hasattr(readers[0], "kernel_size") and readers[0].output.shape == layer.output.shape:
        return _subsampled(backbone, readers[0])  # an activation or normalisation passes each cell on
    return bool(readers) and all(strided)


def _as_list(value: Any) -> list[Any]:
    return list(value) if isinstance(value, (list, tuple)) else [value]
