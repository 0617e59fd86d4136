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
    from ich_pipeline.registry.tracking import open_run
    from ich_pipeline.training.data import hu_file, open_slices

    params = stage.params
    size = max(params.windowing.sizes)
    index, _ = open_slices(layout.WINDOW, size)
    material = Material(stage, index, layout.WINDOW / hu_file(size), _cohort(stage, size, "train"))
    # Looked at by nobody but the reader of the summary: nothing is chosen by it.
    validation = _cohort(stage, size, "validation")
    rows = []
    with open_run(stage.name, stage.item, params) as run, atomic_dir(layout.BASELINES) as folder:
        run.params({"baselines": params.baselines.model_dump(mode="json")})
        for name, make in MAKERS.items():
            baseline = make(material)
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


MAKERS: dict[str, Callable[[Material], Baseline]] = {"hu_rule": _hu_rule}


if __name__ == "__main__":
    main("baselines", body)
