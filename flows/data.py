"""``data/`` before the graph runs: the phantom is made anew where it is missing or its settings changed; what a user
brought is never touched."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import yaml

from flows import layout
from flows.dvc_command import DvcError, dvc, environment
from ich_pipeline.config import Params
from ich_pipeline.errors import InputError
from ich_pipeline.progress import terminal

POINTER = Path("data.dvc")


def cohort_kind() -> str | None:
    """What data/ holds by its mark (``phantom``, ``folder``); None where data/ is missing; ``folder`` without a mark."""
    if not layout.DATA.is_dir():
        return None
    try:
        return str(json.loads((layout.DATA / "cohort.json").read_text(encoding="utf-8"))["kind"])
    except (FileNotFoundError, json.JSONDecodeError, KeyError):
        return "folder"


def ensure(params: Params) -> str:
    """Make data/ ready and data.dvc agree with it.

    Returns:
        one sentence that says what was done.

    Raises:
        InputError: data/ is missing and data.dvc tracks a cohort that only its owner can bring back.
    """
    kind = cohort_kind()
    tracked = _tracked_kind()
    if kind is None and tracked not in (None, "phantom"):
        raise InputError(
            "data/ is missing and data.dvc tracks a cohort of your own: `dvc pull` fetches it from your remote, "
            "`ich cohort folder SOURCE --labels CSV` brings it anew, `ich cohort phantom` goes back to the synthetic one."
        )
    if kind is None or (kind == "phantom" and _phantom_is_stale(params)):
        from ich_pipeline.cohorts.phantom import create_phantom

        create_phantom(params, layout.DATA, terminal)
        _commit("phantom")
        return f"data/ made: {params.phantom.patients} synthetic patients"
    if tracked != kind:
        _commit(kind)
        return f"data.dvc now tracks the {kind} cohort in data/"
    return f"data/ holds the {kind} cohort"


def _phantom_is_stale(params: Params) -> bool:
    from ich_pipeline.cohorts.phantom import settings_of, settings_sha256

    mark = json.loads((layout.DATA / "cohort.json").read_text(encoding="utf-8"))
    return mark.get("settings_sha256") != settings_sha256(settings_of(params))


def _tracked_kind() -> str | None:
    if not POINTER.is_file():
        return None
    return (yaml.safe_load(POINTER.read_text(encoding="utf-8")).get("meta") or {}).get("cohort", "folder")


def _commit(kind: str) -> None:
    """Write data.dvc anew with the kind in its ``meta``; the same data gives the same file."""
    command = dvc("commit", "-q", "-f", str(POINTER)) if POINTER.is_file() else dvc("add", "-q", str(layout.DATA))
    done = subprocess.run(command, env=environment(), capture_output=True, text=True)
    if done.returncode:
        raise DvcError(done.stderr.strip())
    pointer = yaml.safe_load(POINTER.read_text(encoding="utf-8"))
    if (pointer.get("meta") or {}).get("cohort") != kind:
        pointer["meta"] = {"cohort": kind}
        POINTER.write_text(yaml.safe_dump(pointer, sort_keys=False), encoding="utf-8")
