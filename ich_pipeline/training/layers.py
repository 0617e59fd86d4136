"""The layers before the backbone: windows, then what the backbone was made for."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ich_pipeline.training.backbones import preprocess_input
from ich_pipeline.training.backend import keras, ops
from ich_pipeline.windowing import Window, ramp, sigmoid, window_channels

COLOURS = 3  # channels of every ``keras.applications`` backbone


class Windows(keras.layers.Layer):
    """HU (n, s, s) to window channels (n, s, s, C) in 0..1: :func:`ich_pipeline.windowing.window_channels`.

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
    spread evenly over the three (:func:`spread`).
    """

    def __init__(self, architecture: str, channels: int = COLOURS, **kwargs: Any) -> None:
        super().__init__(dtype="float32", **kwargs)
        self._function = preprocess_input(architecture)
        self.mix = None
        if channels != COLOURS:
            start: Any = keras.initializers.Constant(spread(channels))  # type: ignore[arg-type]
            self.mix = self.add_weight(shape=(channels, COLOURS), initializer=start, name="mix")

    def call(self, channels: Any) -> Any:
        if self.mix is not None:
            channels = ops.matmul(channels, self.mix)
        return self._function(ops.multiply(channels, np.float32(255)))

    def compute_output_shape(self, input_shape: tuple[int | None, ...]) -> tuple[int | None, ...]:
        return (*input_shape[:-1], COLOURS)


def spread(channels: int) -> NDArray[np.float32]:
    """How ``channels`` begin as three: each colour the mean of its third of the channels, float32 (channels, 3)."""
    edges = np.arange(channels + 1) * COLOURS / channels
    colour = np.arange(COLOURS)
    overlap = np.minimum(edges[1:, None], colour + 1) - np.maximum(edges[:-1, None], colour)
    return np.maximum(overlap, 0).astype(np.float32)
