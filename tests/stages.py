"""Stages run in this process, in a project folder that a test made."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml

from flows.engine.stage import Body, Stage, StageResult
from ich_pipeline.config import Params, load_params


def run_stage(body: Body, name: str, item: str | None, params: Params) -> StageResult:
    """Run a stage's body as ``python -m flows.<name>`` does, without its boundary."""
    return body(Stage(name, item, params, logging.getLogger("test"), lambda fraction, text: None))


def content(folder: Path) -> dict[str, bytes]:
    """Bytes of every file under ``folder``, by its path there."""
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


@contextmanager
def working_in(folder: Path) -> Iterator[None]:
    """``folder`` as the project's top: the working directory, with a data folder and a tracking store of its own."""
    (folder / "data").mkdir()
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{folder}/mlflow.db")
        patch.delenv("ICH_RUN_ID", raising=False)
        yield


def params_of_one_size(project_root: Path, folder: Path, size: int, **changed: Any) -> Params:
    """The phantom profile with all pictures of one size, and the sections ``changed``, as params.yaml in ``folder``."""
    raw = yaml.safe_load((project_root / "ich_pipeline" / "profiles" / "phantom.yaml").read_text())
    raw["windowing"]["sizes"] = [size]
    for network in raw["networks"].values():
        network["image_size"] = size
    (folder / "params.yaml").write_text(yaml.safe_dump(raw | changed))
    return load_params(folder / "params.yaml")
