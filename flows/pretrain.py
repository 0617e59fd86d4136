"""Stage pretrain: what a network learns on varied synthetic heads, where ``networks.<name>.weights`` is ``phantom``.

It always leaves ``work/pretrain/<architecture>/origin.json``; where nothing is to be pretrained, nothing else.
"""

from __future__ import annotations

from dataclasses import asdict

from flows.engine import layout, resume
from flows.engine.run import main
from flows.engine.stage import Stage, StageResult
from ich_pipeline.core.files import atomic_dir, write_json, write_text

ITEM = "architecture"
SCHEMA = "pretrain/1"


def body(stage: Stage) -> StageResult:
    """Draw heads, train, write work/pretrain/<architecture>."""
    params, name = stage.params, stage.item or ""
    target = layout.PRETRAIN / name
    if params.networks[name].weights != "phantom":
        with atomic_dir(target) as folder:
            write_json(folder / "origin.json", {"schema": SCHEMA, "pretrained": False})
        return StageResult(f"off: networks.{name}.weights is not phantom")
    from ich_pipeline.registry.tracking import open_run
    from ich_pipeline.training.order import fix_order

    fix_order(name)
    # TensorFlow comes with these.
    from ich_pipeline.features.pretraining import pretrain, pretraining_spec
    from ich_pipeline.training.checkpoint import Checkpoint
    from ich_pipeline.training.faults import told
    from ich_pipeline.training.looks import Look

    spec = pretraining_spec(name, params)
    stage.log.info("drawing %d synthetic heads of %d pixels", params.pretrain.patients, spec.image_size)
    kept = {"network": spec.to_json(), "pretrain": params.pretrain.model_dump(mode="json")}
    checkpoint = Checkpoint(resume.state_folder(stage, (), kept), params.training.checkpoint_minutes)
    with (
        told(name, params.pretrain.batch_size, params.training.accumulate, checkpoint.path),
        open_run(stage.name, name, params) as recorder,
    ):
        recorder.params(kept)

        def on_look(look: Look) -> None:
            figures = {key: value for key, value in asdict(look).items() if key not in ("look", "step")}
            recorder.metrics(figures, step=look.step)

        network, result = pretrain(name, params, stage.track, on_look, checkpoint)
        with atomic_dir(target) as folder:
            network.save(folder)
            write_text(folder / "history.csv", result.table().to_csv(index=False, lineterminator="\n"))
            write_json(folder / "origin.json", {"schema": SCHEMA, "pretrained": True, **kept})
        recorder.artifact(target / "history.csv")
    resume.forget(stage)
    auc = result.best.val_auc_any
    return StageResult(
        f"{name} on {params.pretrain.patients} synthetic heads: AUC of any {auc or float('nan'):.3f} on others of them",
        tables={"looks at other synthetic heads": result.table()},
    )


if __name__ == "__main__":
    main("pretrain", body, ITEM)
