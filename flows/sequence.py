"""Stage sequence: for each network of ``sequence.architectures``, a head over a case's slices, on its frozen features.

It always leaves ``work/sequence/heads.json``; where no head is wanted, nothing else.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from flows.engine import layout
from flows.engine.run import main
from flows.engine.stage import Stage, StageResult
from ich_pipeline.core.files import atomic_dir, write_table, write_text
from ich_pipeline.sequence.stored import VALIDATION_FILE, write_list

if TYPE_CHECKING:
    from ich_pipeline.registry.tracking import Recorder
    from ich_pipeline.sequence.features import FeatureReader
    from ich_pipeline.sequence.fit import CohortSequences, FitResult
    from ich_pipeline.training.looks import Look

BLOCK = 256  # slices read at once


def body(stage: Stage) -> StageResult:
    """Read work/window, work/train and the label files of train and validation, write work/sequence."""
    from ich_pipeline.registry.tracking import open_run
    from ich_pipeline.training.order import fix_order

    names = stage.params.sequence.architectures
    if not names:
        with atomic_dir(layout.SEQUENCE) as folder:
            write_list(folder, {})
        return StageResult("off: sequence.architectures in params.yaml names no network")
    fix_order("sequence head")  # gradients meet in it that are in use elsewhere; before TensorFlow comes
    results: dict[str, FitResult] = {}
    with open_run(stage.name, stage.item, stage.params) as recorder, atomic_dir(layout.SEQUENCE) as folder:
        recorder.params({"sequence": stage.params.sequence.model_dump(mode="json")})
        for name in names:
            results[name] = _train(stage, name, folder / name, recorder)
        write_list(folder, {name: result.head.spec.epoch for name, result in results.items()})
    tables = {f"{name}, looks at the validation set": result.table() for name, result in results.items()}
    return StageResult("; ".join(_words(name, result) for name, result in results.items()), tables=tables)


def _train(stage: Stage, name: str, target: Path, recorder: Recorder) -> FitResult:
    from ich_pipeline.sequence.features import FeatureReader
    from ich_pipeline.sequence.fit import fit_head
    from ich_pipeline.sequence.head import HeadSpec
    from ich_pipeline.sequence.member import member_of
    from ich_pipeline.tables.schemas import VALIDATION_TABLE
    from ich_pipeline.training.fit import network_seed
    from ich_pipeline.training.network import Network
    from ich_pipeline.training.outputs import validation_table

    params = stage.params
    network = Network.load(layout.TRAIN / name)
    reader = FeatureReader(network)
    spec = HeadSpec(
        architecture=name,
        features=reader.count,
        labels=tuple(network.spec.labels),
        units=params.sequence.units,
        dropout=params.sequence.dropout,
        seed=network_seed(params.seed, member_of(name)),
    )

    def on_look(look: Look) -> None:
        values = {key: value for key, value in asdict(look).items() if key not in ("look", "step")}
        recorder.metrics({name: values}, step=round(look.epoch))

    with _sequences(stage, reader, "train") as train, _sequences(stage, reader, "validation") as validation:
        result = fit_head(
            spec, train, validation, params.sequence, params.training.class_weight_cap, on_look, stage.track
        )
        target.mkdir()
        result.head.save(target)
        write_text(target / "history.csv", result.table().to_csv(index=False, lineterminator="\n"))
        table = validation_table(validation.cohort, (0.0,), result.validation[None], params.label_set)
        write_table(target / VALIDATION_FILE, table, VALIDATION_TABLE)
    stage.log.info(_words(name, result))
    return result


@contextmanager
def _sequences(stage: Stage, reader: FeatureReader, cohort: str) -> Iterator[CohortSequences]:
    """The slices of a cohort's cases with their features, which lie in a scratch file while they are used."""
    from ich_pipeline.sequence.fit import CohortSequences
    from ich_pipeline.training.data import load_cohort, open_slices

    size, labels = reader.network.spec.image_size, stage.params.label_set
    labelled = load_cohort(layout.WINDOW, size, cohort, layout.SPLIT / "labels" / f"{cohort}.csv", labels)
    index, hu = open_slices(layout.WINDOW, size)
    table = index.loc[index["case_id"].isin(labelled.table["case_id"])]
    rows = table["row"].to_numpy()
    layout.STATE.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(dir=layout.STATE, prefix="sequence-") as folder:
        features: Any = np.lib.format.open_memmap(
            Path(folder) / "features.npy", mode="w+", dtype=np.float32, shape=(len(rows), reader.count)
        )
        logits = np.empty((len(rows), len(labels)), np.float32)
        words = f"features of {reader.network.spec.architecture}, {cohort}"
        for start in stage.track(range(0, len(rows), BLOCK), words):
            read = reader(hu[rows[start : start + BLOCK]])
            features[start : start + BLOCK], logits[start : start + BLOCK] = read.features, read.logits
        yield CohortSequences(
            features=features,
            logits=logits,
            case_index=pd.factorize(table["case_id"])[0],
            labelled=table["SOPInstanceUID"].isin(labelled.table["SOPInstanceUID"]).to_numpy(),
            cohort=labelled,
        )


def _words(name: str, result: FitResult) -> str:
    alone, best = result.history[0], result.best
    before, after = ("none" if look.val_map is None else f"{look.val_map:.3f}" for look in (alone, best))
    if result.head.spec.epoch == 0:
        return f"{name}: no epoch of its sequence head was better on validation than the network alone (mAP {before})"
    return f"{name}: validation mAP {before} alone, {after} with its sequence head (epoch {best.epoch:g})"


if __name__ == "__main__":
    main("sequence", body)
