"""The part of stage train (and ablate) that fits a head on frozen features, cross-fitted where the patients are few."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from flows.engine import layout
from flows.engine.stage import Stage, StageResult
from flows.networks import MULTI, SINGLE

if TYPE_CHECKING:
    from ich_pipeline.features.classifier import CrossFitted, Head
    from ich_pipeline.features.store import Features
    from ich_pipeline.training.data import CohortSlices
    from ich_pipeline.training.network import NetworkSpec

SCHEMA = "head_fit/1"


def train_head(stage: Stage, spec: NetworkSpec, target: Path) -> StageResult:
    """Fit the head of ``spec`` and write its folder in ``target``, as stage train does of a network that learns whole.

    Without folds the heads are cross-fitted within the training cohort, and their mean answers for validation. With folds
    (work/split/folds.parquet) they are over train and validation together, and ``validation.parquet`` holds every slice's
    answer by the head that never saw its patient.
    """
    from ich_pipeline.core.files import atomic_dir, write_json, write_table, write_text
    from ich_pipeline.ensemble.folds import patient_folds
    from ich_pipeline.features.classifier import cross_fit
    from ich_pipeline.registry.tracking import open_run
    from ich_pipeline.splits.fold_table import folds_of, read_folds
    from ich_pipeline.tables.schemas import VALIDATION_TABLE
    from ich_pipeline.training.data import joined, load_cohort
    from ich_pipeline.training.network import Network
    from ich_pipeline.training.outputs import validation_table
    from ich_pipeline.training.weights import started_from

    params, name = stage.params, spec.architecture
    settings, labels, degrees = params.networks[name], params.label_set, params.interpolation.candidates
    train, validation = (
        load_cohort(layout.WINDOW, settings.image_size, cohort, layout.SPLIT / "labels" / f"{cohort}.csv", labels)
        for cohort in ("train", "validation")
    )
    dealt = read_folds(layout.SPLIT / "folds.parquet")
    source = layout.FEATURES / name / (SINGLE if target == layout.ABLATE else MULTI)
    if len(dealt):
        train = validation = joined(train, validation)
        fold = folds_of(train.table["patient_key"], dealt)
    else:
        fold = patient_folds(pd.factorize(train.table["patient_key"], sort=True)[0], train.truth, params.ensemble.folds)
    features = _features(source, train)
    count = int(fold.max()) + 1
    with open_run(stage.name, name, params) as recorder:
        recorder.params({"network": spec.to_json(), "head": params.head.model_dump(mode="json")})
        fitted = cross_fit(
            features.learning(),
            train.truth,
            fold,
            params.head.penalties,
            params.training.class_weight_cap,
            stage.track,
        )
        if len(dealt):
            probabilities = _out_of_fold(features, fold, degrees, fitted.folds)
        else:
            probabilities = _at(_features(source, validation), degrees, fitted.mean)
        network = Network.build(spec)
        network.set_head(fitted.mean.kernel, fitted.mean.bias)
        network.spec = dataclasses.replace(spec, weights=started_from(name, settings, layout.PRETRAIN / name))
        look = _look(validation, probabilities[0], params.training.class_weight_cap)
        with atomic_dir(target / name) as partial:
            network.save(partial)
            write_text(partial / "history.csv", look.to_csv(index=False, lineterminator="\n"))
            write_json(partial / "head_fit.json", _told(fitted, len(dealt), features))
            table = validation_table(validation, degrees, probabilities, labels)
            write_table(partial / "validation.parquet", table, VALIDATION_TABLE)
        recorder.metrics(
            {str(key): value for key, value in look.iloc[0].items() if key not in ("look", "step")}, step=1
        )
        recorder.artifact(target / name / "head_fit.json")
    return StageResult(
        summary=f"{name}, a head on {fitted.mean.kernel.shape[0]:,} frozen features ({count} folds): "
        + _words(look, "out of fold" if len(dealt) else "validation"),
        tables={
            "penalties": pd.DataFrame(
                [{"L2 penalty": p, "AUC of any out of fold": v} for p, v in fitted.figures.items()]
            )
        },
    )


def _features(source: Path, cohort: CohortSlices) -> Features:
    from ich_pipeline.features.store import read

    return read(source, list(cohort.table["SOPInstanceUID"]))


def _at(features: Features, degrees: tuple[float, ...], head: Head) -> NDArray[np.float32]:
    from ich_pipeline.features.store import at_degrees

    return at_degrees(features, degrees, head)


def _out_of_fold(
    features: Features, fold: NDArray[np.int64], degrees: tuple[float, ...], heads: tuple[Head, ...]
) -> NDArray[np.float32]:
    """(degrees, n, labels): each slice's answers by the head of its patient's fold."""
    every = np.stack([_at(features, degrees, head) for head in heads])
    return every[fold, :, np.arange(len(fold))].swapaxes(0, 1)


def _look(cohort: CohortSlices, probabilities: NDArray[np.float32], cap: float) -> pd.DataFrame:
    from ich_pipeline.training.looks import take_look
    from ich_pipeline.training.loss import class_weights, mean_loss

    weights = class_weights(cohort.truth, cap)
    loss = mean_loss(cohort.truth, probabilities, weights)
    look = take_look(1, 1, 1.0, loss, 0.0, cohort, probabilities, weights)
    return pd.DataFrame([dataclasses.asdict(look)])


def _told(fitted: CrossFitted, dealt: int, features: Features) -> dict[str, object]:
    return {
        "schema": SCHEMA,
        "penalty": fitted.penalty,
        "auc_out_of_fold": {f"{penalty:g}": auc for penalty, auc in fitted.figures.items()},
        "folds": len(fitted.folds),
        "patients_out_of_fold": dealt,  # 0: validation was left out instead
        "features": fitted.mean.kernel.shape[0],
        "views": list(features.views),
    }


def _words(look: pd.DataFrame, kind: str) -> str:
    row = look.iloc[0]
    ap, auc = ("none" if pd.isna(row[key]) else f"{row[key]:.3f}" for key in ("val_map", "val_auc_any"))
    return f"{kind} mAP {ap}, AUC of any {auc}"
