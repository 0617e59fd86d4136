"""``ich cohort``: bring a cohort into ``data/``."""

from __future__ import annotations

import json
from pathlib import Path

from ich_pipeline.config import Params
from ich_pipeline.errors import InputError
from ich_pipeline.progress import terminal

DATA = Path("data")
NEXT = "Next: `make repro`."


def kind() -> str | None:
    """What ``data/`` holds by its mark, ``folder`` (a user's own) without one; None where it is missing or empty."""
    if not DATA.is_dir() or not any(DATA.iterdir()):
        return None
    try:
        return str(json.loads((DATA / "cohort.json").read_text(encoding="utf-8"))["kind"])
    except (FileNotFoundError, json.JSONDecodeError, KeyError, TypeError):
        return "folder"


def make_phantom(params: Params, replace: bool) -> str:
    """Make the synthetic cohort in ``data/``; never over what a user brought, unless ``replace``."""
    if kind() not in (None, "phantom") and not replace:
        raise InputError(
            f"{DATA}/ holds a cohort of your own: add --replace to delete it and make the phantom in its place."
        )
    from ich_pipeline.cohorts.phantom import create_phantom

    create_phantom(params, DATA, terminal)
    return f"{DATA}/ holds {params.phantom.patients} synthetic patients. {NEXT}"


def bring_folder(source: Path, labels: Path, params: Params, replace: bool) -> str:
    """Copy DICOM files and a label table into ``data/``."""
    from ich_pipeline.cohorts import folder

    summary = folder.bring_folder(source, labels, DATA, params, terminal, replace=replace)
    return f"{summary} For a CPU, `ich profile laptop` sets sizes that it can train. {NEXT}"
