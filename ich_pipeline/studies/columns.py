"""Choosing the columns of two tables that speak of the same things."""

from __future__ import annotations

from collections.abc import Sequence

from ich_pipeline.core.errors import InputError
from ich_pipeline.studies.matched import Choices
from ich_pipeline.studies.names import ANY, CASES, IDS, PATIENTS, SLICE_IDS, key_of
from ich_pipeline.tables.reader_tables import Reads
from ich_pipeline.tables.text_tables import TextTable


def challenge_form(table: TextTable) -> tuple[TextTable, bool]:
    """``ID,Label`` with ``<image>_<finding>`` turned into one column a finding; equal repetitions count once."""
    if {name.casefold() for name in table.columns} != {"id", "label"}:
        return table, False
    ids, values = (table.columns[n] for n in sorted(table.columns, key=str.casefold))
    cells: dict[str, dict[str, str]] = {}
    first: dict[str, int] = {}
    for line, whole, value in zip(table.lines, ids, values, strict=True):
        image, _, finding = whole.rpartition("_")
        if not image:
            raise InputError(f"{table.path}, line {line}: ID {whole!r} is not <image>_<finding>: mend that row.")
        row = cells.setdefault(image, {})
        if row.setdefault(finding, value) != value:
            raise InputError(
                f"{table.path}, line {line}: ID {whole!r} stands twice with different values: keep one row."
            )
        first.setdefault(image, line)
    findings = list(dict.fromkeys(f for row in cells.values() for f in row))
    columns = {"image": list(cells), **{f: [row.get(f, "") for row in cells.values()] for f in findings}}
    return TextTable(table.path, columns, list(first.values()), table.nameless), True


def id_columns(predicted: TextTable, labelled: TextTable, named: str | None) -> tuple[str, str]:
    if named is not None:
        left, _, right = named.partition("=")
        return predicted.need(left, "--id"), labelled.need(right or left, "--id")
    for name in IDS:
        left, right = predicted.find(name), labelled.find(name)
        if left and right:
            return left, right
    raise InputError(
        f"{predicted.path} and {labelled.path} share no column that names a case or slice: name it with --id COLUMN, or "
        "--id PREDICTIONS_COLUMN=LABELS_COLUMN."
    )


def choose_level(
    left: str, long_rows: bool, predicted: TextTable, labelled: TextTable, choices: Choices
) -> tuple[str, str | None]:
    """The level, and the column by which slices are gathered into cases (None: the rows are what is judged)."""
    of_slices = long_rows or left.casefold() in SLICE_IDS
    if choices.level is None or choices.level == "slice" or not of_slices:
        return choices.level or ("slice" if of_slices else "case"), None
    if choices.case is not None:
        return "case", choices.case
    for name in CASES:
        if predicted.find(name) or labelled.find(name):
            return "case", name
    raise InputError(
        f"--level case: the rows of {predicted.path} are slices, and no column says whose case they are: name it with "
        "--case COLUMN."
    )


def finding_pairs(
    predicted: TextTable,
    left: str,
    labelled: TextTable,
    right: str,
    reads: Reads | None,
    named: Sequence[tuple[str, str]],
) -> list[tuple[str, str, str]]:
    """Prediction column, label column (finding of the readers) and key of every finding, in the predictions' order."""
    findings = list(reads.labels) if reads is not None else _candidates(labelled, right, "truth_")
    if named:
        found = []
        for a, b in named:
            near = next((f for f in findings if f.casefold() == b.casefold()), None)
            if near is None:
                raise InputError(f"{labelled.path} has no finding {b!r} (--map); it has {', '.join(findings)}.")
            if near in (label for _, label, _ in found):
                raise InputError(
                    f"--map names the finding {near!r} twice: every finding is judged by one column of the predictions."
                )
            found.append((predicted.need(a, "--map"), near, key_of(near)))
        return found
    by_key: dict[str, str] = {}
    for name in findings:
        if by_key.setdefault(key_of(name), name) != name:
            raise InputError(
                f"{labelled.path}: the columns {by_key[key_of(name)]!r} and {name!r} name the same finding: choose one with "
                "--map PREDICTIONS_COLUMN=LABELS_COLUMN."
            )
    found, taken = [], {}
    for name in _candidates(predicted, left, "final_"):
        key = key_of(name)
        if key not in by_key:
            continue
        if key in taken:
            raise InputError(
                f"{predicted.path}: the columns {taken[key]!r} and {name!r} name the same finding: choose one with --map "
                "PREDICTIONS_COLUMN=LABELS_COLUMN."
            )
        taken[key] = name
        found.append((name, by_key[key], key))
    if not found:
        raise InputError(
            f"{predicted.path} and {labelled.path} share no finding (predictions: "
            f"{', '.join(_candidates(predicted, left, 'final_')[:8])}; labels: {', '.join(findings[:8])}): name them with "
            "--map PREDICTIONS_COLUMN=LABELS_COLUMN."
        )
    return found


def _candidates(table: TextTable, ids: str, prefix: str) -> list[str]:
    """Columns that may be findings: those with our own tables' prefix where there are any, else all but known names."""
    prefixed = [name for name in table.columns if name.startswith(prefix)]
    known = {ids.casefold(), *IDS, *PATIENTS, "decision", "slices", "reread", "page", "reason"}
    return prefixed or [name for name in table.columns if name.casefold() not in known]


def other_columns(
    other: TextTable, ids: str, columns: Sequence[tuple[str, str]], keys: Sequence[str], mapped: bool
) -> tuple[str | None, ...]:
    """The other system's column of every finding, None where it has none.

    That is the one with the finding's name; where ``--map`` chose the columns, first the one that is named as the
    predictions' is.
    """
    by_key: dict[str, list[str]] = {}
    for name in _candidates(other, ids, "final_"):
        by_key.setdefault(key_of(name), []).append(name)
    found = []
    for (column, _), key in zip(columns, keys, strict=True):
        same = other.find(column) if mapped else None
        near = [same] if same else by_key.get(key, [])
        if len(near) > 1:
            raise InputError(
                f"{other.path}: the columns {near[0]!r} and {near[1]!r} name the same finding: keep one of them."
            )
        found.append(near[0] if near else None)
    if not any(found):
        raise InputError(
            f"{other.path} has no column of a finding that is evaluated (it has "
            f"{', '.join(_candidates(other, ids, 'final_')[:8])}; evaluated: {', '.join(b for _, b in columns[:8])}): give its "
            "columns the names of the findings."
        )
    return tuple(found)


def unused_columns(
    predicted: TextTable, left: str, labelled: TextTable, right: str, columns: Sequence[tuple[str, str]]
) -> dict[str, tuple[str, ...]]:
    used = {a for a, _ in columns} | {left}
    if any(key_of(b) == ANY for _, b in columns):
        used.add(predicted.find("decision") or "decision")
    findings = {b for _, b in columns} | {right}
    return {
        "predictions": (*(name for name in predicted.columns if name not in used), *nameless(predicted)),
        "labels": (
            *(
                name
                for name in labelled.columns
                if name not in findings and not (":" in name and name.partition(":")[2] in findings)
            ),
            *nameless(labelled),
        ),
    }


def nameless(table: TextTable) -> tuple[str, ...]:
    """The columns without a name, in the words of what was not used."""
    return ("(a column without a name)",) * table.nameless
