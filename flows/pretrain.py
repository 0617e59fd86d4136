"""Stage pretrain: what a network learns on varied synthetic heads, where ``networks.<name>.weights`` is ``phantom``.

It always leaves ``work/pretrain/<architecture>/origin.json``; where nothing is to be pretrained, nothing else.
"""

from __future__ import annotations

from dataclasses import asdict

from flows import layout, resume
from flows._stage import Stage, StageResult, main
from ich_pipeline.files import atomic_dir, write_json, write_text

ITEM = "architecture"
SCHEMA = "pretrain/1"
CODE = (
    "ich_pipeline/cohorts/phantom",
    "ich_pipeline/features/pretraining.py",
    "ich_pipeline/training",
    "ich_pipeline/windowing.py",
    "flows/pretrain.py",
)


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
    from ich_pipeline.features.pretraining import heads, pretraining_spec, settings_of, training_of
    from ich_pipeline.training.checkpoint import Checkpoint
    from ich_pipeline.training.faults import told
    from ich_pipeline.training.fit import fit, network_seed, start_network
    from ich_pipeline.training.looks import Look

    settings = settings_of(params.networks[name], params.pretrain)
    training = training_of(params.training)
    spec = pretraining_spec(name, params, network_seed(params.pretrain.seed, name))
    stage.log.info("drawing %d synthetic heads of %d pixels", params.pretrain.patients, spec.image_size)
    train, validation = heads(params, spec.image_size, stage.track)
    network = start_network(spec, train, training)
    kept = {
        "network": spec.to_json(),
        "settings": settings.model_dump(mode="json"),
        "pretrain": params.pretrain.model_dump(),
    }
    state = resume.state_folder(stage, CODE, (), kept)
    checkpoint = Checkpoint(state, params.training.checkpoint_minutes)
    with (
        told(name, settings.batch_size, training.accumulate, checkpoint.path),
        open_run(stage.name, name, params) as recorder,
    ):
        recorder.params(kept)

        def on_look(look: Look) -> None:
            figures = {key: value for key, value in asdict(look).items() if key not in ("look", "step")}
            recorder.metrics(figures, step=look.step)

        result = fit(network, train, validation, settings, training, on_look, stage.track, checkpoint)
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
