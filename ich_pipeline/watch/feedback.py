"""Radiologists' verdicts on served cases: matched to the record, as figures by version, and as tables for `ich evaluate`.

Verdicts are of cases. Networks learn from slices, so such labels cannot train; they test (docs/watch.md).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from hashlib import sha256
from pathlib import Path
from typing import Any

from ich_pipeline.core.errors import InputError
from ich_pipeline.core.files import read_json, sha256_of, write_json, write_text
from ich_pipeline.core.outputs import check_output, json_with, refuse_foreign
from ich_pipeline.deidentify.key import Key
from ich_pipeline.dicom.identity import case_id
from ich_pipeline.evaluation.proportions import wilson
from ich_pipeline.tables.formulas import csv_text
from ich_pipeline.tables.labels import Labels
from ich_pipeline.tables.text_tables import TextTable, read_text_table
from ich_pipeline.watch.record import KEY, Served, key, locked, place, read

CONFIDENCE = 0.95
STUDY, CASE, ACCESSION = "StudyInstanceUID", "case_id", "AccessionNumber"
READER, DATE = "reader", "date"
LABELS, PREDICTIONS = TABLES = "labels.csv", "predictions.csv"
WRITTEN = "feedback.json"  # SHA-256 of both: by it a later run knows them from a user's own
RATES = ("sensitivity", "specificity", "PPV", "NPV")


@dataclass(frozen=True)
class Verdict:
    """One row of the table.

    Attributes:
        name: of the case, as the table has it.
        case: its token in the record.
        reader: who says so.
        values: 0 or 1 by finding.
    """

    name: str
    case: str
    reader: str
    values: Mapping[str, int]


@dataclass(frozen=True)
class Feedback:
    """What the verdicts say.

    Attributes:
        rows: one a version and finding, for the terminal.
        notes: what to beware of, a sentence each.
        refused: of a row each, why it does not count.
    """

    rows: tuple[dict[str, str], ...]
    notes: tuple[str, ...]
    refused: tuple[str, ...]


def feedback(table: Path, labels: Labels, out: Path) -> Feedback:
    """Read a table of verdicts, match it and write :data:`LABELS` and :data:`PREDICTIONS` into a folder.

    Args:
        table: CSV with one of :data:`CASE`, :data:`STUDY` and :data:`ACCESSION`, a 0/1 column a finding, ``reader``, ``date``.
        labels: the findings that there are.
        out: the folder.

    Raises:
        InputError: the table lacks a column or has an unknown one, there is no record, or no row counts.
    """
    check_output(out, "--out", replaced=False)
    refuse_foreign(out, "--out", {WRITTEN: json_with(*TABLES)})
    known_bytes = read_json(out / WRITTEN) if (out / WRITTEN).is_file() else {}
    refuse_foreign(out, "--out", {t: lambda b, t=t: sha256(b).hexdigest() == known_bytes.get(t) for t in TABLES})
    log, known = read(), _key()
    verdicts, named, findings, refused = _verdicts(read_text_table(table), labels, log.lines, known)
    if not verdicts:
        raise InputError(f"{table} has no verdict that counts: {' '.join(refused[:3])}")
    truth, split = _majority(verdicts, findings)
    refused += split
    by_version = _by_version([line for line in log.lines if line.case in truth])
    rows, notes = [], []
    for (model, number), lines in by_version.items():
        rows += [_row(f"{model}/{number}", finding, lines, truth) for finding in findings]
        every = [line for line in log.lines if (line.model, line.version) == (model, number)]
        notes += _notes(f"{model}/{number}", lines, truth, every)
    names = {one.case: one.name for one in verdicts}
    write_text(out / LABELS, csv_text([named, *findings], ([names[c], *truth[c].values()] for c in truth)))
    newest = {line.case: line for lines in by_version.values() for line in lines if line.scores}
    scores = ([names[c], *((line.scores or {}).get(f) for f in findings)] for c, line in newest.items())
    write_text(out / PREDICTIONS, csv_text([named, *findings], scores))
    write_json(out / WRITTEN, {name: sha256_of(out / name) for name in TABLES})
    return Feedback(tuple(rows), tuple(notes), tuple(refused))


def _key() -> Key:
    if not (place() / KEY).is_file():
        raise InputError(
            f"{place()} holds no record of what was served: `ich predict` and `ich serve` write it (watch.record in params.yaml)."
        )
    with locked():
        return key()


def _verdicts(
    table: TextTable, labels: Labels, lines: Sequence[Served], known: Key
) -> tuple[list[Verdict], str, tuple[str, ...], list[str]]:
    """Rows that count; the name of the column with cases; the findings; a sentence of each row that does not count."""
    found = {name: table.find(name) for name in (CASE, STUDY, ACCESSION, READER, DATE, *labels.columns)}
    ids = [name for name in (CASE, STUDY, ACCESSION) if found[name]]
    findings = tuple(name for name in labels.columns if found[name] or name == labels.any)
    whole = found[labels.any] or all(found[name] for name in labels.subtypes)
    if len(ids) != 1 or not found[READER] or not found[DATE] or not whole:
        raise InputError(
            f"{table.path} needs one of the columns {CASE}, {STUDY}, {ACCESSION}, then {READER}, {DATE} and {labels.any} or all of "
            f"{', '.join(labels.subtypes)}; it has {', '.join(table.columns)}."
        )
    unknown = sorted(set(table.columns) - set(found.values()))
    if unknown:
        raise InputError(f"{table.path} has the column {unknown[0]!r}, which is no finding of params.yaml: remove it.")
    served = _cases(ids[0], lines)
    verdicts: list[Verdict] = []
    refused: list[str] = []
    seen: dict[tuple[str, str], int] = {}
    for at, line in enumerate(table.lines):
        cell = {name: table.columns[column][at] for name, column in found.items() if column}
        name = cell[ids[0]]
        tokens = served.get(_token(known, ids[0], name), [])
        values = {one: cell[one] for one in labels.columns if one in cell}
        wrong = _fault(ids[0], cell, values, labels, len(tokens))
        if not wrong and (tokens[0], cell[READER]) in seen:
            wrong = (
                f"{cell[READER]} has a verdict on this case in line {seen[tokens[0], cell[READER]]} already: keep one"
            )
        if wrong:
            refused.append(f"{table.path}, line {line}: {wrong}.")
            continue
        seen[tokens[0], cell[READER]] = line
        numbers = {one: int(value) for one, value in values.items()}
        numbers = {labels.any: max(numbers.values()), **numbers}
        verdicts.append(Verdict(name, tokens[0], cell[READER], {one: numbers[one] for one in findings}))
    return verdicts, ids[0], findings, refused


def _fault(by: str, cell: Mapping[str, str], values: Mapping[str, str], labels: Labels, cases: int) -> str:
    """Why a row does not count; empty where it does."""
    if not cell[by]:
        return f"{by} is empty: name the case"
    if not cases:
        return f"{by} {cell[by]!r} is no case in the record of what was served: look for a slip of the pen"
    if cases > 1:
        return f"{by} {cell[by]!r} is of {cases} studies: name the study by {STUDY} or {CASE}"
    for name, value in values.items():
        if value not in ("0", "1"):
            return f"{name} is {value!r}, but must be 0 or 1: mend that value"
    if values.get(labels.any) == "0" and "1" in values.values():
        return f"{labels.any} is 0, but a subtype is 1: mend that row"
    if not cell[READER]:
        return f"{READER} is empty: say whose verdict it is"
    try:
        if date.fromisoformat(cell[DATE]) <= datetime.now(UTC).date():
            return ""
        return f"{DATE} {cell[DATE]} is yet to come: mend it"
    except ValueError:
        return f"{DATE} {cell[DATE]!r} is no date: write 2026-05-03"


def _token(known: Key, by: str, name: str) -> str:
    if by == ACCESSION:
        return known.token("accession", name)
    return known.token("case", case_id(name) if by == STUDY else name)


def _cases(by: str, lines: Sequence[Served]) -> dict[str, list[str]]:
    """Tokens of the cases that are called the same, by the token of that name."""
    found: dict[str, dict[str, None]] = {}
    for line in lines:
        found.setdefault(line.accession if by == ACCESSION else line.case, {})[line.case] = None
    found.pop("", None)
    return {name: list(cases) for name, cases in found.items()}


def _majority(verdicts: Sequence[Verdict], findings: Sequence[str]) -> tuple[dict[str, dict[str, int]], list[str]]:
    """What most readers of a case say of every finding; cases that they are split about are left out, with a sentence."""
    of_case: dict[str, list[Verdict]] = {}
    for one in verdicts:
        of_case.setdefault(one.case, []).append(one)
    truth, split = {}, []
    for case, votes in of_case.items():
        sums = {name: sum(one.values[name] for one in votes) for name in findings}
        tied = [name for name, n in sums.items() if 2 * n == len(votes)]
        if tied:
            split.append(f"{votes[0].name}: its {len(votes)} readers are split about {tied[0]}: add one who decides.")
        else:
            truth[case] = {name: int(2 * n > len(votes)) for name, n in sums.items()}
    return truth, split


def _by_version(lines: Sequence[Served]) -> dict[tuple[str, int], list[Served]]:
    """Of each version, the last answer to a case, and of a patient the first case."""
    last: dict[tuple[str, int], dict[str, Served]] = {}
    for line in lines:
        last.setdefault((line.model, line.version), {})[line.case] = line
    found = {}
    for version, cases in sorted(last.items()):
        patients: dict[str, Served] = {}
        for line in cases.values():
            patients.setdefault(line.patient, line)
        found[version] = list(patients.values())
    return found


def _row(version: str, finding: str, lines: Sequence[Served], truth: Mapping[str, Mapping[str, int]]) -> dict[str, str]:
    answered = [(line.called or {}, truth[line.case][finding]) for line in lines]
    pairs = [(called[finding], true) for called, true in answered if finding in called]
    counts = {(called, true): pairs.count((called, true)) for called in (False, True) for true in (0, 1)}
    hits, misses, false, right = counts[True, 1], counts[False, 1], counts[True, 0], counts[False, 0]
    shares = ((hits, hits + misses), (right, right + false), (hits, hits + false), (right, right + misses))
    rates = {name: _share(*share) for name, share in zip(RATES, shares, strict=True)}
    return {
        "version": version,
        "finding": finding,
        "patients": str(len(pairs)),
        "positive": str(hits + misses),
        **rates,
    }


def _share(successes: int, trials: int) -> str:
    if not trials:
        return "–"
    low, high = wilson(successes, trials, CONFIDENCE)
    return f"{successes / trials:.3f} ({low:.3f}–{high:.3f})"


def _notes(version: str, lines: Sequence[Served], truth: Mapping[str, Any], every: Sequence[Served]) -> list[str]:
    """Cases without an answer, and whether those with a verdict can stand for all."""
    from scipy.stats import fisher_exact

    found = []
    if without := sum(line.called is None for line in lines):
        found.append(f"{version}: {without} cases with a verdict had no answer (not read, or failed) and do not count.")
    latest = {line.case: line for line in every}
    counts = [[0, 0], [0, 0]]  # suspected or not; without, with a verdict
    for line in latest.values():
        if line.called is not None:
            counts[line.outcome != "suspected"][line.case in truth] += 1
    (a, b), (c, d) = counts
    test: Any = fisher_exact(counts)
    if test.pvalue < 1 - CONFIDENCE:
        found.append(
            f"{version}: {b} of {a + b} suspected cases have a verdict, and {d} of {c + d} others: sensitivity and specificity are "
            "of those that were looked at, and not of all; PPV and NPV hold if these were chosen by nothing else."
        )
    return found
