"""Where a stage keeps what it resumes from: ``.state/<stage>/<hash of all that its result depends on>``."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Iterable, Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

from flows import layout
from flows._stage import Stage

TOP = Path(__file__).parent.parent  # of the code; a stage may run in a folder that holds none (cross-validation)


def state_folder(stage: Stage, code: Iterable[str], data: Iterable[Path], settings: Mapping[str, Any]) -> Path:
    """The folder for these inputs: other code, data, settings or libraries give another one.

    Args:
        stage: names the folder's parent.
        code: files and folders of Python code, relative to the project's top.
        data: files that the stage reads.
        settings: all parameters that count, as JSON values.
    """
    libraries = {name: version(name) for name in ("keras", "numpy", "tensorflow")}
    digest = hashlib.sha256(json.dumps([libraries, dict(settings)], sort_keys=True).encode())
    files = [
        path for name in code for path in ([TOP / name] if name.endswith(".py") else sorted((TOP / name).rglob("*.py")))
    ]
    for path in stage.track([*files, *data], "what the result depends on"):
        with path.open("rb") as file:
            digest.update(path.name.encode() + hashlib.file_digest(file, "sha256").digest())
    return _of(stage) / digest.hexdigest()[:16]


def forget(stage: Stage) -> None:
    """Remove the states of a stage, of these inputs and of earlier ones: its result is in place."""
    shutil.rmtree(_of(stage), ignore_errors=True)


def _of(stage: Stage) -> Path:
    return layout.STATE / stage.title
