"""``ich cohort``: bring a cohort into ``data/``."""

from __future__ import annotations

import shutil
import tempfile
from dataclasses import replace as changed
from pathlib import Path

from ich_pipeline.alone import alone
from ich_pipeline.cohorts.mark import PHANTOM, cohort_kind, note_tracked_kind
from ich_pipeline.config import Params
from ich_pipeline.deidentify.report import ACCOUNT, REMOVED, REPORT
from ich_pipeline.errors import InputError
from ich_pipeline.progress import terminal
from ich_pipeline.sources.remote import Remote
from ich_pipeline.sources.source import fetched_beside

DATA = Path("data")
POINTER = Path("data.dvc")
STATE = Path(".state")
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


def bring_deidentified(
    source: Path | str, labels: Path, key: Path, params: Params, replace: bool, lenient: bool, remote: Remote
) -> str:
    """The same for a plain table, from copies without what tells whose they are; only those enter ``data/``.

    The de-identified export stands beside ``data/`` until it is in, so the disk must hold it twice for a while; and objects
    of S3, as they came, lie in ``.data.fetched`` until then.
    """
    from ich_pipeline.commands.deidentify import Request, deidentify
    from ich_pipeline.deidentify.options import Options

    if not labels.is_file():
        raise InputError(f"{labels} is missing: name your label table.")
    STATE.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(dir=STATE, prefix="deidentified-") as place:
        clean = Path(place) / "export"
        remote = changed(remote, accept_missing=lenient, missing_option="--lenient")
        request = Request(source, clean, key, labels=labels, remote=remote, fetched=fetched_beside(DATA))
        result = deidentify(request, Options(), params, terminal)
        said = bring("folder", clean / "dicom", clean / "labels.csv", params, replace, lenient)
        shutil.rmtree(fetched_beside(DATA), ignore_errors=True)  # kept until the labels are known to fit
        for name in (ACCOUNT, REMOVED, REPORT):
            shutil.copyfile(clean / name, DATA / f"deidentification_{name}")
    return f"{result.summary} ({DATA}/deidentification_{ACCOUNT} accounts for each). {said}"


def bring(
    kind: str,
    source: Path | str,
    labels: Path,
    params: Params,
    replace: bool,
    lenient: bool,
    remote: Remote | None = None,
) -> str:
    """Copy DICOM files and a label table of this kind into ``data/``."""
    from ich_pipeline.cohorts import bring as adapters

    with alone():
        summary, level = adapters.bring(
            kind, source, labels, DATA, params, terminal, replace=replace, lenient=lenient, remote=remote
        )
    note_tracked_kind(POINTER, kind)  # from now on a lost data/ is never replaced by a phantom
    if level == "case":
        return f"{summary} These are labels of cases: no network can be trained on them, they can only test one."
    if params.profile == PHANTOM:
        summary += (
            " The settings are the phantom's: `ich profile laptop` (a CPU) or `ich profile paper` (a GPU) sets yours."
        )
    return f"{summary} {NEXT}"
