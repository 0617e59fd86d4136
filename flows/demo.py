"""``make demo``: the whole chain on a few synthetic heads, in three minutes, for a first look at the pages.

It works in a folder of its own (``demo/``), with the stages of dvc.yaml in one process; the project's data, results and
registry are not touched. The profile ``demo`` says how small it is.
"""

from __future__ import annotations

import os
import shutil
import sys
import time
import webbrowser
from importlib import import_module
from pathlib import Path

from flows.engine import layout
from flows.engine.boundary import exit_status
from flows.engine.graph import stages, title
from flows.engine.run import run
from ich_pipeline.core.errors import InputError
from ich_pipeline.core.files import write_text
from ich_pipeline.core.stopping import stop_on_signals

FOLDER = Path("demo")
MARK = "made-by-make-demo"  # a folder without it is somebody's own
WITHOUT = ("register",)  # nothing of a demonstration belongs into a registry


def demo() -> Path:
    """Make data, run every stage, return the page.

    Raises:
        InputError: a folder of the user's is in the way, or what a stage says.
    """
    from ich_pipeline.config import load_params
    from ich_pipeline.config.profile import profile_text
    from ich_pipeline.core.progress import terminal
    from ich_pipeline.phantom import create_phantom

    if FOLDER.exists() and not (FOLDER / MARK).is_file():
        raise InputError(f"{FOLDER.absolute()} is there and was not made by `make demo`: move it away first.")
    shutil.rmtree(FOLDER, ignore_errors=True)
    write_text(FOLDER / MARK, "")
    write_text(FOLDER / "params.yaml", profile_text("demo"))
    os.chdir(FOLDER)
    os.environ.pop("ICH_EVENTS", None)
    os.environ |= {"PREFECT_API_URL": "", "MLFLOW_TRACKING_URI": f"sqlite:///{Path('mlflow.db').absolute()}"}
    params = load_params()
    print(f"{params.phantom.patients} synthetic heads …", flush=True)
    create_phantom(params, layout.DATA, terminal)
    steps = [one for one in stages(params) if one[0] not in WITHOUT]
    for number, (stage, item) in enumerate(steps, start=1):
        print(f"[{number} of {len(steps)}] {title(stage, item)}", flush=True)
        status = run(stage, import_module(f"flows.{stage}").body, item)
        if status:
            raise InputError(f"the demonstration ended at {title(stage, item)}; the sentence above says why.")
    return (layout.REPORTS / "index.html").absolute()


def main() -> int:
    """Entry of ``python -m flows.demo``; returns the exit status."""
    stop_on_signals()
    began = time.monotonic()

    def work() -> None:
        page = demo()
        opened = sys.stdout.isatty() and webbrowser.open(page.as_uri())
        print(f"{'Opened' if opened else 'The page:'} {page}")
        print(
            f"Took {time.monotonic() - began:.0f} s. Synthetic heads and minutes of training: the figures show the machinery. "
            "`make repro` is the real run."
        )

    return exit_status("demo", work, stopped="nothing of the project was touched")


if __name__ == "__main__":
    sys.exit(main())
