"""Stage features: pooled features of every slice, of a network whose layers are all frozen. It reads no label.

It always leaves ``work/features/<architecture>/off.json`` or the features; of a network that the ablation names also those
of the single window; of the one that ``baselines.random_network`` names also those with random weights.
"""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING, Any

from flows.engine import layout, resume
from flows.engine.run import main
from flows.engine.stage import Stage, StageResult
from flows.networks import RANDOM, frozen_spec, kinds_of, weights_files
from ich_pipeline.core.files import atomic_dir, write_json

if TYPE_CHECKING:
    import pandas as pd
    from numpy.typing import NDArray

    from ich_pipeline.training.network import Network

ITEM = "architecture"
STATISTICS = (20, 32)  # batches, and slices of each, that tell a random network's batch normalisation its scale


def body(stage: Stage) -> StageResult:
    """Read work/window and work/pretrain, write work/features/<architecture>."""
    params, name = stage.params, stage.item or ""
    settings, target = params.networks[name], layout.FEATURES / name
    kinds = kinds_of(params, name)
    if not kinds:
        with atomic_dir(target) as folder:
            write_json(folder / "off.json", {"schema": "features/1", "features": False})
        return StageResult(f"off: layers of {name} learn, so its features are not made once")

    from ich_pipeline.features.store import compute, describe
    from ich_pipeline.tables.slice_index import INDEX_FILE, neighbours_among
    from ich_pipeline.training.data import hu_file, open_slices
    from ich_pipeline.training.network import Network

    index, hu = open_slices(layout.WINDOW, settings.image_size)
    neighbours = neighbours_among(index)
    data = [layout.WINDOW / INDEX_FILE, layout.WINDOW / hu_file(settings.image_size)]
    specs = {kind: frozen_spec(stage, kind) for kind in kinds}
    told = {"views": kinds, "networks": {kind: spec.to_json() for kind, spec in specs.items()}}
    state = resume.state_folder(stage, [*data, *weights_files(stage)], told)
    count = 0
    for kind, views in kinds.items():
        network = Network.build(specs[kind])
        if kind == RANDOM:
            _fit_statistics(network, hu, index)
        compute(network, hu, neighbours, views, state / kind, stage.track)
        count = int(network.model.get_layer("gap").output.shape[-1])
    with atomic_dir(target) as folder:
        for kind, views in kinds.items():
            shutil.copytree(state / kind, folder / kind)
            describe(folder / kind, index, views)
    resume.forget(stage)
    words = ", ".join(f"{len(views)} views ({kind})" for kind, views in kinds.items())
    return StageResult(f"{count:,} features of {len(index):,} slices; {words}")


def _fit_statistics(network: Network, hu: NDArray[Any], index: pd.DataFrame) -> None:
    """Batch normalisation of random layers knows nothing of their scale: it is told by training slices, without labels."""
    import numpy as np

    from ich_pipeline.training.batch_norm import re_estimate

    rows = index.loc[index["cohort"] == "train", "row"].to_numpy()
    count, size = STATISTICS
    spread = rows[np.linspace(0, len(rows) - 1, min(count * size, len(rows))).astype(int)]
    batches = (np.asarray(hu[np.sort(spread[k::count])], np.float32) for k in range(min(count, len(spread))))
    re_estimate(network.model, network.model.get_layer("backbone"), batches)


if __name__ == "__main__":
    main("features", body, ITEM)
