"""Stage train: one architecture on the training cohort, watched on the validation cohort.

A network whose layers are all frozen is a head on its features (stage features), fitted to its optimum. Where the patients
are few, it is cross-fitted: every patient of train and validation is read by heads that never saw it, and their mean ships.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd

from flows.engine import layout, resume
from flows.engine.run import main
from flows.engine.stage import Stage, StageResult
from flows.networks import spec_of

if TYPE_CHECKING:
    from ich_pipeline.windowing.windows import WindowLike

ITEM = "architecture"


def body(stage: Stage) -> StageResult:
    """Read work/window and the label files of train and validation, write work/train/<architecture>."""
    return train(stage, stage.params.windowing.windows, layout.TRAIN)


def train(stage: Stage, windows: Iterable[WindowLike], target: Path) -> StageResult:
    """Train ``stage.item`` with these windows and write its folder in ``target``.

    What it needs to go on after a kill is in ``.state/<stage>`` until the result is in place.
    """
    from ich_pipeline.core.errors import InputError
    from ich_pipeline.core.files import atomic_dir, write_table, write_text
    from ich_pipeline.registry.tracking import open_run

    params = stage.params
    name = stage.item or ""
    if name not in params.architectures:
        raise InputError(
            f"params.yaml: architectures does not name {name!r}; it names {', '.join(params.architectures)}."
        )
    if params.networks[name].is_frozen:
        from flows.train_head import train_head

        return train_head(stage, spec_of(params, name, windows), target)
    settings = params.networks[name]
    labels = params.label_set
    folder = layout.SPLIT / "labels"
    from ich_pipeline.training.order import fix_order

    fix_order(name)
    # TensorFlow comes with these: only after the quick checks.
    from ich_pipeline.tables.schemas import VALIDATION_TABLE
    from ich_pipeline.tables.slice_index import INDEX_FILE
    from ich_pipeline.training.backend import keras
    from ich_pipeline.training.checkpoint import Checkpoint
    from ich_pipeline.training.data import hu_file, load_cohort
    from ich_pipeline.training.faults import told
    from ich_pipeline.training.fit import fit, start_network
    from ich_pipeline.training.interpolated import interpolated_probabilities
    from ich_pipeline.training.looks import Look
    from ich_pipeline.training.outputs import validation_table
    from ich_pipeline.training.weights import started_from

    source = started_from(name, settings, layout.PRETRAIN / name)
    cohorts = {
        cohort: load_cohort(layout.WINDOW, settings.image_size, cohort, folder / f"{cohort}.csv", labels)
        for cohort in ("train", "validation")
    }
    spec = spec_of(params, name, windows)
    network = start_network(spec, cohorts["train"], params.training)
    network.spec = spec = dataclasses.replace(spec, weights=source)  # what was in a file counts, not where it lay
    settings_json = {
        "network": spec.to_json(),
        "settings": settings.model_dump(mode="json", exclude={"weights"}),
        "training": params.training.model_dump(mode="json", exclude={"checkpoint_minutes"}),
        "backend": keras.backend.backend(),
    }
    data = [layout.WINDOW / INDEX_FILE, layout.WINDOW / hu_file(settings.image_size)]
    data += [folder / f"{cohort}.csv" for cohort in cohorts]
    checkpoint = Checkpoint(resume.state_folder(stage, data, settings_json), params.training.checkpoint_minutes)
    resources = told(name, settings.batch_size, params.training.accumulate, checkpoint.path)
    with resources, open_run(stage.name, name, params) as recorder:
        recorder.params(
            {"network": spec.to_json(), "settings": settings.model_dump(), "training": params.training.model_dump()}
        )

        def on_look(look: Look) -> None:
            values = asdict(look)
            recorder.metrics(
                {key: value for key, value in values.items() if key not in ("look", "step")}, step=look.step
            )
            stage.log.info(sentence(name, look))

        validation = cohorts["validation"]
        result = fit(network, cohorts["train"], validation, settings, params.training, on_look, stage.track, checkpoint)
        degrees = params.interpolation.candidates
        probabilities = interpolated_probabilities(
            network, validation.hu, validation.neighbours, degrees, result.validation_probabilities
        )
        with atomic_dir(target / name) as partial:
            network.save(partial)
            write_text(partial / "history.csv", result.table().to_csv(index=False, lineterminator="\n"))
            table = validation_table(validation, degrees, probabilities, labels)
            write_table(partial / "validation.parquet", table, VALIDATION_TABLE)
        recorder.artifact(target / name / "history.csv")
    resume.forget(stage)
    tables = {"looks at the validation set": result.table()}
    if spec.trainable_windows:
        columns = ["window", "center HU", "width HU", "function"]
        tables["windows as learnt"] = pd.DataFrame(network.windows(), columns=columns)
    return StageResult(summary=f"{sentence(name, result.best)}; {result.stopped}", tables=tables)


def sentence(name: str, look: object) -> str:
    """A look at the validation set in words."""
    from ich_pipeline.training.looks import Look

    assert isinstance(look, Look)
    ap = "none" if look.val_map is None else f"{look.val_map:.3f}"
    auc = "none" if look.val_auc_any is None else f"{look.val_auc_any:.3f}"
    return f"{name}, step {look.step} (epoch {look.epoch:.2f}): loss {look.loss:.3f}, validation mAP {ap}, AUC of any {auc}"


if __name__ == "__main__":
    main("train", body, ITEM)
