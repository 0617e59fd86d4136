"""Any ``keras.applications`` architecture by name, with random or given weights."""

from __future__ import annotations

import contextlib
import difflib
import re
import warnings
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ich_pipeline.core.errors import InputError
from ich_pipeline.training.backend import keras

# Standard deviation of ImageNet-like pictures (0..255) after "caffe" preprocessing, which centres but does not scale.
CAFFE_SPREAD = 64.0


def architecture_function(name: str) -> Callable[..., keras.Model]:
    """The ``keras.applications`` function for ``name``, whatever its case and underscores (``resnet50`` is ResNet50).

    Raises:
        InputError: no such architecture; the sentence lists near names.
    """
    functions = {_plain(key): value for key, value in vars(keras.applications).items() if key[:1].isupper()}
    found = functions.get(_plain(name))
    if found is None:
        near = difflib.get_close_matches(_plain(name), functions, n=3, cutoff=0.5)
        hint = " or ".join(functions[key].__name__ for key in near) or "one of " + ", ".join(
            f.__name__ for f in functions.values()
        )
        raise InputError(f"architecture {name!r} is none of keras.applications; did you mean {hint}?")
    return found


def preprocess_input(name: str) -> Callable[[Any], Any]:
    """The architecture's own preprocessing of pictures in 0..255."""
    wanted = architecture_function(name)
    if wanted.__name__.startswith("MobileNetV3"):  # its module does not name the functions that it is for
        return keras.applications.mobilenet_v3.preprocess_input
    for module in vars(keras.applications).values():
        if getattr(module, wanted.__name__, None) is wanted and hasattr(module, "preprocess_input"):
            return module.preprocess_input
    raise InputError(f"architecture {name!r} has no preprocess_input in keras.applications; choose another one.")


def build_backbone(name: str, image_size: int, weights: str, dtype: str, until: Collection[str] = ()) -> keras.Model:
    """The convolutional part of an architecture, its input of shape (image_size, image_size, 3).

    Args:
        name: architecture, see :func:`architecture_function`; of a whole Keras model any name.
        image_size: rows and columns in pixels.
        weights: ``none`` (random from Keras' global seed), ``imagenet`` (Keras downloads them once), the path of a
            ``.weights.h5`` or ``.h5`` file of the same architecture without its top, or of a whole model (``.keras``).
        dtype: Keras dtype policy; a whole model keeps its own.
        until: layers above which nothing is needed. With random weights the building stops there: the rest of
            Inception-ResNet-v2 takes as long as TensorFlow's start. Layers that Keras names have their names only at the
            end, so that for them the whole is built.

    Raises:
        InputError: the picture is too small for the architecture, or the weights are missing or do not fit: a run
            never goes on with random weights in their place.
    """
    if is_whole_model(weights):
        return _whole_model(name, image_size, Path(weights))
    make = architecture_function(name)
    if weights not in ("none", "imagenet") and re.fullmatch(r"EfficientNetB\d", make.__name__):
        raise InputError(
            f"params.yaml: networks.{name}.weights {weights!r}: Keras scales the input of {make.__name__} in another way where it "
            "loads ImageNet's weights itself, and nobody can say which way a file means; take weights: imagenet (KERAS_HOME names "
            "the folder that `ich weights fetch` made), or none."
        )
    arguments = {"include_top": False, "input_shape": (image_size, image_size, 3)}
    with _dtype_policy(dtype):
        try:
            backbone = _made(make, arguments, until if weights == "none" else ())
        except ValueError as error:
            raise InputError(f"params.yaml: networks.{name}.image_size {image_size}: {_one_line(error)}") from None
    if weights == "none":
        if not any(isinstance(layer, keras.layers.BatchNormalization) for layer in backbone.layers):
            _he_initialise(backbone)
    elif weights == "imagenet":
        try:
            _take_over(backbone, make(weights="imagenet", **arguments))
        except Exception as error:  # whatever the download raises, the remedy is the same
            raise InputError(
                f"params.yaml: networks.{name}.weights 'imagenet' could not be had ({_one_line(error)}): "
                "connect once, or give the path of a notop weights file."
            ) from None
    else:
        _load(backbone, name, Path(weights))
    _canonical_names(backbone)
    return backbone


class _Reached(Exception):
    """All layers that are needed are there."""


def _made(make: Callable[..., keras.Model], arguments: dict[str, Any], until: Collection[str]) -> keras.Model:
    """A network with random weights, up to the layers of these names where there are any."""
    outputs: dict[str, Any] = {}
    normalised = False
    call = keras.layers.Layer.__call__

    def watched(self: keras.layers.Layer, *args: Any, **named: Any) -> Any:
        nonlocal normalised
        output = call(self, *args, **named)
        normalised |= isinstance(self, keras.layers.BatchNormalization)
        # Without normalisation (VGG, quickly built) weights are drawn anew, by what chance is left of building the whole.
        if normalised and self.name in until and not _is_automatic(self):
            outputs[self.name] = output
            if len(outputs) == len(set(until)):
                raise _Reached
        return output

    # keras.applications takes no such argument, and Keras knows no other way to be told of a layer.
    keras.layers.Layer.__call__ = watched
    try:
        return make(weights=None, **arguments)
    except _Reached:
        ends = list(outputs.values())
        return keras.Model(keras.utils.get_source_inputs(ends[-1]), ends if len(ends) > 1 else ends[0])
    finally:
        keras.layers.Layer.__call__ = call


def is_whole_model(weights: str) -> bool:
    """Whether these are a whole Keras model, which is then the backbone itself."""
    return weights.endswith(".keras")


def cut_backbone(backbone: keras.Model, name: str, cut: str | None, also_pooled: Sequence[str]) -> keras.Model:
    """A backbone without what lies above its last used layer; shares its weights.

    Args:
        backbone: of :func:`build_backbone`.
        name: its architecture.
        cut: name of the last used layer; None for the backbone's own last one.
        also_pooled: layers below it whose maps are outputs as well, before the last one.

    Raises:
        InputError: no layer of that name, or it has no maps (rows, columns, channels).
    """
    if cut is None and not also_pooled:
        return backbone
    last = backbone.layers[-1].name if cut is None else cut
    outputs = []
    for field, layer in [("also_pooled", one) for one in also_pooled] + [("cut", last)]:
        found = _layer(backbone, name, field, layer).output
        if len(getattr(found, "shape", ())) != 4:
            raise InputError(
                f"params.yaml: networks.{name}.{field} {layer!r} has no maps of rows and columns: name another."
            )
        outputs.append(found)
    return keras.Model(backbone.inputs, outputs if len(outputs) > 1 else outputs[0], name="backbone")


def _layer(backbone: keras.Model, name: str, field: str, layer: str) -> Any:
    names = [one.name for one in backbone.layers]
    if layer not in names:
        near = difflib.get_close_matches(layer, names, n=3, cutoff=0.3)
        hint = " or ".join(near) or f"one of {', '.join(names[:8])} …"
        raise InputError(f"params.yaml: networks.{name}.{field} {layer!r} is no layer of {name}; did you mean {hint}?")
    return backbone.get_layer(layer)


def freeze(backbone: keras.Model, name: str, layers: float | str) -> None:
    """Let only the upper layers of a backbone learn; the frozen ones' BatchNorm then uses its kept statistics.

    Args:
        backbone: of :func:`build_backbone`.
        name: its architecture.
        layers: the share of layers that is frozen, in the order of the architecture (0: none, 1: all), or the name of the
            last frozen layer.

    Raises:
        InputError: no layer of that name; the sentence lists near names.
    """
    names = [layer.name for layer in backbone.layers]
    if not isinstance(layers, str):
        count = round(layers * len(names))
    else:
        count = names.index(_layer(backbone, name, "frozen_layers", layers).name) + 1
    for number, layer in enumerate(backbone.layers):
        layer.trainable = number >= count


def _load(backbone: keras.Model, name: str, path: Path) -> None:
    if not path.is_file():
        raise InputError(
            f"params.yaml: networks.{name}.weights names {path}, which is no file; give a path, 'imagenet' or 'none'."
        )
    try:
        load_all_weights(backbone, path)
    except ValueError as error:
        raise InputError(
            f"params.yaml: networks.{name}.weights: {path} does not fit {name} without top ({error}); "
            "give a file saved from that architecture."
        ) from None


def _whole_model(name: str, image_size: int, path: Path) -> keras.Model:
    """A model file as backbone: loaded in Keras' safe mode (no code in it runs), for pictures of one size."""
    if not path.is_file():
        raise InputError(
            f"params.yaml: networks.{name}.weights names {path}, which is no file; give the path of a model."
        )
    try:
        model: Any = keras.saving.load_model(path, compile=False, safe_mode=True)
        picture = keras.Input((image_size, image_size, 3), name="picture")
        backbone: Any = keras.models.clone_model(model, input_tensors=picture)
        _take_over(backbone, model)
    except Exception as error:  # Keras raises whatever the file's layers raise
        raise InputError(
            f"params.yaml: networks.{name}.weights: {path} is no Keras model that reads pictures of {image_size} × {image_size} × 3 "
            f"({_one_line(error)}): give a model without its top, saved by model.save('….keras')."
        ) from None
    if isinstance(backbone.output, (list, tuple)) or len(backbone.output.shape) != 4:
        raise InputError(
            f"params.yaml: networks.{name}.weights: {path} does not end in maps of rows and columns: save it without its top."
        )
    _canonical_names(backbone)
    return backbone


def _take_over(backbone: keras.Model, given: keras.Model) -> None:
    """Give a backbone the weights of another model of its architecture, so that both answer alike.

    Keras scales the input of EfficientNetB0 to B7 once more where the weights are ImageNet's. A network is built again
    without them whenever it is loaded, so that scale goes into the variance that the layer before divides by.
    """
    backbone.set_weights(given.get_weights())
    extra = [layer for layer in given.layers if isinstance(layer, keras.layers.Rescaling)]
    extra = extra[sum(isinstance(layer, keras.layers.Rescaling) for layer in backbone.layers) :]
    for layer in backbone.layers:
        if isinstance(layer, keras.layers.Normalization) and layer.weights:
            mean, variance, count = layer.get_weights()
            for rescaling in extra:
                variance = variance / np.square(np.asarray(rescaling.scale, np.float64))
            layer.set_weights([mean, variance, count])
            layer.finalize_state()  # else it goes on with the numbers that it was built with


def load_all_weights(model: keras.Model, path: Path) -> None:
    """Load every weight of a model from a Keras weights file.

    Keras only warns where a file lacks some layers, and leaves their random weights. Here that is an error too.

    Raises:
        ValueError: the file is broken, has other shapes, or lacks a weight; in one line.
    """
    nothing = [np.full(weight.shape, np.nan, weight.dtype) for weight in model.get_weights()]
    model.set_weights(nothing)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            model.load_weights(path)
    except Exception as error:  # Keras raises ValueError, KeyError or OSError by the kind of misfit
        raise ValueError(_one_line(error)) from None
    left = sum(bool(np.isnan(weight).any()) for weight in model.get_weights())
    if left:
        raise ValueError(f"{left} of its {len(nothing)} weights are not in the file, or not numbers")


def load_written_weights(model: keras.Model, path: Path, spec: Path, stage: str = "") -> None:
    """Load every weight of a model that a stage wrote.

    Args:
        model: what ``spec`` describes.
        path: its weights.
        spec: its description, for the sentence.
        stage: that writes both; empty where it is one of several.

    Raises:
        InputError: the file is missing, or does not fit.
    """
    if not path.is_file():
        raise InputError(
            f"{path} is missing: run {f'`dvc repro {stage}`' if stage else '`dvc repro`, or the stage that writes it'}."
        )
    try:
        load_all_weights(model, path)
    except ValueError as error:
        raise InputError(f"{path} does not fit {spec} ({error}): run `{f'dvc repro -f {stage}'.strip()}`.") from None


def _he_initialise(backbone: keras.Model) -> None:
    """He initialisation for backbones without BatchNorm (VGG): Keras' Glorot lets their signal fade layer by layer.

    The first kernel is divided by the spread of the centred but unscaled input, so that activations start near 1.
    """
    first = True
    for layer in backbone.layers:
        if not isinstance(layer, keras.layers.Conv2D):
            continue
        kernel: Any = layer.kernel
        values = np.asarray(keras.initializers.HeNormal(keras.random.SeedGenerator())(kernel.shape))
        kernel.assign(values / CAFFE_SPREAD if first else values)
        first = False


def _canonical_names(backbone: keras.Model) -> None:
    """Number automatic layer names from zero, whatever was built before in this process.

    So that ``get_layer("conv2d_5")`` means the same everywhere and equal weights are saved as equal bytes.
    """
    counts: Counter[str] = Counter()
    for layer in backbone.layers:
        if _is_automatic(layer):
            kind = _kind(layer)
            layer.name = kind if not counts[kind] else f"{kind}_{counts[kind]}"
            counts[kind] += 1
    backbone.name = "backbone"


def _kind(layer: keras.layers.Layer) -> str:
    """What Keras calls layers of this class: ``conv2d``, ``re_lu``."""
    return re.sub("([a-z])([A-Z])", r"\1_\2", re.sub("(.)([A-Z][a-z]+)", r"\1_\2", type(layer).__name__)).lower()


def _is_automatic(layer: keras.layers.Layer) -> bool:
    """Whether Keras gave the name, and counted what was built before in this process."""
    return re.fullmatch(rf"{_kind(layer)}(_\d+)?", layer.name) is not None


@contextlib.contextmanager
def _dtype_policy(name: str) -> Iterator[None]:
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(name)
    try:
        yield
    finally:
        keras.config.set_dtype_policy(before)


def _plain(name: str) -> str:
    return name.lower().replace("_", "")


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())[:300]
