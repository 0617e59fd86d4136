"""A network: HU slice in, one probability a label out; saved as ``network.json`` beside ``model.weights.h5``."""

from __future__ import annotations

import dataclasses
import json
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ich_pipeline.core.errors import InputError
from ich_pipeline.core.files import read_json, write_json
from ich_pipeline.training.backbones import build_backbone, cut_backbone, load_written_weights
from ich_pipeline.training.backend import exact, keras
from ich_pipeline.training.layers import Pool, Preprocess, Windows
from ich_pipeline.training.spec import BATCH, SPEC_FILE, WEIGHTS_FILE, NetworkSpec
from ich_pipeline.windowing.windows import Window

BACKBONE_FILE = "backbone.json"  # the layers of a backbone that is a model of one's own


class Network:
    """A spec and its Keras model.

    The model is functional: input ``hu`` (n, s, s) float32 in HU → ``windows`` → ``preprocess`` → ``backbone`` →
    ``gap`` (pooled features, float32: global averages, and what else ``pooling`` asks for) → ``head`` (sigmoid, float32,
    one column a label).
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
        if (Path(spec.weights) / SPEC_FILE).is_file():
            whole = _begun_elsewhere(spec)
        else:
            whole = build_backbone(spec.architecture, spec.image_size, spec.weights, spec.dtype, _used(spec))
        return _assemble(spec, cut_backbone(whole, spec.architecture, spec.cut, spec.also_pooled), prevalence)

    def untrained(self, seed: int) -> Network:
        """The same layers with weights drawn anew from ``seed``, as if nothing had been learned."""
        keras.utils.set_random_seed(seed)
        return _assemble(self.spec, keras.models.clone_model(self.model.get_layer("backbone")), None)

    @staticmethod
    def load(folder: Path, image_size: int | None = None, dtype: str | None = None) -> Network:
        """The network that :meth:`save` left in ``folder``; needs no internet, whatever its weights began as.

        Args:
            folder: holds ``network.json`` and ``model.weights.h5``.
            image_size: for pictures of another size than its own; not of a backbone that is a model of one's own.
            dtype: computes in another precision than it learned in; likewise.
        """
        folder = Path(folder)
        spec = NetworkSpec.load(folder)
        spec = dataclasses.replace(spec, image_size=image_size or spec.image_size, dtype=dtype or spec.dtype)
        if spec.input_range is None:
            whole = build_backbone(spec.architecture, spec.image_size, "none", spec.dtype, _used(spec))
            backbone = cut_backbone(whole, spec.architecture, spec.cut, spec.also_pooled)
        else:
            backbone = _of_one_s_own(folder / BACKBONE_FILE)
        network = _assemble(spec, backbone, None)
        load_written_weights(network.model, folder / WEIGHTS_FILE, folder / SPEC_FILE)
        return network

    def save(self, folder: Path) -> None:
        """Write ``network.json`` and ``model.weights.h5`` into an existing folder; equal weights give equal bytes."""
        write_json(Path(folder) / SPEC_FILE, self.spec.to_json())
        if self.spec.input_range is not None:
            write_json(Path(folder) / BACKBONE_FILE, json.loads(self.model.get_layer("backbone").to_json()))
        self.model.save_weights(Path(folder) / WEIGHTS_FILE)

    def windows(self) -> tuple[Window, ...]:
        """The windows that this network looks through, in HU: its spec's, or what it learnt."""
        layer: Any = self.model.get_layer("windows")
        return layer.learnt()

    def probabilities(self, hu: Any) -> NDArray[np.float32]:
        """Probabilities of slices, without calibration.

        Args:
            hu: array of shape (n, s, s), int16 or float32, HU, prepared by :func:`ich_pipeline.windowing.windows.prepare`; of a
                memory map or a :class:`~ich_pipeline.training.data.SliceRows` one batch at a time is read.

        Returns:
            float32 of shape (n, labels).
        """
        return self.run_batched(self.model, hu)[0]

    def features_and_probabilities(self, hu: Any) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """What the head reads, float32 (n, F), and the probabilities, from one forward pass."""
        features, probabilities = self.run_batched(self._with_features, hu)
        return features, probabilities

    @cached_property
    def _with_features(self) -> keras.Model:
        return keras.Model(self.model.input, [self.model.get_layer("gap").output, self.model.output])

    def head(self) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """The head's kernel (F, labels) and bias (labels,)."""
        kernel, bias = self.model.get_layer("head").get_weights()
        return np.asarray(kernel, np.float32), np.asarray(bias, np.float32)

    def pooled_features(self) -> keras.Model:
        """A model with this network's weights: HU (n, s, s) to what its head reads, float32 (n, F)."""
        return keras.Model(self.model.input, self.model.get_layer("gap").output)

    def set_head(self, kernel: NDArray[np.floating], bias: NDArray[np.floating]) -> None:
        """Give the head weights that were fitted elsewhere: (F, labels) and (labels,)."""
        self.model.get_layer("head").set_weights([np.asarray(kernel, np.float32), np.asarray(bias, np.float32)])

    def run_batched(self, model: keras.Model, hu: Any) -> list[NDArray[Any]]:
        """All outputs of a model from :meth:`pooled_features` for slices (n, s, s), in full batches as everywhere."""
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


def _used(spec: NetworkSpec) -> tuple[str, ...]:
    """The layers above which a cut network has none; empty for a whole one."""
    return (*spec.also_pooled, spec.cut) if spec.cut else ()


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
    features = backbone(Preprocess(spec.architecture, len(spec.windows), spec.input_range, name="preprocess")(channels))
    if spec.pooling == ("mean",) and not spec.also_pooled:
        pooled = keras.layers.GlobalAveragePooling2D(dtype="float32", name="gap")(features)
    else:
        pooled = Pool(spec.pooling, name="gap")(features)
    head = keras.layers.Dense(
        len(spec.labels),
        activation="sigmoid",
        kernel_initializer="zeros",
        bias_initializer=start,
        dtype="float32",
        name="head",
    )
    return Network(spec, keras.Model(hu, head(pooled), name="network"))


def _begun_elsewhere(spec: NetworkSpec) -> keras.Model:
    """The backbone of another network of this project, for this picture size; it may be cut anew."""
    folder = Path(spec.weights)
    before = NetworkSpec.load(folder)
    words = f"params.yaml: networks.{spec.architecture}.weights: the network in {folder}"
    if before.architecture != spec.architecture:
        raise InputError(f"{words} is {before.architecture}: name a network of the same architecture.")
    # The single-window ablation shows a network less than it learnt on, and says so by its name.
    other_windows = [window[1:] for window in before.windows] != [window[1:] for window in spec.windows]
    if other_windows and len(set(spec.windows)) > 1:
        raise InputError(f"{words} reads other windows: give windowing.windows the windows that it was trained with.")
    # Convolutions have the same weights at every picture size.
    other = Network.load(folder, spec.image_size)
    return other.model.get_layer("backbone")


def _of_one_s_own(path: Path) -> keras.Model:
    try:
        return keras.models.model_from_json(json.dumps(read_json(path)))
    except (ValueError, TypeError, KeyError) as error:
        reason = " ".join(str(error).split())[:300]
        raise InputError(f"{path} holds no Keras model ({reason}): train again with `dvc repro -f`.") from None
