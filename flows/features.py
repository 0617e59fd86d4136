"""Stage features: pooled features of every slice, of a network whose layers are all frozen. It reads no label.

It always leaves ``work/features/<architecture>/off.json`` or the features; of a network that the ablation names also those
of the single window.
"""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

from flows import layout, resume
from flows._stage import Stage, StageResult, main
from ich_pipeline.files import atomic_dir, write_json

if TYPE_CHECKING:
    from ich_pipeline.training.network import NetworkSpec

ITEM = "architecture"
CODE = ("ich_pipeline/features", "ich_pipeline/training", "ich_pipeline/windowing.py", "flows/features.py")
MULTI, SINGLE = "windows", "single"


def body(stage: Stage) -> StageResult:
    """Read work/window and work/pretrain, write work/features/<architecture>."""
    params, name = stage.params, stage.item or ""
    settings, target = params.networks[name], layout.FEATURES / name
    if not settings.is_frozen:
        with atomic_dir(target) as folder:
            write_json(folder / "off.json", {"schema": "features/1", "features": False})
        return StageResult(f"off: layers of {name} learn, so its features are not made once")
    import numpy as np

    from ich_pipeline.features.store import compute, describe, view_names
    from ich_pipeline.training.data import INDEX_FILE, hu_file, open_slices
    from ich_pipeline.training.network import Network

    index, hu = open_slices(layout.WINDOW, settings.image_size)
    neighbours = np.stack([index[side].to_numpy() for side in ("before", "after")], axis=1)
    kinds = {MULTI: view_names(params.interpolation.candidates, params.head.mirrored)}
    if name in params.ablation:
        kinds[SINGLE] = view_names(params.interpolation.candidates, params.head.mirrored)
    data = [layout.WINDOW / INDEX_FILE, layout.WINDOW / hu_file(settings.image_size)]
    specs = {kind: frozen_spec(stage, kind == SINGLE) for kind in kinds}
    told = {"views": kinds, "networks": {kind: spec.to_json() for kind, spec in specs.items()}}
    state = resume.state_folder(stage, CODE, [*data, *weights_files(stage)], told)
    count = 0
    for kind, views in kinds.items():
        network = Network.build(specs[kind])
        compute(network, hu, neighbours, views, state / kind, stage.track)
        count = int(network.model.get_layer("gap").output.shape[-1])
    with atomic_dir(target) as folder:
        for kind, views in kinds.items():
            shutil.copytree(state / kind, folder / kind)
            describe(folder / kind, index, views)
    resume.forget(stage)
    return StageResult(f"{count:,} features of {len(index):,} slices in {len(kinds[MULTI])} views")


def frozen_spec(stage: Stage, single: bool) -> NetworkSpec:
    """The network whose features are meant, before it has a head."""
    from flows.train import spec_of

    windowing = stage.params.windowing
    one = next(window for window in windowing.windows if window.name == windowing.single)
    return spec_of(stage.params, stage.item or "", (one,) * len(windowing.windows) if single else windowing.windows)


def weights_files(stage: Stage) -> list[layout.Path]:
    """Files that the network's weights come from, outside the packages."""
    weights = layout.Path(stage.params.networks[stage.item or ""].weights)
    folder = layout.PRETRAIN / (stage.item or "") if weights.name == "phantom" else weights
    if folder.is_dir():
        return sorted(folder.glob("*.h5")) + sorted(folder.glob("network.json"))
    return [weights] if weights.is_file() else []


if __name__ == "__main__":
    main("features", body, ITEM)
