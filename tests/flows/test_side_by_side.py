"""Which stages may run at the same time, and on which GPUs."""

from __future__ import annotations

from pathlib import Path

import pytest

from flows.engine.side_by_side import devices, groups
from ich_pipeline.config import Params, load_params

STAGES = ["ingest", "window", "train@a", "train@b", "ablate@a", "calibrate", "evaluate@x", "evaluate@y"]


@pytest.fixture
def params(project_root: Path) -> Params:
    return load_params(project_root / "ich_pipeline" / "profiles" / "paper.yaml")


def test_trainings_go_together_and_nothing_else() -> None:
    assert groups(STAGES, together=True) == [
        ["ingest"], ["window"], ["train@a", "train@b", "ablate@a"], ["calibrate"], ["evaluate@x"], ["evaluate@y"]
    ]  # fmt: skip
    assert groups(STAGES, together=False) == [[name] for name in STAGES]


@pytest.mark.parametrize(
    ("visible", "found"), [("0,1", ["0", "1"]), ("3", ["3"]), ("", []), ("-1", []), ("GPU-5e4a, GPU-77", ["GPU-5e4a", "GPU-77"])]
)  # fmt: skip
def test_cuda_visible_devices_counts(
    visible: str, found: list[str], params: Params, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    assert devices(params) == found


def test_nvidia_smi_is_asked_where_nothing_is_named(
    params: Params, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    program = tmp_path / "nvidia-smi"
    program.write_text("#!/bin/sh\nprintf '0\\n1\\n2\\n'\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    assert devices(params) == ["0", "1", "2"]
    program.write_text("#!/bin/sh\nexit 9\n")
    assert devices(params) == [], "a driver that does not answer is no GPU"
    program.unlink()
    monkeypatch.setenv("PATH", str(tmp_path))
    assert devices(params) == []


def test_a_training_that_takes_all_gpus_shares_none(params: Params, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,1")
    every = params.model_copy(update={"training": params.training.model_copy(update={"gpus": "all"})})
    assert len(devices(every)) == 1
