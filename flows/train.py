"""Stage train: one architecture on the training cohort, watched on the validation cohort."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from flows import layout
from flows._stage import Stage, StageResult, main

if TYPE_CHECKING:
    from ich_pipeline.windowing import WindowLike

ITEM = "architecture"


def body(stage: Stage) -> StageResult:
    """Read work/window and the label files of train and validation, write work/train/<architecture>."""
    return train(stage, stage.params.windowing.windows, layout.TRAIN)


def train(stage: Stage, windows: Iterable[WindowLike], target: Path) -> StageResult:
    """Train ``stage.item`` with these windows and write its folder in ``target``."""
    from ich_pipeline.errors import InputError
    from ich_pipeline.files import atomic_dir, write_table, write_text
    from ich_pipeline.registry.tracking import open_run

    params = stage.params
    name = stage.item or ""
    if name not in params.architectures:
        raise InputError(
            f"params.yaml: architectures does not name {name!r}; it names {', '.join(params.architectures)}."
        )
    settings = params.networks[name]
    labels = params.label_set
    folder = layout.SPLIT / "labels"
    # TensorFlow comes with these: only after the quick checks.
    from ich_pipeline.training.data import load_cohort
    from ich_pipeline.training.fit import Look, fit, network_seed, start_network
    from ich_pipeline.training.interpolated import interpolated_probabilities
    from ich_pipeline.training.network import NetworkSpec
    from ich_pipeline.training.outputs import VALIDATION_SCHEMA, validation_table
    from ich_pipeline.windowing import Window

    cohorts = {
        cohort: load_cohort(layout.WINDOW, settings.image_size, cohort, folder / f"{cohort}.csv", labels)
        for cohort in ("train", "validation")
    }
    first, second, third = (Window(w.name, w.center, w.width) for w in windows)
    spec = NetworkSpec(
        architecture=name,
        image_size=settings.image_size,
        windows=(first, second, third),
        labels=labels.columns,
        weights=settings.weights,
        dtype=params.training.dtype,
        batch_norm_momentum=params.training.batch_norm_momentum,
        seed=network_seed(params.seed, name),
    )
    network = start_network(spec, cohorts["train"], params.training)
    if spec.weights not in ("none", "imagenet"):  # what was in the file counts, not where it lay
        source = Path(spec.weights)
        digest = hashlib.sha256(source.read_bytes()).hexdigest()
        network.spec = spec = dataclasses.replace(spec, weights=f"{source.name} (sha256 {digest[:16]})")
    with open_run(stage.name, name, params) as recorder:
        recorder.params(
            {"network": spec.to_json(), "settings": settings.model_dump(), "training": params.training.model_dump()}
        )

        def on_look(look: Look) -> None:
            values = asdict(look)
            recorder.metrics(
                {key: value for key, value in values.items() if key not in ("look", "step")}, step=look.step
            )
            stage.log.info(_sentence(name, look))

        result = fit(network, cohorts["train"], cohorts["validation"], settings, params.training, on_look, stage.track)
        validation = cohorts["validation"]
        degrees = params.interpolation.candidates
        probabilities = interpolated_probabilities(
            network, validation.hu, validation.neighbours, degrees, result.validation_probabilities
        )
        with atomic_dir(target / name) as partial:
            network.save(partial)
            write_text(partial / "history.csv", result.table().to_csv(index=False, lineterminator="\n"))
            table = validation_table(validation, degrees, probabilities, labels)
            write_table(partial / "validation.parquet", table, VALIDATION_SCHEMA)
        recorder.artifact(target / name / "history.csv")
    return StageResult(
        summary=f"{_sentence(name, result.best)}; {result.stopped}",
        tables={"looks at the validation set": result.table()},
    )


def _sentence(name: str, look: object) -> str:
    from ich_pipeline.training.fit import Look

    assert isinstance(look, Look)
    ap = "none" if look.val_map is None else f"{look.val_map:.3f}"
    auc = "none" if look.val_auc_any is None else f"{look.val_auc_any:.3f}"
    return f"{name}, step {look.step} (epoch {look.epoch:.2f}): loss {look.loss:.3f}, validation mAP {ap}, AUC of any {auc}"


if __name__ == "__main__":
    main("train", body, ITEM)
