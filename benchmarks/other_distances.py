"""Would another distance notice a subtype that no training scan shows? `python benchmarks/other_distances.py`, after `make repro`.

For each subtype and each space: slices of both tests are compared with those of the training cases without the subtype, by the five
nearest or by Mahalanobis' distance; a case counts by its largest slice, its two largest or its median slice. Of validation cases
without the subtype 5 % lie beyond the limit. Prints the share beyond it of the tests' cases that show the subtype, of other
haemorrhages, and of cases without. docs/not-read.md has what came out.
"""

from __future__ import annotations

from concurrent.futures import ProcessPoolExecutor
from functools import partial
from math import ceil
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import ndimage
from scipy.spatial.distance import cdist

from flows.engine import layout
from flows.networks import RANDOM
from ich_pipeline.baselines.brain import find_brain
from ich_pipeline.config import load_params
from ich_pipeline.features.store import AS_IT_IS, read
from ich_pipeline.precedent.nearest import Neighbourhood, layouts
from ich_pipeline.training.data import hu_file
from ich_pipeline.windowing.windows import clip_range

Values = NDArray[np.floating]
TESTS = ("test_retrospective", "test_prospective")
NEAREST, FALSE_ALARMS, SHRINK = 5, 0.05, 0.1
DEPTHS, SECTORS = (0.06, 0.14, 0.28, 0.5), 8
BRIGHT_HU = 14  # above the brain's median
OF_A_CASE = {
    "largest": lambda d: np.max(d),
    "two largest": lambda d: np.sort(d)[-2:].mean(),
    "median": lambda d: np.median(d),
}


def body_and_shells(picture: NDArray[np.int16], highest: float) -> tuple[Values, Values]:
    """Of a slice: the largest bright body in the brain (zeros without one), and how bright what lies where below the skull."""
    body, shells = np.zeros(9), np.zeros((len(DEPTHS) + 1) * SECTORS)
    brain = find_brain(picture, highest)
    if brain is None:
        return body, shells
    excess = ndimage.gaussian_filter(brain.hu, 0.8) - np.median(brain.hu[brain.inside])
    whole = np.count_nonzero(brain.inside)
    bright = ndimage.binary_opening(brain.inside & (excess > BRIGHT_HU))
    labelled, count = ndimage.label(bright)  # type: ignore[misc]
    if count:
        sizes = np.bincount(labelled.ravel())
        y, x = np.nonzero(labelled == np.argmax(sizes[1:]) + 1)
        if len(y) >= 6:
            depth = brain.depth[y, x]
            middle, apart = (y.var() + x.var()) / 2, np.hypot((y.var() - x.var()) / 2, np.cov(y, x, bias=True)[0, 1])
            long = np.sqrt((middle + apart) / max(middle - apart, 0.3))
            size, all_of_it = np.log(len(y) / whole), np.log(np.count_nonzero(bright) / whole)
            near = (depth < 0.12).mean()
            body[:] = (1, size, depth.mean(), depth.max(), depth.min(), long, excess[y, x].mean() / 20, near, all_of_it)
    rows, columns = np.nonzero(brain.inside)
    turned = np.arctan2(rows - rows.mean(), columns - columns.mean()) + np.pi
    sector = (turned / (2 * np.pi) * SECTORS).astype(int) % SECTORS
    field = np.digitize(brain.depth[rows, columns], DEPTHS) * SECTORS + sector
    sums = np.bincount(field, np.clip(excess[rows, columns], -30, 60), len(shells))
    shells[:] = sums / np.maximum(np.bincount(field, minlength=len(shells)), 1)
    return body, shells


def measured(array: Path, ends: tuple[float, float], rows: NDArray[np.integer]) -> tuple[Values, Values, Values]:
    """Bodies, shells and layouts of slices."""
    hu = np.load(array, mmap_mode="r")[rows]
    found = [body_and_shells(picture, ends[1]) for picture in hu]
    return np.stack([one for one, _ in found]), np.stack([one for _, one in found]), layouts(hu, ends[0])


def nearest(space: Values, learned: NDArray[np.bool_]) -> Values:
    """Distance of every slice to the learned ones."""
    return Neighbourhood.of(space[learned]).distances(space, NEAREST)


def nearest_body(space: Values, learned: NDArray[np.bool_]) -> Values:
    """The same where a slice shows a bright body; 0 where not."""
    shown = space[:, 0] > 0
    known = space[learned & shown]
    middle, spread = known.mean(axis=0), known.std(axis=0) + 1e-6
    apart = np.sort(cdist((space - middle) / spread, (known - middle) / spread), axis=1)[:, :NEAREST].mean(axis=1)
    return np.where(shown, apart, 0.0)


def mahalanobis(space: Values, learned: NDArray[np.bool_]) -> Values:
    """Distance of every slice to the middle of the learned ones, with a shrunk covariance."""
    known = space[learned].astype(np.float64)
    covariance = np.cov(known.T)
    covariance += SHRINK * np.trace(covariance) / len(covariance) * np.eye(len(covariance))
    away = (space - known.mean(axis=0)) @ np.linalg.cholesky(np.linalg.inv(covariance))
    return np.sqrt((away * away).sum(axis=1))


def main() -> None:
    """Print a row for each subtype, space, distance and rule of a case."""
    params = load_params()
    index = pd.read_parquet(layout.WINDOW / "index.parquet").sort_values("row").reset_index(drop=True)
    array = layout.WINDOW / hu_file(max(params.windowing.sizes))
    work = partial(measured, array, clip_range(params.windowing.windows))
    with ProcessPoolExecutor() as pool:
        parts = list(pool.map(work, np.array_split(index["row"].to_numpy(), 80)))
    bodies, shells, fields = (np.concatenate([part[k] for part in parts]) for k in range(3))
    random = layout.FEATURES / str(params.baselines.random_network) / RANDOM
    untaught = read(random, list(index["SOPInstanceUID"])).views[AS_IT_IS]
    tried = [("the largest bright body", "nearest", nearest_body, bodies)]
    for name, space in (("shells", shells), ("12 × 12 fields", fields), ("untaught network", untaught)):
        tried += [(name, "nearest", nearest, space), (name, "Mahalanobis", mahalanobis, space)]
    cases = index[["case_id", "cohort"]].drop_duplicates("case_id").reset_index(drop=True)
    of_case = cases.reset_index().set_index("case_id")["index"].loc[index["case_id"]].to_numpy()
    labels = pd.read_csv(layout.LABELS).set_index("SOPInstanceUID").loc[index["SOPInstanceUID"]]
    truth = labels.groupby(of_case).max()
    cohort, bleeds = cases["cohort"].to_numpy(), truth[params.label_set.any].to_numpy() > 0
    tested = np.isin(cohort, TESTS)
    print(
        "| left out | space | distance | slice | found | other haemorrhages | without |\n|---|---|---|---|---:|---:|---:|"
    )
    for subtype in params.label_set.subtypes:
        shows = truth[subtype].to_numpy() > 0
        learned = ((cohort == "train") & ~shows)[of_case]
        for name, way, distance, space in tried:
            apart = pd.Series(distance(space, learned)).groupby(of_case)
            for rule, of_slices in OF_A_CASE.items():
                score = apart.agg(of_slices).to_numpy()
                held = np.sort(score[(cohort == "validation") & ~shows])
                limit = held[min(ceil((len(held) + 1) * (1 - FALSE_ALARMS)), len(held)) - 1]
                groups = (shows & tested, bleeds & ~shows & tested, ~bleeds & tested)
                shares = " | ".join(f"{(score[group] > limit).mean():.0%}" for group in groups)
                print(f"| {subtype} | {name} | {way} | {rule} | {shares} |", flush=True)


if __name__ == "__main__":
    main()
