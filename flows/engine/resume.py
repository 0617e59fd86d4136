"""Where a stage keeps what it resumes from: ``.state/<stage>/<hash of all that its result depends on>``."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Iterable, Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

from flows.engine import graph, layout
from flows.engine.stage import Stage
from ich_pipeline.core.files import sha256_of


def state_folder(stage: Stage, data: Iterable[Path], settings: Mapping[str, Any]) -> Path:
    """The folder for these inputs: other code, data, settings or libraries give another one.

    Args:
        stage: names the folder's parent.
        data: files that the stage reads.
        settings: all parameters that count, as JSON values.
    """
    libraries = {name: version(name) for name in ("keras", "numpy", "tensorflow")}
    digest = hashlib.sha256(json.dumps([libraries, dict(settings)], sort_keys=True).encode())
    for path in stage.track([*graph.code_of([stage.name]), *data], "what the result depends on"):
        digest.update(f"{path.name}{sha256_of(path)}".encode())
    return _of(stage) / digest.hexdigest()[:16]


def forget(stage: Stage) -> None:
    """Remove the states of a stage, of these inputs and of earlier ones: its result is in place."""
    shutil.rmtree(_of(stage), ignore_errors=True)


def _of(stage: Stage) -> Path:
    return layout.STATE / stage.title
