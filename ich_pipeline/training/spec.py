"""What a network is, and what of it whoever only asks it needs: without Keras, so that serving does not load TensorFlow."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from ich_pipeline.core.errors import InputError
from ich_pipeline.core.files import read_versioned
from ich_pipeline.windowing.windows import Window

SCHEMA = "network/1"
AGAIN = "train again with `dvc repro -f`"
SPEC_FILE, WEIGHTS_FILE = "network.json", "model.weights.h5"
BATCH = 32  # slices in one forward pass of Keras; always full, so that a slice's answer does not depend on its company


@dataclass(frozen=True)
class NetworkSpec:
    """Everything that builds a network, but for its trained weights.

    ``weights`` is where the weights began: ``none``, ``imagenet``, a path as given in params, or the folder of another
    network of this project. ``windows`` are those that the training began with; a network with ``trainable_windows`` moves them
    (:meth:`Network.windows`).
    """

    architecture: str
    image_size: int  # rows and columns in pixels
    windows: tuple[Window, ...]  # HU; one channel each, in this order
    labels: tuple[str, ...]  # output columns
    weights: str
    dtype: str  # Keras dtype policy of the backbone; windows and head are always float32
    batch_norm_momentum: float
    seed: int
    trainable_windows: bool = False
    cut: str | None = None  # the last layer used
    also_pooled: tuple[str, ...] = ()  # layers whose maps are pooled beside its own
    pooling: tuple[str | float, ...] = ("mean",)  # :class:`ich_pipeline.training.layers.Pool`
    input_range: tuple[float, float] | None = None  # of a model of one's own

    def to_json(self) -> dict[str, Any]:
        """JSON values; :meth:`load` reads them back. What is at its default is left out."""
        values = dataclasses.asdict(self)
        values["windows"] = [
            {key: value for key, value in window._asdict().items() if value != Window._field_defaults.get(key)}
            for window in self.windows
        ]
        for field in dataclasses.fields(self):
            if values[field.name] == field.default:
                del values[field.name]
        values["labels"] = list(self.labels)
        return {"schema": SCHEMA, **values}

    @staticmethod
    def load(folder: Path) -> NetworkSpec:
        """The spec in ``network.json`` of a network's folder; InputError where it is missing, broken or of another schema."""
        source = folder / SPEC_FILE
        values = read_versioned(source, SCHEMA, AGAIN)
        try:
            values["windows"] = tuple(Window(**window) for window in values["windows"])
            values["labels"] = tuple(values["labels"])
            for key in ("also_pooled", "pooling", "input_range"):
                if values.get(key) is not None:
                    values[key] = tuple(values[key])
            return NetworkSpec(**values)
        except (KeyError, TypeError) as error:
            raise InputError(f"{source} is no network ({error}): {AGAIN}.") from None


class Readable(Protocol):
    """A network that answers for slices: Keras' (:class:`ich_pipeline.training.network.Network`) or what serving runs."""

    @property
    def spec(self) -> NetworkSpec: ...

    def probabilities(self, hu: Any) -> NDArray[np.float32]:
        """Uncalibrated probabilities (n, labels) of slices (n, s, s) in HU, prepared for this network."""
        ...

    def features_and_probabilities(self, hu: Any) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """What its head reads, (n, F), and the probabilities, from one forward pass."""
        ...

    def head(self) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """The head's kernel (F, labels) and bias (labels,)."""
        ...


def top_cells(cells: int, share: float) -> int:
    """How many of a map's cells are its largest ``share``: at least one."""
    return max(round(cells * share), 1)
