"""``ich evaluate``: the figures of any table of predictions against labels. Trains nothing, chooses nothing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ich_pipeline.core.errors import InputError
from ich_pipeline.core.files import atomic_dir, sha256_of, write_json, write_text
from ich_pipeline.core.lock import output_locked
from ich_pipeline.core.outputs import check_apart, check_output, json_with
from ich_pipeline.core.progress import Track, quiet
from ich_pipeline.studies.against import compare_systems
from ich_pipeline.studies.match import match_tables
from ich_pipeline.studies.matched import Choices, Matched
from ich_pipeline.studies.study import Study, StudyOptions
from ich_pipeline.tables.formulas import table_text
from ich_pipeline.tables.text_tables import as_number

LEVELS = ("slice", "case")
MEMORY = 4_000_000_000  # bytes that the bootstrap may take
FIGURES = 25  # of a finding, each with its replicates
METRICS = "metrics.json"
OWN_FILES = (METRICS, "metrics.md", "index.html", "roc.png", "roc.svg", "failures.csv")


@dataclass(frozen=True)
class Request:
    """What the command was asked for."""

    predictions: Path
    labels: Path
    readers: Path | None
    out: Path
    choices: Choices
    thresholds: Sequence[str]
    margin: float
    confidence: float
    bootstrap: int
    seed: int
    identifiers: bool
    against: Path | None = None
    against_thresholds: Sequence[str] = ()


def evaluate(request: Request, track: Track = quiet) -> tuple[Study, dict[str, Any]]:
    """Join the tables, measure, and write ``out`` (replacing what an earlier call wrote there).

    Raises:
        InputError: a table or an option is wrong, or another run writes ``out``; nothing is written then.
    """
    _check(request)
    with output_locked(request.out, "--out"):
        return _evaluate(request, track)


def _evaluate(request: Request, track: Track) -> tuple[Study, dict[str, Any]]:
    table = match_tables(request.predictions, request.labels, request.readers, request.choices, request.against)
    thresholds = chosen_thresholds(request.thresholds, dict.fromkeys(table.labels, 0.5))
    others = _thresholds_of_other(request, table, thresholds)
    _check_memory(request.bootstrap, int(table.patients.max()) + 1, len(table.labels))
    study = Study(table, StudyOptions(thresholds, request.margin, request.confidence, request.bootstrap, request.seed))
    results = {"about": _about(request, study), **study.results(track)}
    if table.other is not None:
        results["against"] = compare_systems(study, others, track)
    from ich_pipeline.studies.study_figures import draw_study
    from ich_pipeline.studies.study_page import study_markdown, study_page

    failures = study.failures()
    if not request.identifiers:
        failures = failures.drop(columns="name")
    with atomic_dir(request.out) as folder:
        single = draw_study(study, results, folder, track)
        write_json(folder / METRICS, results)
        write_text(folder / "metrics.md", study_markdown(results, study))
        write_text(folder / "failures.csv", table_text(failures))
        write_text(folder / "index.html", study_page(results, study, failures, single))
        for picture in single.values():  # they are inside the page
            picture.unlink()
    return study, results


def chosen_thresholds(
    given: Sequence[str], unsaid: Mapping[str, float], option: str = "--threshold"
) -> dict[str, float]:
    """``0.5`` for all findings and ``FINDING=0.3`` for one; by finding, ``unsaid`` holds where nothing is said.

    Raises:
        InputError: no number between 0 and 1, or a finding that is not evaluated.
    """
    found, labels = dict(unsaid), list(unsaid)
    said: dict[str, str] = {}  # what each name was given
    for text in sorted(given, key=lambda t: "=" in t):  # what is said of one finding holds against what is said of all
        name, _, value = text.rpartition("=")
        near = [label for label in labels if label.casefold() == name.casefold()] if name else list(labels)
        if not near:
            raise InputError(f"{option} {text}: no finding {name!r} is evaluated; there is {', '.join(labels)}.")
        number = as_number(value)
        if not 0 <= number <= 1:
            raise InputError(f"{option} {text}: {value!r} is no number from 0 to 1.")
        if said.setdefault(name.casefold(), text) != text:
            raise InputError(f"{option} {text} contradicts {option} {said[name.casefold()]}: give one of them.")
        found |= dict.fromkeys(near, number)
    return found


def _thresholds_of_other(request: Request, table: Matched, thresholds: Mapping[str, float]) -> dict[str, float]:
    """Those of the findings that are compared: A's, where nothing else is said of B."""
    if table.other is None:
        return {}
    compared = [name for name, column in zip(table.labels, table.other.columns, strict=True) if column]
    unsaid = {name: thresholds[name] for name in compared}
    return chosen_thresholds(request.against_thresholds, unsaid, "--against-threshold")


def parse_pairs(given: Sequence[str]) -> tuple[tuple[str, str], ...]:
    """``PREDICTIONS_COLUMN=LABELS_COLUMN`` of every ``--map``; InputError for anything else."""
    pairs = [tuple(text.partition("=")[::2]) for text in given]
    for text, (left, right) in zip(given, pairs, strict=True):
        if not left or not right:
            raise InputError(f"--map {text!r} is not PREDICTIONS_COLUMN=LABELS_COLUMN.")
    return tuple((left, right) for left, right in pairs)


def _check(request: Request) -> None:
    if request.choices.level not in (None, *LEVELS):
        raise InputError(f"--level {request.choices.level!r} is none of {' and '.join(LEVELS)}.")
    for name, value in (("--margin", request.margin), ("--confidence", request.confidence)):
        if not 0 < value < 1:
            raise InputError(f"{name} {value:g} must lie between 0 and 1.")
    if request.bootstrap < 10:
        raise InputError(f"--bootstrap {request.bootstrap} is too few: at least 10 replicates.")
    if request.seed < 0:
        raise InputError(f"--seed {request.seed} is negative: take 0 or more.")
    check_output(request.out, "--out")
    tables = (
        ("PREDICTIONS", request.predictions),
        ("--labels", request.labels),
        ("--readers", request.readers),
        ("--against", request.against),
    )
    check_apart(request.out, "--out", *((what, path) for what, path in tables if path is not None))
    if request.against_thresholds and request.against is None:
        raise InputError("--against-threshold is of the other system: name its table with --against.")
    strangers = sorted(p.name for p in request.out.iterdir() if p.name not in OWN_FILES) if request.out.exists() else []
    if strangers:
        raise InputError(
            f"--out {request.out} holds other files ({strangers[0]}): name a new folder, since this one is replaced."
        )
    if request.out.exists() and any(request.out.iterdir()):
        ours = json_with("about", "excluded")
        if not (request.out / METRICS).is_file() or not ours((request.out / METRICS).read_bytes()):
            raise InputError(
                f"--out {request.out} holds files and no {METRICS} of an evaluation: name a new folder, since this one is replaced."
            )


def _check_memory(replicates: int, patients: int, findings: int) -> None:
    """Every replicate holds a byte a patient, and its value of every figure."""
    needed = replicates * (patients + findings * FIGURES * 8)
    if needed > MEMORY:
        raise InputError(
            f"--bootstrap {replicates} of {patients:,} patients needs {needed / 1e9:.0f} GB of memory, and {MEMORY / 1e9:.0f} "
            "GB are the most: lower --bootstrap, or name the column of the patients with --patient where rows are of one."
        )


def _about(request: Request, study: Study) -> dict[str, Any]:
    """Names and hashes of the tables, and every option: no path, date or host, so that equal input gives equal bytes."""
    files = {"predictions": request.predictions, "labels": request.labels, "readers": request.readers}
    unused = dict(study.table.unused)
    if study.table.other is not None:
        files["against"], unused["against"] = request.against, study.table.other.unused
    voters = study.table.reference
    reference = f"majority of {', '.join(voters)} in {request.labels.name}" if voters else request.labels.name
    return {
        "files": {
            kind: {"name": path.name, "sha256": sha256_of(path)} for kind, path in files.items() if path is not None
        },
        "reference": reference,
        "level": study.table.level,
        "columns": [{"predictions": a, "labels": b} for a, b in study.table.columns],
        "unused_columns": {kind: list(names) for kind, names in unused.items()},
        "thresholds": dict(study.options.thresholds),
        "noninferiority_margin": study.options.margin,
        "confidence": study.options.confidence,
        "bootstrap": study.options.bootstrap,
        "seed": study.options.seed,
    }
