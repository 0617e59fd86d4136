"""An atlas and the choice of its maps, of a few real slices of a real network."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from ich_pipeline.config import ExplainParams
from ich_pipeline.core.files import sha256_of
from ich_pipeline.explain.atlas_build import Head, Slices, build_atlas
from ich_pipeline.explain.atlas_checks import HeldOut
from ich_pipeline.explain.attention import Explainer
from ich_pipeline.explain.choice import MapChoice, choose_maps
from ich_pipeline.explain.localisation import Draws
from ich_pipeline.explain.patches import Firing, firing
from ich_pipeline.tables.labels import Labels
from ich_pipeline.training.network import WEIGHTS_FILE, Network

DRAWS = Draws(replicates=50, seed=3, confidence=0.95)


def nothing_held_out(features: int, labels: Labels) -> HeldOut:
    """No validation slice."""
    truth = np.zeros((0, len(labels.subtypes)), np.uint8)
    return HeldOut(np.zeros((0, features), np.float32), truth, truth.astype(bool), [])


def fires_nowhere(slices: int, features: int) -> Firing:
    """One channel a feature, and none fires."""
    nothing = np.zeros((slices, features), np.float32)
    return Firing(np.arange(features, dtype=np.int32), nothing, np.full((slices, features, 2), 0.5, np.float32))


def unscored(labels: Labels, explain: ExplainParams) -> MapChoice:
    """What is chosen where validation has no masks."""

    def none(_: ExplainParams):
        raise AssertionError("no map is made where none can be scored")

    return choose_maps(labels, explain, ["x"], [], np.zeros((0, len(labels)), bool), none, DRAWS)


def save_atlas(
    labels: Labels,
    explain: ExplainParams,
    train: Path,
    images: np.ndarray,
    truth: np.ndarray,
    uids: Sequence[str],
    cases: Sequence[str],
    patients: Sequence[str],
    folder: Path,
) -> None:
    """Write ``atlas.npz``, ``atlas.json`` and ``maps.json`` for the network that was saved in ``train``."""
    maps = unscored(labels, explain)
    explainer = Explainer(Network.load(train), maps.applied(explain))
    levels = 20.0 * np.arange(len(images))
    slices = Slices(images, truth, uids, cases, patients, levels, {})
    head = Head(explainer.kernel, explainer.bias, sha256_of(train / WEIGHTS_FILE))
    atlas = build_atlas(
        labels,
        maps.applied(explain),
        head,
        explainer.explain(images),
        firing(Network.load(train), images),
        slices,
        nothing_held_out(len(explainer.kernel), labels),
        DRAWS,
    )
    folder.mkdir(parents=True, exist_ok=True)
    atlas.save(folder)
    maps.save(folder)
