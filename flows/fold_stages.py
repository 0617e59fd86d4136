"""The stages of many folds in one process: TensorFlow is loaded once, and a fold costs seconds.

``python -m flows.fold_stages FOLDER…`` runs in each folder (of :mod:`flows.crossvalidate`) what is not done there yet.
"""

from __future__ import annotations

import importlib
import os
import sys
from pathlib import Path

from flows.crossvalidate import steps_of
from flows.engine.run import run
from ich_pipeline.config import load_params
from ich_pipeline.core.files import write_text
from ich_pipeline.core.stopping import stop_on_signals


def main(folders: list[str]) -> int:
    """Run all stages of all folders; returns the status of the first that fails, or 0."""
    stop_on_signals()
    for folder in map(Path, folders):
        os.chdir(folder)
        status = _fold(folder)
        if status:
            return status
    return 0


def _fold(folder: Path) -> int:
    for stage, item in steps_of(load_params()):
        title = f"{stage}@{item}" if item else stage
        done = folder / "done" / title
        if not done.exists():
            status = run(stage, importlib.import_module(f"flows.{stage}").body, item)
            if status:
                return status
            write_text(done, "")
        print(f"{folder.parent.name}, {folder.name}, {title}: done", flush=True)
    if "keras" in sys.modules:  # what Keras remembers of networks that nobody uses any more
        sys.modules["keras"].utils.clear_session()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
