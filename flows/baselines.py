"""Stage baselines: readers without a trained network; each scores every slice of the window index.

They learn from the training cohort, and where the split stage drew folds from validation too, as the networks' heads do; the
HU rule may be a member of the ensemble.

What a baseline is: :mod:`ich_pipeline.baselines.stored`. To add one, write a function like :func:`_hu_rule` and name it in
:data:`MAKERS`; evaluate and report find its folder by themselves.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from flows.engine import layout
from flows.engine.run import main
from flows.engine.stage import Stage, StageResult
from ich_pipeline.baselines.hu_rule import FILE
from ich_pipeline.baselines.stored import Baseline, write_baseline
from ich_pipeline.core.files import atomic_dir

if TYPE_CHECKING:
    from ich_pipeline.baselines.forest import Forest
    from ich_pipeline.baselines.hu_rule import HuRule
    from ich_pipeline.training.data import CohortSlices

    Made = tuple[Baseline, HuRule | None]  # what a maker gives: scores, and a rule that can be a member of the ensemble


@dataclass(frozen=True)
class Material:
    """What a baseline is made of.

    Attributes:
        stage: parameters, progress and log.
        index: the window index; a baseline scores its slices, in its order.
        array: the window stage's largest pictures, (slices, s, s), HU.
        train: the labelled slices that it learns from: those of the training cohort, with folds also those of validation.
        fold: of each of these, where the split stage drew folds; else None.
    """

    stage: Stage
    index: pd.DataFrame
    array: Path
    train: CohortSlices
    fold: NDArray[np.int64] | None


def body(stage: Stage) -> StageResult:
    """Read work/window and the label files of train and validation, write work/baselines."""
    from ich_pipeline.registry.tracking import open_run
    from ich_pipeline.splits.fold_table import folds_of, read_folds
    from ich_pipeline.training.data import hu_file, joined, open_slices

    params = stage.params
    size = max(params.windowing.sizes)
    index, _ = open_slices(layout.WINDOW, size)
    # Figures on validation are for the reader of the summary; without folds nothing is learnt from it.
    train, validation = _cohort(stage, size, "train"), _cohort(stage, size, "validation")
    dealt, fold = read_folds(layout.SPLIT / "folds.parquet"), None
    if len(dealt):
        train = joined(train, validation)  # as the networks' heads do
        fold = folds_of(train.table["patient_key"], dealt)
    material = Material(stage, index, layout.WINDOW / hu_file(size), train, fold)
    rows = []
    with open_run(stage.name, stage.item, params) as run, atomic_dir(layout.BASELINES) as folder:
        run.params({"baselines": params.baselines.model_dump(mode="json")})
        for name, make in MAKERS.items():
            made = make(material)
            if made is None:
                continue
            baseline, rule = made
            assert baseline.name == name
            write_baseline(folder, baseline, index["SOPInstanceUID"], params.label_set)
            if rule is not None:
                rule.save(folder / name / FILE)
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


def _hu_rule(material: Material) -> Made:
    from ich_pipeline.baselines.forest import mean_forest
    from ich_pipeline.baselines.hu_features import measure, neighbourhood
    from ich_pipeline.baselines.hu_rule import HOW, MEMBER, TITLE, HuRule
    from ich_pipeline.tables.slice_index import neighbours_among
    from ich_pipeline.windowing.windows import clip_range

    stage, train, fold = material.stage, material.train, material.fold
    params, rows = stage.params, material.index["row"].to_numpy()
    _, highest = clip_range(params.windowing.windows)
    measured = measure(material.array, rows, highest, params.ingest.workers, stage.track)
    features = neighbourhood(measured, neighbours_among(material.index))
    if fold is None:
        forests = [_forest(material, features, np.arange(len(train)), params.seed)]
    else:
        parts = stage.track(range(int(fold.max()) + 1), "forests", int(fold.max()) + 1)
        forests = [_forest(material, features, np.flatnonzero(fold != k), params.seed + k) for k in parts]
    forest = mean_forest(forests)
    scores = forest.scores(features)
    if fold is not None:
        _out_of_fold(
            scores, train, fold, [forest.scores(features[train.table["row"].to_numpy()]) for forest in forests]
        )
    rule = HuRule(params.label_set.columns, max(params.windowing.sizes), highest, forest)
    return Baseline(MEMBER, TITLE, HOW, scores), rule


def _forest(material: Material, features: NDArray[np.float32], places: NDArray[np.intp], seed: int) -> Forest:
    """Trained on a choice of these of the slices to learn from."""
    from ich_pipeline.baselines.hu_rule import TITLE, Lesson, choose_slices, learn_forest

    params, train = material.stage.params, material.train
    patients, truth = train.table["patient_key"].to_numpy()[places], train.truth[places]
    chosen = choose_slices(truth[:, 0], patients, params.baselines.maximum_slices, seed)
    material.stage.log.info("%s: training on %d of %d slices", TITLE, len(chosen), len(places))
    rows = train.table["row"].to_numpy()[places[chosen]]
    lesson = Lesson(rows, truth[chosen], patients[chosen], truth.mean(axis=0))
    return learn_forest(features, lesson, params.baselines.trees, seed)


def _out_of_fold(
    scores: NDArray[np.float64],
    train: CohortSlices,
    fold: NDArray[np.int64],
    of_folds: Sequence[NDArray[np.floating]],
) -> None:
    """Put into ``scores`` what each fold's own reader says of its slices, in place of the mean, which has seen them.

    Args:
        scores: of every slice of the window index, (N, labels).
        of_folds: by fold, of the slices of ``train``, (n, labels).
    """
    scores[train.table["row"].to_numpy()] = np.stack(of_folds)[fold, np.arange(len(fold))]


def _random_network(material: Material) -> Made | None:
    """The head that the system's frozen networks have, on a network that has seen nothing."""
    from flows.networks import RANDOM
    from ich_pipeline.ensemble.folds import patient_folds
    from ich_pipeline.features.classifier import cross_fit
    from ich_pipeline.features.store import AS_IT_IS, read

    stage, train = material.stage, material.train
    params = stage.params
    name = params.baselines.random_network
    if name is None:
        return None
    folder = layout.FEATURES / name / RANDOM
    fold = material.fold
    if fold is None:
        patients = train.table["patient_key"].to_numpy()
        fold = patient_folds(np.unique(patients, return_inverse=True)[1], train.truth, params.ensemble.folds)
    learnt = read(folder, list(train.table["SOPInstanceUID"])).learning()
    cap = params.training.class_weight_cap
    fitted = cross_fit(learnt, train.truth, fold, params.head.penalties, cap, stage.track)
    every = read(folder, list(material.index["SOPInstanceUID"])).views[AS_IT_IS]
    scores = fitted.mean.probabilities(every).astype(np.float64)
    if material.fold is not None:
        _out_of_fold(scores, train, fold, [head.probabilities(learnt[0]) for head in fitted.folds])
    how = (
        f"{name} with random weights, never trained; the same head on its pooled features, fitted to the same patients"
    )
    return Baseline("random_network", "random network", how, scores), None


MAKERS: dict[str, Callable[[Material], Made | None]] = {"hu_rule": _hu_rule, "random_network": _random_network}


if __name__ == "__main__":
    main("baselines", body)
