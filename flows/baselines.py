"""Stage baselines: readers without a trained network, from the training cohort alone; each scores every slice of the window index.

What a baseline is: :mod:`ich_pipeline.baselines.stored`. To add one, write a function like :func:`_hu_rule` and name it in
:data:`MAKERS`; evaluate and report find its folder by themselves.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd

from flows import layout
from flows._stage import Stage, StageResult, main
from ich_pipeline.baselines.stored import Baseline, write_baseline
from ich_pipeline.files import atomic_dir

if TYPE_CHECKING:
    from ich_pipeline.training.data import CohortSlices


@dataclass(frozen=True)
class Material:
    """What a baseline is made of.

    Attributes:
        stage: parameters, progress and log.
        index: the window index; a baseline scores its slices, in its order.
        array: the window stage's largest pictures, (slices, s, s), HU.
        train: the labelled slices of the training cohort.
    """

    stage: Stage
    index: pd.DataFrame
    array: Path
    train: CohortSlices


def body(stage: Stage) -> StageResult:
    """Read work/window and the label files of train and validation, write work/baselines."""
    from ich_pipeline.folds import read_folds
    from ich_pipeline.registry.tracking import open_run
    from ich_pipeline.training.data import hu_file, joined, open_slices

    params = stage.params
    size = max(params.windowing.sizes)
    index, _ = open_slices(layout.WINDOW, size)
    # Looked at by nobody but the reader of the summary: nothing is chosen by it.
    train, validation = _cohort(stage, size, "train"), _cohort(stage, size, "validation")
    if len(read_folds(layout.SPLIT / "folds.parquet")):
        train = joined(train, validation)  # as the networks' heads do: then validation is no stranger to it
    material = Material(stage, index, layout.WINDOW / hu_file(size), train)
    rows = []
    with open_run(stage.name, stage.item, params) as run, atomic_dir(layout.BASELINES) as folder:
        run.params({"baselines": params.baselines.model_dump(mode="json")})
        for name, make in MAKERS.items():
            baseline = make(material)
            if baseline is None:
                continue
            assert baseline.name == name
            write_baseline(folder, baseline, index["SOPInstanceUID"], params.label_set)
            auc = _auc(baseline, validation)
            rows.append({"baseline": baseline.title, "validation AUC, slices": "not estimable" if auc is None else auc})
            run.metrics({name: {"validation auc any": auc}})
    table = pd.DataFrame(rows)
    words = "; ".join(f"{row['baseline']}: validation slice AUC {row['validation AUC, slices']}" for row in rows)
    return StageResult(words, tables={"baselines": table})


def _cohort(stage: Stage, size: int, cohort: str) -> CohortSlices:
    from ich_pipeline.training.data import load_cohort

    labels = layout.SPLIT / "labels" / f"{cohort}.csv"
    return load_cohort(layout.WINDOW, size, cohort, labels, stage.params.label_set)


def _auc(baseline: Baseline, cohort: CohortSlices) -> float | None:
    """Slice AUC of "any"; None where the cohort has one class alone."""
    from sklearn.metrics import roc_auc_score

    truth = cohort.truth[:, 0]
    if truth.min() == truth.max():
        return None
    return round(float(roc_auc_score(truth, baseline.scores[cohort.table["row"], 0])), 3)


def _hu_rule(material: Material) -> Baseline:
    from ich_pipeline.baselines.hu_features import neighbourhood
    from ich_pipeline.baselines.hu_rule import HOW, TITLE, Lesson, choose_slices, hu_rule
    from ich_pipeline.baselines.measure import measure
    from ich_pipeline.training.data import local_neighbours
    from ich_pipeline.windowing import clip_range

    stage, train = material.stage, material.train
    params, rows = stage.params, material.index["row"].to_numpy()
    _, highest = clip_range(params.windowing.windows)
    measured = measure(material.array, rows, highest, params.ingest.workers, stage.track)
    features = neighbourhood(measured, local_neighbours(material.index, rows))
    patients = train.table["patient_key"].to_numpy()
    chosen = choose_slices(train.truth[:, 0], patients, params.baselines.maximum_slices, params.seed)
    stage.log.info("%s: training on %d of %d slices", TITLE, len(chosen), len(train))
    rows_chosen = train.table["row"].to_numpy()[chosen]
    lesson = Lesson(rows_chosen, train.truth[chosen], patients[chosen], train.truth.mean(axis=0))
    scores = hu_rule(features, lesson, params.baselines.trees, params.seed)
    return Baseline("hu_rule", TITLE, HOW, scores)


def _random_network(material: Material) -> Baseline | None:
    """The head that the system's frozen networks have, on a network that has seen nothing."""
    import numpy as np

    from flows.features import RANDOM
    from ich_pipeline.ensemble.folds import patient_folds
    from ich_pipeline.features.head import cross_fit
    from ich_pipeline.features.store import AS_IT_IS, read

    stage, train = material.stage, material.train
    params = stage.params
    name = params.baselines.random_network
    if name is None:
        return None
    folder = layout.FEATURES / name / RANDOM
    patients = train.table["patient_key"].to_numpy()
    fold = patient_folds(np.unique(patients, return_inverse=True)[1], train.truth, params.ensemble.folds)
    learnt = read(folder, list(train.table["SOPInstanceUID"])).learning()
    cap = params.training.class_weight_cap
    fitted = cross_fit(learnt, train.truth, fold, params.head.penalties, cap, stage.track)
    every = read(folder, list(material.index["SOPInstanceUID"])).views[AS_IT_IS]
    scores = fitted.mean.probabilities(every).astype(np.float64)
    how = (
        f"{name} with random weights, never trained; the same head on its pooled features, fitted to the same patients"
    )
    return Baseline("random_network", "random network", how, scores)


MAKERS: dict[str, Callable[[Material], Baseline | None]] = {"hu_rule": _hu_rule, "random_network": _random_network}


if __name__ == "__main__":
    main("baselines", body)
