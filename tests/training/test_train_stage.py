"""Stage train on a small cohort: its state lives in ``.state`` until its result is in place."""

from __future__ import annotations

import errno
import logging
from pathlib import Path
from typing import Any

import killed_training
import numpy as np
import pandas as pd
import pytest

from flows import train as stage_train
from flows.engine import layout, resume
from flows.engine.run import run
from flows.engine.stage import Stage
from ich_pipeline.config import NetworkParams, Params, load_params
from ich_pipeline.core.errors import Fault
from ich_pipeline.core.files import read_table, write_table
from ich_pipeline.tables.label_tables import write_labels
from ich_pipeline.tables.schemas import VALIDATION_TABLE, WINDOW_INDEX
from ich_pipeline.training.network import Network
from ich_pipeline.training.trainer import Trainer

PHANTOM = Path(__file__).parents[2] / "ich_pipeline" / "profiles" / "phantom.yaml"


@pytest.fixture
def params(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Params:
    """Settings, and as current folder a project whose window and split stages ran: 24 slices to train on, 24 to validate."""
    monkeypatch.chdir(tmp_path)
    for name in ("MLFLOW_TRACKING_URI", "ICH_RUN_ID", "ICH_EVENTS", "PREFECT_API_URL"):
        monkeypatch.delenv(name, raising=False)
    base = load_params(PHANTOM)
    network = NetworkParams(image_size=32, epochs=2, batch_size=8, learning_rate=0.002, weights="none")
    training = base.training.model_copy(update={"negatives_per_positive": None, "validations": 2})
    slices = killed_training.spots(48)
    layout.WINDOW.mkdir(parents=True)
    np.save(layout.WINDOW / "hu_32.npy", slices.hu[:])
    index = pd.DataFrame({"row": range(48), "SOPInstanceUID": [f"1.{k}" for k in range(48)], "before": -1, "after": -1})
    index = index.assign(
        case_id=[f"C{k}" for k in range(48)],
        patient_key=[f"P{k}" for k in range(48)],
        cohort=["train"] * 24 + ["validation"] * 24,
        position_mm=0.0,
    )
    write_table(layout.WINDOW / "index.parquet", index, WINDOW_INDEX)
    truth = pd.DataFrame(0, index=range(48), columns=list(base.label_set.columns))
    truth.iloc[:, :3] = slices.truth
    table = pd.concat([index[["SOPInstanceUID"]], truth], axis=1)
    for cohort in ("train", "validation"):
        write_labels(layout.SPLIT / "labels" / f"{cohort}.csv", table[index["cohort"] == cohort], base.label_set)
    return base.model_copy(
        update={"architectures": ("tinynet",), "networks": {"tinynet": network}, "training": training}
    )


def stage(params: Params) -> Stage:
    return Stage("train", "tinynet", params, logging.getLogger("test"), lambda fraction, text: None)


@pytest.mark.long  # trains; a kill at any moment is tested in test_resume.py
def test_a_result_that_could_not_be_written_is_not_trained_again(
    params: Params, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(self: Network, folder: Path) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(Network, "save", full)
        with pytest.raises(
            Fault, match=r"no space is left on disk .* It goes on from \.state/train@tinynet/[0-9a-f]{16}/state.npz"
        ):
            stage_train.body(stage(params))
    assert not (layout.TRAIN / "tinynet").exists()
    kept = list(layout.STATE.glob("train@tinynet/*/state.npz"))
    assert len(kept) == 1

    def forbidden(*arguments: Any, **more: Any) -> None:
        raise AssertionError("it was trained already")

    monkeypatch.setattr(Trainer, "begin", forbidden)
    result = stage_train.body(stage(params))
    assert result.summary.endswith("all steps done")
    assert not (layout.STATE / "train@tinynet").exists(), "removed once the result is in place"
    target = layout.TRAIN / "tinynet"
    assert len(pd.read_csv(target / "history.csv")) == 2 and Network.load(target).spec.architecture == "tinynet"
    validation = read_table(target / "validation.parquet", VALIDATION_TABLE)
    assert len(validation) == 24 * len(params.interpolation.candidates)


def test_other_inputs_are_another_state(params: Params, monkeypatch: pytest.MonkeyPatch) -> None:
    data = [layout.WINDOW / "hu_32.npy"]
    folder = resume.state_folder(stage(params), data, {"seed": 1})
    assert folder == resume.state_folder(stage(params), data, {"seed": 1})
    assert folder.parent == Path(".state/train@tinynet")
    found = {folder, resume.state_folder(stage(params), data, {"seed": 2})}
    with monkeypatch.context() as other_code:
        other_code.setattr("flows.engine.graph.code_of", lambda stages: [Path(__file__)])
        found.add(resume.state_folder(stage(params), data, {"seed": 1}))
    np.save(data[0], np.zeros(3))
    found.add(resume.state_folder(stage(params), data, {"seed": 1}))
    assert len(found) == 4


def test_a_fault_is_its_sentence_and_status_1(params: Params, capsys: pytest.CaptureFixture[str]) -> None:
    Path("params.yaml").write_text(PHANTOM.read_text())
    layout.DATA.mkdir()

    def body(stage: Stage) -> Any:
        raise Fault("the disk is full: make room.")

    assert run("train", body, "vgg16") == 1
    assert capsys.readouterr().err == "train@vgg16 stopped: the disk is full: make room.\n"
    assert not (layout.STATE / "faults").exists()
