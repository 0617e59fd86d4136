"""Two systems on the same rows: ``ich evaluate --against``. All differences are the first's figure less the other's."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ich_pipeline.core.progress import Track, quiet
from ich_pipeline.evaluation import paired
from ich_pipeline.evaluation.delong import paired_test
from ich_pipeline.evaluation.metrics import Level, label_metrics
from ich_pipeline.studies.matched import Other
from ich_pipeline.studies.study import DECIDED, GIVEN, Study
from ich_pipeline.tables.reader_tables import MISSING

SYSTEM, OTHER = NAMES = ("system", "other")


def compare_systems(study: Study, thresholds: Mapping[str, float], track: Track = quiet) -> dict[str, Any]:
    """The other system of the study's table beside the first.

    Args:
        study: of a table with another system.
        thresholds: the other's, by finding.
        track: shows how far it is.

    Returns:
        JSON values: ``columns`` and ``thresholds`` of the other, ``not_compared`` (findings that it lacks), ``excluded``,
        and by finding ``n``, ``positives``, ``auc`` and ``ap`` of both with their ``difference``, and ``points``: the
        decisions at both thresholds and, where both tables have them, the systems' own.
    """
    table, other = study.table, other_of(study)
    compared = [k for k, column in enumerate(other.columns) if column is not None]
    findings = {
        table.labels[k]: _compare(study, other, k, thresholds) for k in track(compared, "comparison", len(compared))
    }
    return {
        "columns": [{"other": other.columns[k], "labels": table.columns[k][1]} for k in compared],
        "thresholds": {table.labels[k]: thresholds[table.labels[k]] for k in compared},
        "not_compared": [name for name in table.labels if name not in findings],
        "excluded": [{"what": e.what, "count": e.count} for e in other.excluded],
        "findings": findings,
    }


def other_of(study: Study) -> Other:
    """The other system of a study that has one."""
    assert study.table.other is not None, "the table was joined without another system"
    return study.table.other


def compared_rows(study: Study, label: int) -> NDArray[np.bool_]:
    """Rows with a label and a probability of both systems."""
    return study.rows(label) & ~np.isnan(other_of(study).scores[:, label])


def _compare(study: Study, other: Other, label: int, thresholds: Mapping[str, float]) -> dict[str, Any]:
    name, kept, confidence = study.table.labels[label], compared_rows(study, label), study.options.confidence
    truth, patients = study.table.truth[kept, label], study.table.patients[kept]
    entry: dict[str, Any] = {"n": len(truth), "positives": int(truth.sum())}
    if not len(truth):
        return {**entry, "reason": "no row has a label and a probability of both systems"}
    first, second = study.table.scores[kept, label], other.scores[kept, label]
    level = Level(patients, study.counts)
    ours, theirs = (label_metrics(scores, truth, {}, level) for scores in (first, second))
    for key in ("auc", "ap"):
        # Both figures are of the same draws, so their difference is paired.
        parts = {SYSTEM: ours[key], OTHER: theirs[key], "difference": ours[key].gain_over(theirs[key])}
        entry[key] = {part: estimate.to_json(confidence) for part, estimate in parts.items()}
    if entry["auc"]["difference"]["value"] is not None:
        entry["auc"]["difference"]["delong"] = _delong(first, second, truth, patients, confidence)
    called = first >= study.options.thresholds[name], second >= thresholds[name]
    points = {GIVEN: _decisions(*called, truth, patients, study)}
    own = study.calls(label).get(DECIDED)
    if own is not None and other.decisions is not None and study.table.decisions is not None:
        both = own[0] & (other.decisions != MISSING)
        decided = study.table.decisions[both] == 1, other.decisions[both] == 1
        points[DECIDED] = _decisions(*decided, study.table.truth[both, label], study.table.patients[both], study)
    return {**entry, "points": points}


def _delong(
    first: NDArray[np.float64],
    second: NDArray[np.float64],
    truth: NDArray[np.integer],
    patients: NDArray[np.integer],
    confidence: float,
) -> dict[str, Any]:
    test = paired_test(first, second, truth, patients)
    found: dict[str, Any] = {**paired.bounds(test.interval(confidence)), "p": paired.finite(test.p)}
    if found["p"] is None:
        found["reason"] = (
            "the two areas agree in every patient, which leaves no difference to test"
            if abs(test.value) < 1e-12
            else "the difference does not vary between patients"
        )
    return found


def _decisions(
    first: NDArray[np.bool_],
    second: NDArray[np.bool_],
    truth: NDArray[np.integer],
    patients: NDArray[np.integer],
    study: Study,
) -> dict[str, Any]:
    positive, confidence = truth == 1, study.options.confidence
    entry: dict[str, Any] = {"n": len(truth), "positives": int(positive.sum())}
    alone = [what for what, of in (("positives", positive), ("negatives", ~positive)) if _one_patient(patients[of])]
    reason = paired.too_few(positive, "judged by both") or (f"{alone[0]} in one patient only" if alone else None)
    if reason:
        return {**entry, "reason": reason}
    for name, (ours, theirs) in paired.right_calls(first, second, positive).items():
        entry[name] = {
            SYSTEM: paired.share(int(ours.sum()), len(ours), confidence),
            OTHER: paired.share(int(theirs.sum()), len(theirs), confidence),
            "difference": paired.tango_entry(ours, theirs, confidence)[1],
            "mcnemar": paired.mcnemar_entry(ours, theirs, NAMES),
        }
    return entry | paired.dependent(patients, f"{study.table.level}s")


def _one_patient(patients: NDArray[np.integer]) -> bool:
    return len(np.unique(patients)) == 1
