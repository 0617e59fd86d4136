"""A hospital's own export and its label table into ``data/``: copied, checked, never half written.

The source is only ever read. The copy keeps the export's layout below ``data/dicom``; the label table becomes
``data/labels.csv`` in the pipeline's form. Labels are one row a slice; a table with one row a study would be read here too,
beside :func:`~ich_pipeline.label_tables.read_source_labels`, once cohorts with case labels only exist.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path

from ich_pipeline.config import Params
from ich_pipeline.dicom.reasons import Reason
from ich_pipeline.dicom.scan import list_files, read_headers
from ich_pipeline.errors import InputError
from ich_pipeline.files import atomic_dir, read_json, write_json, write_text
from ich_pipeline.label_tables import UID, read_source_labels, unknown_slices, write_labels
from ich_pipeline.masks import write_masks
from ich_pipeline.progress import Track, quiet

KIND = "folder"
REPLACEABLE_KIND = "phantom"  # made by a command, so nothing is lost
READERS_HEADER = "reader,case,decision\n"


def bring_folder(
    source: Path, labels_csv: Path, target: Path, params: Params, track: Track = quiet, *, replace: bool = False
) -> str:
    """Copy an export and its labels into ``target`` (``data/``), atomically.

    Args:
        source: a folder of DICOM files in any layout; every file in it is copied, whatever it is.
        labels_csv: one row a slice: SOPInstanceUID, the label columns of params in any order, "any" optional.
        target: becomes dicom/, labels.csv, readers.csv, masks.csv and cohort.json.
        params: label names, and the workers that read headers.
        track: progress over the files.
        replace: delete a cohort of the user's own that is there already. A phantom is always replaced.

    Returns:
        One sentence with the counts.

    Raises:
        InputError: source or table is missing or wrong, labels name slices that are not in the source, the target holds a
            cohort that is not a phantom, the folders contain one another, or the disk is too small. Nothing is changed then.
    """
    source, target = Path(source), Path(target)
    _check_places(source, target)
    _check_replaceable(target, replace)
    labels = read_source_labels(labels_csv, params.label_set)
    files = list_files(source)
    if not files:
        raise InputError(f"{source} holds no files: name the folder of your DICOM export.")
    headers = read_headers(files, params.ingest, track)
    slices = {h.sop_instance_uid for h in headers if h.is_ct_image}
    if not slices:
        raise InputError(
            f"{source} holds no CT image among its {len(files):,} files: name the folder of your DICOM export."
        )
    unknown = sorted(set(labels[UID]) - slices)
    if unknown:
        raise InputError(unknown_slices(labels_csv, unknown, str(source)))
    for header in headers:
        if header.reason is Reason.UNREADABLE:
            raise InputError(
                f"{source}/{header.name} cannot be read ({header.detail}): mend its permissions or remove it."
            )
    _check_space(files, target)
    with atomic_dir(target) as partial:
        for path, _ in track(files, "copying", len(files)):
            copy = partial / "dicom" / path.relative_to(source)
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, copy)
        write_labels(partial / "labels.csv", labels, params.label_set)
        write_text(partial / "readers.csv", READERS_HEADER)
        write_masks(partial / "masks.csv", ())
        settings = {"labels": params.labels.model_dump(mode="json"), "files": len(files), "labelled": len(labels)}
        digest = hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()
        write_json(partial / "cohort.json", {"kind": KIND, "settings": settings, "settings_sha256": digest})
    return (
        f"{len(files):,} files copied, {len(slices):,} CT images among them, {len(labels):,} labelled "
        f"({int(labels[params.labels.any].sum()):,} with {params.labels.any})."
    )


def _check_places(source: Path, target: Path) -> None:
    if not source.is_dir():
        raise InputError(f"{source} is not a folder: name the folder of your DICOM export.")
    inner, outer = source.resolve(), target.resolve()
    if inner.is_relative_to(outer) or outer.is_relative_to(inner):
        raise InputError(
            f"{source} and {target} contain one another: keep your export outside the project's {target}/."
        )


def _check_replaceable(target: Path, replace: bool) -> None:
    if replace or not target.exists() or (target.is_dir() and not any(target.iterdir())):
        return
    mark = target / "cohort.json"
    if mark.is_file() and read_json(mark).get("kind") == REPLACEABLE_KIND:
        return
    raise InputError(
        f"{target} holds a cohort that is not a phantom: keep it elsewhere, or add --replace to delete it."
    )


def _check_space(files: list[tuple[Path, str]], target: Path) -> None:
    needed = sum(path.stat().st_size for path, _ in files)
    target.parent.mkdir(parents=True, exist_ok=True)
    free = shutil.disk_usage(target.parent).free
    if needed > free:
        raise InputError(
            f"{target} needs {needed / 1e9:.1f} GB for the copy and the disk has {free / 1e9:.1f} GB free: make room first."
        )
