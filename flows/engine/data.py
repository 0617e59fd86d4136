"""``data/`` before the graph runs: the phantom is made anew where it is missing or its settings changed; what a user
brought is never touched."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

from flows.engine import layout
from flows.engine.dvc import DvcError, dvc, environment
from ich_pipeline.config import Params
from ich_pipeline.core.errors import InputError
from ich_pipeline.core.files import put_back
from ich_pipeline.core.progress import terminal
from ich_pipeline.tables.cohort_mark import (
    MARK,
    PHANTOM,
    cohort_kind,
    has_case_labels_only,
    note_tracked_kind,
    tracked_kind,
)

POINTER = Path("data.dvc")


def ensure(params: Params) -> str:
    """Make data/ ready and data.dvc agree with it.

    Returns:
        one sentence that says what was done.

    Raises:
        InputError: data/ is missing and data.dvc tracks a cohort that only its owner can bring back, or data/ lacks a part or
            labels of slices.
    """
    put_back(layout.DATA)
    kind = cohort_kind(layout.DATA)
    tracked = tracked_kind(POINTER)
    if kind is None and tracked not in (None, PHANTOM):
        raise InputError(
            "data/ is missing and data.dvc tracks a cohort of your own: `dvc pull` fetches it from your remote, "
            "`ich cohort folder SOURCE --labels CSV` brings it anew, `ich cohort phantom` goes back to the synthetic one."
        )
    if kind is None or (kind == PHANTOM and (_phantom_is_stale(params) or _differs())):
        from ich_pipeline.phantom import create_phantom

        create_phantom(params, layout.DATA, terminal)
        _commit(PHANTOM)
        again = "" if kind is None else ", anew, since they differed from params.yaml or data.dvc"
        return f"data/ made: {params.phantom.patients} synthetic patients{again}"
    for part in (layout.DICOM, layout.LABELS):
        if not part.exists():
            raise InputError(
                f"{part} is missing: `ich cohort folder SOURCE --labels CSV` lays out data/ as it must be."
            )
    if has_case_labels_only(layout.DATA):
        raise InputError(
            f"data/ holds a {kind} cohort with labels of cases only, and training needs a label for every slice: bring a cohort "
            "with slice labels (`ich cohort --help` lists the forms)."
        )
    if tracked != kind or _differs():
        _commit(kind)
        return f"data.dvc now tracks the {kind} cohort as it is in data/"
    return f"data/ holds the {kind} cohort"


def _phantom_is_stale(params: Params) -> bool:
    from ich_pipeline.phantom import settings_of, settings_sha256

    mark = json.loads((layout.DATA / MARK).read_text(encoding="utf-8"))
    return mark.get("settings_sha256") != settings_sha256(settings_of(params))


def _differs() -> bool:
    """Whether data/ is other than data.dvc says: the record of a run names its data by that hash."""
    done = subprocess.run(dvc("status", "--json", str(POINTER)), env=environment(), capture_output=True, text=True)
    if done.returncode:
        raise DvcError(done.stderr.strip())
    return json.loads(done.stdout or "{}") != {}


def _commit(kind: str) -> None:
    """Write data.dvc anew with the kind in its ``meta``; the same data gives the same file."""
    command = dvc("commit", "-q", "-f", str(POINTER)) if POINTER.is_file() else dvc("add", "-q", str(layout.DATA))
    done = subprocess.run(command, env=environment(), capture_output=True, text=True)
    if done.returncode:
        raise DvcError(done.stderr.strip())
    note_tracked_kind(POINTER, kind)
