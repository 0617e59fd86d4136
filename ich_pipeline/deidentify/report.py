"""The account and the report: counts and keyed hashes, no value of any file."""

from __future__ import annotations

import os
from collections import Counter
from pathlib import Path

from ich_pipeline.core.files import atomic_file, write_json, write_text
from ich_pipeline.deidentify import table
from ich_pipeline.deidentify.folder import Result
from ich_pipeline.deidentify.reasons import Outcome
from ich_pipeline.tables.formulas import csv_text

ACCOUNT, REPORT, REMOVED = "account.csv", "report.json", "removed.csv"
ACCOUNT_COLUMNS = ("source", "status", "reason", "detail", "flags", "path", "PatientID")
ACCOUNT_COLUMNS += ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID")
NAMES = ("PatientID", "StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID")


def write_report(folder: Path, result: Result) -> None:
    """Write ``account.csv`` (one row a file), ``removed.csv`` (counts per attribute) and ``report.json``."""
    rows = []
    for row in result.rows:
        done = row.cleaned
        rows.append(
            (row.source, done.outcome.status, done.outcome.value, done.detail, " ".join(done.flags), row.path)
            + (done.uids or ("",) * 4)
        )
    write_text(folder / ACCOUNT, csv_text(ACCOUNT_COLUMNS, sorted(rows)))
    removed = sorted((*what, count) for what, count in result.tally.items())
    write_text(folder / REMOVED, csv_text(("tag", "attribute", "what", "elements"), removed))
    flags = Counter(flag for row in result.rows for flag in row.cleaned.flags)
    write_json(
        folder / REPORT,
        {
            "profile": f"DICOM PS3.15 {table.EDITION}, Basic Application Level Confidentiality Profile",
            "library": table.LIBRARY,
            "options": [{"code": code, "meaning": meaning} for code, meaning in result.options.codes],
            "text_looked_for_by": ["shapes", "character reader"] if result.options.ocr else ["shapes"],
            "key": result.key.fingerprint,
            "files": {outcome.value: count for outcome, count in result.outcomes.items()},
            "flags": dict(flags),
            "second_pass": {
                "files": result.outcomes[Outcome.DEIDENTIFIED] + result.outcomes[Outcome.IDENTIFIER_LEFT],
                "files_with_findings": result.outcomes[Outcome.IDENTIFIER_LEFT],
            },
        },
    )


def write_linkage(path: Path, result: Result) -> None:
    """Write which file became which: as secret as the originals, so only its owner can read it."""
    columns = ("source", "reason", "original_path", *(f"original_{n}" for n in NAMES), "path", *NAMES)
    rows = []
    for name, row in zip(result.names, result.rows, strict=True):
        done = row.cleaned
        rows.append(
            (row.source, done.outcome.value, name, *(done.old or ("",) * 4), row.path, *(done.uids or ("",) * 4))
        )
    with atomic_file(path) as partial:
        descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "w", encoding="utf-8", newline="") as file:
            file.write(csv_text(columns, rows))
