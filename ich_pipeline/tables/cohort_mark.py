"""The mark that a cohort's adapter leaves in ``data/``: what kind of cohort it is, and what its labels are of."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

from ich_pipeline.core.errors import InputError
from ich_pipeline.core.files import write_json, write_text
from ich_pipeline.core.yaml_text import NoYaml, read_yaml, yaml_text

MARK = "cohort.json"
FROZEN_KEY = "frozen.key"  # beside the mark, of a cohort whose tests are frozen (:mod:`ich_pipeline.splits.frozen`)
LEVEL = "level"  # of the labels: "slice" or "case"
PHANTOM = "phantom"
SYNTHETIC = "synthetic"  # what figures, metrics and runs of the phantom are marked with
CQ500 = "cq500"
OWN = "folder"  # also of data/ without a mark: then a user made it by hand


def write_mark(data: Path, kind: str, settings: dict[str, Any]) -> None:
    """Write the mark, with a digest of the settings."""
    digest = hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()
    write_json(data / MARK, {"kind": kind, "settings": settings, "settings_sha256": digest})


def cohort_kind(data: Path) -> str | None:
    """``phantom``, or the adapter that brought it (``folder``, ``rsna2019``, …); None where the folder is missing or empty."""
    if not data.is_dir() or not any(data.iterdir()):
        return None
    try:
        return str(json.loads((data / MARK).read_text(encoding="utf-8"))["kind"])
    except (FileNotFoundError, json.JSONDecodeError, KeyError, TypeError):
        return OWN


def data_words(data: Path) -> str:
    """``synthetic`` for the phantom, else the adapter that brought the cohort: beside every figure that is made of it."""
    kind = cohort_kind(data)
    return SYNTHETIC if kind == PHANTOM else kind or OWN


def has_case_labels_only(data: Path) -> bool:
    """Does the mark say that the labels are of cases? Networks cannot be trained on these."""
    try:
        settings = json.loads((data / MARK).read_text(encoding="utf-8"))["settings"]
        return settings.get(LEVEL) == "case"
    except (FileNotFoundError, json.JSONDecodeError, KeyError, TypeError, AttributeError):
        return False


def tracked_kind(pointer: Path) -> str | None:
    """What kind of cohort ``data.dvc`` says it tracks; None where there is no such file."""
    if not pointer.is_file():
        return None
    try:
        values = read_yaml(pointer.read_text(encoding="utf-8"))
        return str((values.get("meta") or {}).get("cohort", OWN))
    except (NoYaml, AttributeError, UnicodeDecodeError):
        raise InputError(f"{pointer} is damaged: `git checkout {pointer}` brings it back.") from None


def note_tracked_kind(pointer: Path, kind: str) -> None:
    """Write the kind into the ``meta`` of an existing ``data.dvc``; its hash stays DVC's business."""
    if not pointer.is_file() or tracked_kind(pointer) == kind:
        return
    values = read_yaml(pointer.read_text(encoding="utf-8"))
    values["meta"] = {**(values.get("meta") or {}), "cohort": kind}
    write_text(pointer, yaml_text(values))
