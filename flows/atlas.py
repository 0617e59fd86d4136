"""Stage atlas: the most representative training images of each subtype, and all training positives for the prediction basis."""

from __future__ import annotations

import numpy as np
import pandas as pd

from flows.engine import layout
from flows.engine.run import main
from flows.engine.stage import Stage, StageResult
from ich_pipeline.core.errors import InputError
from ich_pipeline.core.files import atomic_dir, read_json, read_table
from ich_pipeline.explain.atlas import Atlas
from ich_pipeline.explain.atlas_build import build_atlas, map_labels
from ich_pipeline.tables.cohort_mark import data_words
from ich_pipeline.tables.label_tables import read_labels
from ich_pipeline.tables.schemas import WINDOW_INDEX
from ich_pipeline.windowing.windows import prepare

THUMBNAIL = 128  # pixels a stored training picture has at most: 32 kB each, enough beside a slice


def body(stage: Stage) -> StageResult:
    """Read training images and labels, write work/atlas."""
    from ich_pipeline.evaluation.style import marked
    from ich_pipeline.explain.attention import Explainer
    from ich_pipeline.report.figures import draw_atlas
    from ich_pipeline.training.network import Network

    params, labels = stage.params, stage.params.label_set
    rows = _training_positives(params.label_set)
    network = Network.load(layout.TRAIN / params.explain.architecture)
    largest = max(read_json(layout.WINDOW / "windows.json")["image_sizes"])
    hu = np.load(layout.WINDOW / f"hu_{network.spec.image_size}.npy", mmap_mode="r")
    pictures = np.load(layout.WINDOW / f"hu_{largest}.npy", mmap_mode="r")
    at = rows["row"].to_numpy()
    truth = rows[list(labels.subtypes)].to_numpy(np.uint8)
    explainer = Explainer(network, params.explain)
    # A subtype's map is wanted where it is there; the one of "any" of every slice.
    of_any = np.ones((len(truth), 1), bool)
    wanted = np.concatenate([of_any, truth.astype(bool)], axis=1)
    wanted &= np.isin(labels.columns, map_labels(labels, params.explain))
    attention = explainer.explain(hu[at], wanted, stage.track)
    atlas = build_atlas(
        labels,
        params.explain,
        explainer.kernel,
        attention,
        prepare(pictures[at], min(largest, THUMBNAIL), network.spec.windows),
        truth,
        rows["SOPInstanceUID"].tolist(),
        rows["case_id"].tolist(),
        # The atlas goes into the registered model: it needs to tell patients apart, not to name them.
        [str(number) for number in pd.factorize(rows["patient_key"])[0]],
    )
    with atomic_dir(layout.ATLAS) as folder:
        atlas.save(folder)
        with marked(data_words(layout.DATA)):
            draw_atlas(atlas, network.spec.windows, params.explain.region_fraction, folder / "atlas.png")
    table = _table(atlas)
    shown = int(table["examples"].sum())
    summary = (
        f"{shown} examples of {len(labels.subtypes)} subtypes from {len(at):,} positive training slices; {atlas.method}"
    )
    return StageResult(summary, tables={"atlas": table}, pictures={"atlas": layout.ATLAS / "atlas.png"})


def _training_positives(labels) -> pd.DataFrame:
    """Rows of the window index of the training slices with at least one subtype, with their labels."""
    index = read_table(layout.WINDOW / "index.parquet", WINDOW_INDEX)
    truth = read_labels(layout.SPLIT / "labels" / "train.csv", labels)
    truth = truth[truth[list(labels.subtypes)].to_numpy().any(axis=1)]
    rows = index[index["cohort"] == "train"].merge(truth, on="SOPInstanceUID").sort_values("row", kind="stable")
    if rows.empty:
        raise InputError(
            f"{layout.SPLIT / 'labels' / 'train.csv'} has no positive slice of any subtype: an atlas needs some; bring labels."
        )
    return rows


def _table(atlas: Atlas) -> pd.DataFrame:
    return pd.DataFrame(
        [
            {
                "subtype": e.label,
                "training positives": len(e.positives),
                "classic features": len(e.classic.features),
                "AUC among positives": round(e.discrimination, 3),
                "examples": len(e.ranked),
                "note": e.reason or "",
            }
            for e in atlas.entries
        ]
    )


if __name__ == "__main__":
    main("atlas", body)
