"""What a classic feature looks for: the spots of the training slices at which its map fires strongest.

A feature is pooled from one channel of the last maps (or of earlier ones, where the network pools at several depths), by
its mean or by its largest values. The spot is the cell at which that channel is largest in a slice, whether it lies in the
head or not: a feature that fires in air shows itself by it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ich_pipeline.core.progress import Track, quiet
from ich_pipeline.explain.geometry import cell_grid

if TYPE_CHECKING:
    from ich_pipeline.training.network import Network

BATCH = 32  # slices a forward pass, padded, as everywhere
PATCHES = 3  # spots of one feature, each of another patient


@dataclass(frozen=True)
class Firing:
    """The strongest spot of every channel in every slice.

    Attributes:
        channel_of: int32 (F,), from which channel each pooled feature comes.
        strength: float32 (n, C), activation at the spot.
        at: float32 (n, C, 2), the spot (row, column) in shares of the square picture.
    """

    channel_of: NDArray[np.int32]
    strength: NDArray[np.float32]
    at: NDArray[np.float32]


@dataclass(frozen=True)
class Patches:
    """The strongest spots of each channel that a subtype's classic features come from, the most telling channel first.

    Attributes:
        channels: int32 (m,).
        rows: int32 (m, PATCHES), slice of each spot, the strongest first; −1 where there are fewer patients.
        at: float32 (m, PATCHES, 2), the spot (row, column) in shares of the picture.
    """

    channels: NDArray[np.int32]
    rows: NDArray[np.int32]
    at: NDArray[np.float32]

    def share(self, has: NDArray[np.bool_]) -> float | None:
        """Share of the spots that lie in slices of which ``has`` (n,) is true; None without a spot."""
        rows = self.rows[self.rows >= 0]
        return float(has[rows].mean()) if len(rows) else None


def firing(network: Network, hu: NDArray[Any], track: Track = quiet) -> Firing:
    """Where each channel of a network fires strongest.

    Args:
        network: with the layers that :class:`ich_pipeline.training.network.Network` builds.
        hu: (n, size, size) HU, prepared for it.
        track: shows progress over batches.
    """
    import keras

    model = network.model
    backbone = model.get_layer("backbone")
    shapes = [tuple(output.shape[1:]) for output in backbone.outputs]
    grids = [cell_grid(backbone, output) for output in backbone.outputs]
    entry = keras.Input(model.input_shape[1:], name="hu")
    inner = model.get_layer("preprocess")(model.get_layer("windows")(entry))
    found = backbone(inner)
    maps_of = keras.Model(entry, found)
    strengths, spots = [], []
    starts = range(0, len(hu), BATCH)
    for start in track(starts, "strongest spots", len(starts)):
        chunk = np.asarray(hu[start : start + BATCH], np.float32)
        padded = np.concatenate([chunk, np.repeat(chunk[-1:], BATCH - len(chunk), axis=0)])
        answered = maps_of.predict_on_batch(padded)
        given = answered if isinstance(answered, (list, tuple)) else [answered]
        strong, at = [], []
        for maps, grid, (rows, columns, channels) in zip(given, grids, shapes, strict=True):
            flat = np.asarray(maps, np.float32)[: len(chunk)].reshape(len(chunk), rows * columns, channels)
            best = flat.argmax(axis=1)
            strong.append(np.take_along_axis(flat, best[:, None], axis=1)[:, 0])
            row, column = np.divmod(best, columns)
            at.append(np.stack([grid.centres(0, rows)[row], grid.centres(1, columns)[column]], axis=-1))
        strengths.append(np.concatenate(strong, axis=1))
        spots.append(np.concatenate(at, axis=1))
    channel_of = channels_of([shape[-1] for shape in shapes], len(network.spec.pooling))
    return Firing(channel_of, np.concatenate(strengths), np.concatenate(spots).astype(np.float32))


def channels_of(widths: Sequence[int], poolings: int) -> NDArray[np.int32]:
    """From which channel each feature of :class:`ich_pipeline.training.layers.Pool` comes: map by map, pooling by pooling.

    Args:
        widths: channels of each map.
        poolings: how many numbers a channel gives.
    """
    starts = np.cumsum([0, *widths])[:-1]
    ranges = [np.tile(start + np.arange(width), poolings) for start, width in zip(starts, widths, strict=True)]
    return np.concatenate(ranges).astype(np.int32)


def strongest(found: Firing, features: NDArray[np.int32], patients: Sequence[str]) -> Patches:
    """The strongest spots of a subtype's classic features, one a patient.

    Args:
        found: of the training slices.
        features: the classic features, the most telling first; those of one channel are shown once.
        patients: of each slice.
    """
    channels = np.array(list(dict.fromkeys(found.channel_of[features].tolist())), np.int32)
    rows = np.full((len(channels), PATCHES), -1, np.int32)
    at = np.zeros((len(channels), PATCHES, 2), np.float32)
    for k, channel in enumerate(channels.tolist()):
        best: dict[str, int] = {}
        # A stable sort of the negated values: equal strengths keep the order of the slices on every machine.
        order: list[int] = np.argsort(-found.strength[:, channel], kind="stable").tolist()
        for row in order:
            if len(best) == PATCHES:
                break
            best.setdefault(patients[row], row)
        chosen = list(best.values())
        rows[k, : len(chosen)] = chosen
        at[k, : len(chosen)] = found.at[chosen, channel]
    return Patches(channels, rows, at)


def cut_out(picture: NDArray[np.int16], at: NDArray[np.floating], size: int) -> NDArray[np.int16]:
    """The patch (size, size) of a square picture round a spot, whose pixel is at ``size // 2``; beyond the edge its lowest value."""
    padded = np.pad(picture, size, constant_values=int(picture.min()))
    row, column = (np.clip((at * len(picture)).astype(int), 0, len(picture) - 1) + size - size // 2).tolist()
    return padded[row : row + size, column : column + size]
