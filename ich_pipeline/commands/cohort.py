"""``ich cohort``: bring a cohort into ``data/``."""

from __future__ import annotations

from pathlib import Path

from ich_pipeline.alone import alone
from ich_pipeline.cohorts.mark import PHANTOM, cohort_kind, note_tracked_kind
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

    with alone():
        create_phantom(params, DATA, terminal)
    note_tracked_kind(POINTER, PHANTOM)
    return f"{DATA}/ holds {params.phantom.patients} synthetic patients. {NEXT}"


def bring(kind: str, source: Path, labels: Path, params: Params, replace: bool, lenient: bool) -> str:
    """Copy DICOM files and a label table of this kind into ``data/``."""
    from ich_pipeline.cohorts import bring as adapters

    with alone():
        summary, level = adapters.bring(kind, source, labels, DATA, params, terminal, replace=replace, lenient=lenient)
    note_tracked_kind(POINTER, kind)  # from now on a lost data/ is never replaced by a phantom
    if level == "case":
        return f"{summary} These are labels of cases: no network can be trained on them, they can only test one."
    return f"{summary} For a CPU, `ich profile laptop` sets sizes that it can train. {NEXT}"
