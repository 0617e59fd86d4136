"""``ich cohort``: bring a cohort into ``data/``."""

from __future__ import annotations

from pathlib import Path

from ich_pipeline.cohorts.mark import OWN, PHANTOM, cohort_kind, note_tracked_kind
from ich_pipeline.config import Params
from ich_pipeline.errors import InputError
from ich_pipeline.progress import terminal

DATA = Path("data")
POINTER = Path("data.dvc")
NEXT = "Next: `make repro`."


def make_phantom(params: Params, replace: bool) -> str:
    """Make the synthetic cohort in ``data/``; never over what a user brought, unless ``replace``."""
    if cohort_kind(DATA) not in (None, PHANTOM) and not replace:
        raise InputError(
            f"{DATA}/ holds a cohort of your own: add --replace to delete it and make the phantom in its place."
        )
    from ich_pipeline.cohorts.phantom import create_phantom

    create_phantom(params, DATA, terminal)
    note_tracked_kind(POINTER, PHANTOM)
    return f"{DATA}/ holds {params.phantom.patients} synthetic patients. {NEXT}"


def bring_folder(source: Path, labels: Path, params: Params, replace: bool) -> str:
    """Copy DICOM files and a label table into ``data/``."""
    from ich_pipeline.cohorts import folder

    summary = folder.bring_folder(source, labels, DATA, params, terminal, replace=replace)
    note_tracked_kind(POINTER, OWN)  # from now on a lost data/ is never replaced by a phantom
    return f"{summary} For a CPU, `ich profile laptop` sets sizes that it can train. {NEXT}"
