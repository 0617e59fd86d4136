"""The HU rule on labelled scans, five folds by patient, pooled held-out scores: `python benchmarks/hu_rule.py INGEST LABELS SIZE…`.

INGEST is a folder that `ich ingest` wrote, LABELS a table as data/labels.csv, SIZE picture sizes in pixels. Prints slice AUC, average
precision and case AUC (largest slice score) of "any", mean of three draws of the folds, and milliseconds a slice.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from sklearn.metrics import average_precision_score, roc_auc_score

from ich_pipeline.baselines.hu_features import neighbourhood, slice_features
from ich_pipeline.baselines.hu_rule import Lesson, learn_forest
from ich_pipeline.config import load_params
from ich_pipeline.core.files import read_table
from ich_pipeline.ingest.volumes import SUFFIX, read_volume
from ich_pipeline.tables.label_tables import read_labels
from ich_pipeline.tables.schemas import SLICES_TABLE
from ich_pipeline.windowing.windows import clip_range, prepare

FOLDS, DRAWS, TREES = 5, 3, 200


def main(ingest: Path, labels: Path, sizes: list[int]) -> None:
    """Measure and print."""
    params = load_params()
    windows = params.windowing.windows
    slices = read_table(ingest / "slices.parquet", SLICES_TABLE)
    truth = read_labels(labels, params.label_set).set_index("SOPInstanceUID").loc[slices["SOPInstanceUID"]]
    of_any, patients = truth[[params.labels.any]].to_numpy(), pd.factorize(slices["patient_key"])[0]
    for size in sizes:
        pictures = np.empty((len(slices), size, size), np.int16)
        for volume, group in slices.groupby("volume", sort=False):
            hu = read_volume(ingest / "volumes" / f"{volume}{SUFFIX}")[group["index"].to_numpy()]
            pictures[group.index] = prepare(hu, size, windows)
        began = time.process_time()
        alone = np.stack([slice_features(picture, clip_range(windows)[1]) for picture in pictures])
        print(f"{size} pixels: {1000 * (time.process_time() - began) / len(slices):.1f} ms a slice")
        for name, features in (("slice alone", alone), ("with neighbours", neighbourhood(alone, _neighbours(slices)))):
            found = np.mean([_figures(features, of_any, patients, seed) for seed in range(DRAWS)], axis=0)
            print(f"  {name}: slice AUC {found[0]:.3f}, AP {found[1]:.3f}, case AUC {found[2]:.3f}")


def _neighbours(slices: pd.DataFrame) -> NDArray[np.int64]:
    row_of = pd.Series(np.arange(len(slices)), index=pd.MultiIndex.from_frame(slices[["volume", "index"]]))
    sides = ("neighbour_before", "neighbour_after")
    found = [row_of.reindex(list(zip(slices["volume"], slices[side], strict=True))) for side in sides]
    return np.stack([side.fillna(-1).to_numpy(np.int64) for side in found], axis=1)


def _figures(features: NDArray[np.float32], truth: NDArray[np.integer], patients: NDArray, seed: int) -> list[float]:
    bleeding = np.bincount(patients, truth[:, 0]) > 0
    rng = np.random.default_rng(seed)
    order = np.concatenate([rng.permutation(np.flatnonzero(bleeding == kind)) for kind in (True, False)])
    fold = np.empty(len(order), np.int64)
    fold[order] = np.arange(len(order)) % FOLDS
    scores = np.empty(len(truth))
    for k in range(FOLDS):
        held_out = fold[patients] == k
        rows = np.flatnonzero(~held_out)
        lesson = Lesson(rows, truth[rows], patients[rows], truth[rows].mean(axis=0))
        scores[held_out] = learn_forest(features, lesson, TREES, seed).scores(features[held_out])[:, 0]
    of_case = pd.Series(scores).groupby(patients).max()
    of_slices = roc_auc_score(truth[:, 0], scores), average_precision_score(truth[:, 0], scores)
    return [*map(float, of_slices), float(roc_auc_score(bleeding, of_case))]


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), [int(size) for size in sys.argv[3:]])
