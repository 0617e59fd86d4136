"""The layers before the backbone: windows, then what the backbone was made for."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ich_pipeline.training.backbones import preprocess_input
from ich_pipeline.training.backend import keras, ops
from ich_pipeline.training.spec import top_cells
from ich_pipeline.windowing.windows import Window, ramp, sigmoid, window_channels

COLOURS = 3  # channels of every ``keras.applications`` backbone


class Windows(keras.layers.Layer):
    """HU (n, s, s) to window channels (n, s, s, C) in 0..1: :func:`ich_pipeline.windowing.windows.window_channels`.

    With ``learn`` the windows' centres and widths are weights, as in the same group's window setting optimisation (Lee,
    Kim and Do, arXiv 1812.00572): a bounded ReLU for a linear function, a sigmoid for SIGMOID. Both are weights in units of the
    window they begin with (``centre + shift * width``, ``width * exp(log_width)``), so that they begin at 0, learn at
    the pace of the other weights, and no width becomes negative.
    """

    def __init__(self, windows: Sequence[Window], learn: bool = False, **kwargs: Any) -> None:
        super().__init__(dtype="float32", **kwargs)
        self.windows = tuple(windows)
        self.learn = learn
        if learn:
            count = (len(self.windows),)
            self.shift: Any = self.add_weight(shape=count, initializer="zeros", name="shift")
            self.log_width: Any = self.add_weight(shape=count, initializer="zeros", name="log_width")

    def call(self, hu: Any) -> Any:
        if not self.learn:
            return window_channels(hu, self.windows, ops)
        channels = []
        for k, window in enumerate(self.windows):
            center, width = self._begin(window)
            center = np.float32(center) + np.float32(width) * self.shift[k]
            width: Any = ops.multiply(np.float32(width), ops.exp(self.log_width[k]))
            if window.function == "SIGMOID":
                channels.append(sigmoid(hu, center, width, ops))
            else:
                steepness = ops.divide(ops.subtract(hu, center - width / 2), width)
                channels.append(ops.clip(steepness, np.float32(0), np.float32(1)))
        return ops.stack(channels, axis=-1)

    def learnt(self) -> tuple[Window, ...]:
        """The windows as they are now."""
        if not self.learn:
            return self.windows
        shift, log_width = (np.asarray(ops.convert_to_numpy(w), np.float64) for w in (self.shift, self.log_width))
        found = []
        for k, window in enumerate(self.windows):
            center, width = self._begin(window)
            center, width = center + width * shift[k], width * np.exp(log_width[k])
            if window.function == "LINEAR":  # back from its ramp
                center, width = center + 0.5, width + 1
            found.append(Window(window.name, float(center), float(width), window.function))
        return tuple(found)

    @staticmethod
    def _begin(window: Window) -> tuple[float, float]:
        return ramp(window.function, window.center, window.width)

    def compute_output_shape(self, input_shape: tuple[int | None, ...]) -> tuple[int | None, ...]:
        return (*input_shape, len(self.windows))


class Preprocess(keras.layers.Layer):
    """Channels in 0..1 to what the backbone was made for: its own ``preprocess_input`` of 0..255.

    Three channels pass as they are. Any other number is mixed into three by a trained matrix that begins with the channels
    spread evenly over the three (:func:`spread`). A model of one's own says by ``input_range`` what 0 and 1 are to it.
    """

    def __init__(
        self,
        architecture: str,
        channels: int = COLOURS,
        input_range: tuple[float, float] | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(dtype="float32", **kwargs)
        self._range = input_range  # of a model of one's own; None: the architecture's preprocessing
        self._function = preprocess_input(architecture) if input_range is None else None
        self.mix = None
        if channels != COLOURS:
            start: Any = keras.initializers.Constant(spread(channels))  # type: ignore[arg-type]
            self.mix = self.add_weight(shape=(channels, COLOURS), initializer=start, name="mix")

    def call(self, channels: Any) -> Any:
        if self.mix is not None:
            channels = ops.matmul(channels, self.mix)
        if self._function is not None:
            return self._function(ops.multiply(channels, np.float32(255)))
        low, high = self._range or (0.0, 1.0)
        return ops.add(ops.multiply(channels, np.float32(high - low)), np.float32(low))

    def compute_output_shape(self, input_shape: tuple[int | None, ...]) -> tuple[int | None, ...]:
        return (*input_shape[:-1], COLOURS)


class Pool(keras.layers.Layer):
    """Feature maps to one vector a slice: for every map and every pooling one number a channel.

    ``mean`` is global average pooling. A share (such as 0.01) is the mean of that share of the map's largest values, at
    least of one: a small lesion moves it, where the mean over the whole picture hardly stirs.
    """

    def __init__(self, pooling: Sequence[str | float], **kwargs: Any) -> None:
        super().__init__(dtype="float32", **kwargs)
        self.pooling = tuple(pooling)

    def call(self, maps: Any) -> Any:
        given = list(maps) if isinstance(maps, (list, tuple)) else [maps]
        parts = []
        for one in given:
            cells = int(one.shape[1]) * int(one.shape[2])
            rows = ops.reshape(ops.cast(one, "float32"), (-1, cells, int(one.shape[3])))
            parts += [self._pooled(rows, cells, how) for how in self.pooling]
        return ops.concatenate(parts, axis=-1) if len(parts) > 1 else parts[0]

    @staticmethod
    def _pooled(rows: Any, cells: int, how: str | float) -> Any:
        if isinstance(how, str):
            return ops.mean(rows, axis=1)
        count = top_cells(cells, how)
        largest, _ = ops.top_k(ops.transpose(rows, (0, 2, 1)), count, sorted=False)
        return ops.mean(largest, axis=-1)

    def compute_output_shape(self, input_shape: Any) -> tuple[int | None, ...]:
        shapes = [input_shape] if isinstance(input_shape[0], (int, type(None))) else list(input_shape)
        return (shapes[0][0], len(self.pooling) * sum(int(shape[-1]) for shape in shapes))


def spread(channels: int) -> NDArray[np.float32]:
    """How ``channels`` begin as three: each colour the mean of its third of the channels, float32 (channels, 3)."""
    edges = np.arange(channels + 1) * COLOURS / channels
    colour = np.arange(COLOURS)
    overlap = np.minimum(edges[1:, None], colour + 1) - np.maximum(edges[:-1, None], colour)
    return np.maximum(overlap, 0).astype(np.float32)
