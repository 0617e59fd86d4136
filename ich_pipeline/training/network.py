"""A network: HU slice in, one probability a label out; saved as ``network.json`` beside ``model.weights.h5``."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ich_pipeline.errors import InputError
from ich_pipeline.files import read_json, write_json
from ich_pipeline.training.backbones import build_backbone, load_all_weights
from ich_pipeline.training.backend import exact, keras
from ich_pipeline.training.layers import Preprocess, Windows
from ich_pipeline.windowing import Window

SCHEMA = "network/1"
SPEC_FILE = "network.json"
WEIGHTS_FILE = "model.weights.h5"
BATCH = 32  # slices in one forward pass; always full, so that a slice's answer does not depend on its company


@dataclass(frozen=True)
class NetworkSpec:
    """Everything that builds a network, but for its trained weights.

    ``weights`` is where the weights began: ``none``, ``imagenet`` or a path as given in params.
    ``windows`` are those that the training began with; a network with ``trainable_windows`` moves them
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

    def to_json(self) -> dict[str, Any]:
        """JSON values; :meth:`from_json` reads them back. What is at its default is left out."""
        values = dataclasses.asdict(self)
        values["windows"] = [
            {key: value for key, value in window._asdict().items() if value != Window._field_defaults.get(key)}
            for window in self.windows
        ]
        if not self.trainable_windows:
            del values["trainable_windows"]
        values["labels"] = list(self.labels)
        return {"schema": SCHEMA, **values}

    @staticmethod
    def from_json(values: dict[str, Any], source: Path) -> NetworkSpec:
        """The spec that :meth:`to_json` gave; ``source`` is named in the error."""
        values = dict(values)
        found = values.pop("schema", None)
        if found != SCHEMA:
            raise InputError(
                f"{source} has schema {found!r} where this version reads {SCHEMA!r}: train again with `dvc repro -f`."
            )
        try:
            values["windows"] = tuple(Window(**window) for window in values["windows"])
            values["labels"] = tuple(values["labels"])
            return NetworkSpec(**values)
        except (KeyError, TypeError) as error:
            raise InputError(f"{source} is no network ({error}): train again with `dvc repro -f`.") from None


class Network:
    """A spec and its Keras model.

    The model is functional: input ``hu`` (n, s, s) float32 in HU → ``windows`` → ``preprocess`` → ``backbone`` →
    ``gap`` (global average pooling, float32) → ``head`` (sigmoid, float32, one column a label).
    """

    def __init__(self, spec: NetworkSpec, model: keras.Model) -> None:
        self.spec = spec
        self.model = model
        self.strategy: Any | None = None  # TensorFlow's, where several devices share the weights

    @staticmethod
    def build(spec: NetworkSpec, prevalence: NDArray[np.floating] | None = None) -> Network:
        """A network before training, drawn from ``spec.seed``.

        Args:
            spec: what to build.
            prevalence: share of positive training slices, shape (labels,). The head's kernel starts at zero and its
                bias at the log-odds of this share, so that training starts from the best constant answer; None for 0.5.

        Raises:
            InputError: unknown architecture, picture too small, or weights missing or not fitting.
        """
        keras.utils.set_random_seed(spec.seed)
        backbone = build_backbone(spec.architecture, spec.image_size, spec.weights, spec.dtype)
        return _assemble(spec, backbone, prevalence)

    @staticmethod
    def load(folder: Path) -> Network:
        """The network that :meth:`save` left in ``folder``; needs no internet, whatever its weights began as."""
        folder = Path(folder)
        spec = NetworkSpec.from_json(read_json(folder / SPEC_FILE), folder / SPEC_FILE)
        network = _assemble(spec, build_backbone(spec.architecture, spec.image_size, "none", spec.dtype), None)
        path = folder / WEIGHTS_FILE
        if not path.is_file():
            raise InputError(f"{path} is missing: run `dvc repro`, or the stage that writes it.")
        try:
            load_all_weights(network.model, path)
        except ValueError as error:
            raise InputError(
                f"{path} does not fit {folder / SPEC_FILE} ({error}): train again with `dvc repro -f`."
            ) from None
        return network

    def save(self, folder: Path) -> None:
        """Write ``network.json`` and ``model.weights.h5`` into an existing folder; equal weights give equal bytes."""
        write_json(Path(folder) / SPEC_FILE, self.spec.to_json())
        self.model.save_weights(Path(folder) / WEIGHTS_FILE)

    def windows(self) -> tuple[Window, ...]:
        """The windows that this network looks through, in HU: its spec's, or what it learnt."""
        layer: Any = self.model.get_layer("windows")
        return layer.learnt()

    def probabilities(self, hu: Any) -> NDArray[np.float32]:
        """Probabilities of slices, without calibration.

        Args:
            hu: array of shape (n, s, s), int16 or float32, HU, prepared by :func:`ich_pipeline.windowing.prepare`; of a
                memory map or a :class:`~ich_pipeline.training.data.SliceRows` one batch at a time is read.

        Returns:
            float32 of shape (n, labels).
        """
        return self._in_batches(self.model, hu)[0]

    def backbone_outputs(self, layer_names: Sequence[str]) -> keras.Model:
        """A model with this network's weights: HU (n, s, s) to the outputs of the named backbone layers.

        The head's own probabilities are its last output, so maps and probabilities come from one forward pass.
        """
        backbone = self.model.get_layer("backbone")
        inner = keras.Model(
            backbone.inputs, [backbone.get_layer(name).output for name in layer_names] + [backbone.output]
        )
        hu = keras.Input(self.model.input_shape[1:], name="hu")
        outputs = inner(self.model.get_layer("preprocess")(self.model.get_layer("windows")(hu)))
        head = self.model.get_layer("head")(self.model.get_layer("gap")(outputs[-1]))
        return keras.Model(hu, [*outputs[:-1], head])

    def run_batched(self, model: keras.Model, hu: Any) -> list[NDArray[Any]]:
        """All outputs of a model from :meth:`backbone_outputs` for slices (n, s, s), in full batches as everywhere."""
        return self._in_batches(model, hu)

    def _in_batches(self, model: keras.Model, hu: Any) -> list[NDArray[Any]]:
        parts: list[list[NDArray[Any]]] = []
        for start in range(0, max(len(hu), 1), BATCH):
            batch = np.zeros((BATCH, *hu.shape[1:]), np.float32)
            taken = hu[start : start + BATCH]
            batch[: len(taken)] = taken
            with exact(self.spec.dtype):
                outputs = model.predict_on_batch(batch)
            outputs = outputs if isinstance(outputs, (list, tuple)) else [outputs]
            parts.append([np.asarray(output)[: len(taken)] for output in outputs])
        return [np.concatenate(output) for output in zip(*parts, strict=True)]


def _assemble(spec: NetworkSpec, backbone: keras.Model, prevalence: NDArray[np.floating] | None) -> Network:
    for layer in backbone.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.momentum = spec.batch_norm_momentum
    share = np.full(len(spec.labels), 0.5) if prevalence is None else np.asarray(prevalence, dtype=np.float64)
    share = np.clip(share, 1e-4, 1 - 1e-4)  # a label without positives keeps a finite bias
    bias: Any = np.log(share / (1 - share)).astype(np.float32)
    start: Any = keras.initializers.Constant(bias)
    hu = keras.Input((spec.image_size, spec.image_size), dtype="float32", name="hu")
    channels = Windows(spec.windows, spec.trainable_windows, name="windows")(hu)
    features = backbone(Preprocess(spec.architecture, len(spec.windows), name="preprocess")(channels))
    pooled = keras.layers.GlobalAveragePooling2D(dtype="float32", name="gap")(features)
    head = keras.layers.Dense(
        len(spec.labels),
        activation="sigmoid",
        kernel_initializer="zeros",
        bias_initializer=start,
        dtype="float32",
        name="head",
    )
    return Network(spec, keras.Model(hu, head(pooled), name="network"))
