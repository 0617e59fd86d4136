"""What the stages that build networks share: which network params.yaml describes, and which features of it are made."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from flows.engine import layout
from flows.engine.stage import Stage
from ich_pipeline.config import Params

if TYPE_CHECKING:
    from ich_pipeline.training.network import NetworkSpec
    from ich_pipeline.windowing.windows import WindowLike

MULTI, SINGLE, RANDOM = (
    "windows",
    "single",
    "random",
)  # features: of all windows, of one in all channels, of random weights


def spec_of(params: Params, name: str, windows: Iterable[WindowLike]) -> NetworkSpec:
    """The network as params describe it, before it has learnt anything here."""
    from ich_pipeline.training.fit import network_seed
    from ich_pipeline.training.network import NetworkSpec
    from ich_pipeline.training.weights import PHANTOM
    from ich_pipeline.windowing.windows import window_of

    settings = params.networks[name]
    return NetworkSpec(
        architecture=name,
        image_size=settings.image_size,
        windows=tuple(window_of(window) for window in windows),
        labels=params.label_set.columns,
        weights=str(layout.PRETRAIN / name) if settings.weights == PHANTOM else settings.weights,
        dtype=params.training.dtype,
        batch_norm_momentum=params.training.batch_norm_momentum,
        seed=network_seed(params.seed, name),
        trainable_windows=params.windowing.trainable,
        cut=settings.cut,
        also_pooled=settings.also_pooled,
        pooling=settings.pooling,
        input_range=settings.input_range,
    )


def kinds_of(params: Params, name: str) -> dict[str, list[str]]:
    """Which features of a network are made, and the views of each."""
    from ich_pipeline.features.store import view_names

    every = view_names(params.interpolation.candidates, params.head.mirrored)
    kinds: dict[str, list[str]] = {}
    if params.networks[name].is_frozen:
        kinds[MULTI] = every
        if name in params.ablation:
            kinds[SINGLE] = every
    if name == params.baselines.random_network:
        kinds[RANDOM] = view_names((0.0,), mirrored=False)
    return kinds


def frozen_spec(stage: Stage, kind: str) -> NetworkSpec:
    """The network whose features are meant, before it has a head."""
    windowing = stage.params.windowing
    one = next(window for window in windowing.windows if window.name == windowing.single)
    windows = (one,) * len(windowing.windows) if kind == SINGLE else windowing.windows
    spec = spec_of(stage.params, stage.item or "", windows)
    return dataclasses.replace(spec, weights="none") if kind == RANDOM else spec


def weights_files(stage: Stage) -> list[Path]:
    """Files that the network's weights come from, outside the packages."""
    weights = Path(stage.params.networks[stage.item or ""].weights)
    folder = layout.PRETRAIN / (stage.item or "") if weights.name == "phantom" else weights
    if folder.is_dir():
        return sorted(folder.glob("*.h5")) + sorted(folder.glob("network.json"))
    return [weights] if weights.is_file() else []
