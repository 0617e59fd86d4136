"""Cross-validated figures: every patient read once, by a system that never saw them; all readings pooled.

AUC and average precision rank the pooled scores of different systems against each other, which is harder than ranking
within one (Airola et al. 2011 discuss both), each brought to one scale without a look at the held-out patients
(:mod:`ich_pipeline.ensemble.one_scale`); the figures of each fold stand beside them. Sensitivity and the like pool decisions:
each fold's own thresholds on its own scores.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ich_pipeline.config import EvaluationParams
from ich_pipeline.ensemble.model import Ensemble, Points
from ich_pipeline.ensemble.one_scale import Scale
from ich_pipeline.ensemble.operating_points import OperatingPoint
from ich_pipeline.evaluation.baselines import Ranked, compare
from ich_pipeline.evaluation.bootstrap import Counts, draw_counts
from ich_pipeline.evaluation.metrics import Estimate, Level, label_metrics, mean_metrics
from ich_pipeline.evaluation.tables import baseline_prefix
from ich_pipeline.tables.labels import Labels

Scales = Mapping[str, Mapping[str, Mapping[str, Scale]]]
SYSTEM = "final"  # prefix of the system's scores in the tables
SCALED = "scaled_"  # before the name of a column: the same on one scale
NAMES = ("SOPInstanceUID", "case_id", "patient_key")  # columns of the tables that tell whose a row is
# Decisions as scores: 1 is called, 0 is not.
_CALLED = OperatingPoint(0.5, None, None)


@dataclass(frozen=True)
class FoldReading:
    """What the system of one fold said about its held-out patients.

    Attributes:
        ensemble: the fold's own, with its thresholds.
        slices: table of :func:`ich_pipeline.evaluation.tables.slice_table`.
        cases: table of :func:`ich_pipeline.evaluation.tables.case_table`.
        scales: of the system (``final``) and each baseline (its prefix in the tables), by level and label.
    """

    ensemble: Ensemble
    slices: pd.DataFrame
    cases: pd.DataFrame
    scales: Scales

    def rows(self, level: str) -> pd.DataFrame:
        """Table of ``slice`` or ``case``."""
        return self.slices if level == "slice" else self.cases

    def points(self, level: str) -> Points:
        """Operating points of ``slice`` or ``case``."""
        return self.ensemble.slice_points if level == "slice" else self.ensemble.case_points


def numbered(folds: Sequence[FoldReading]) -> tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame]:
    """The tables of all folds without what tells whose they are, for a folder that is shown around.

    Returns:
        Slices and cases, each with ``fold``, ``patient`` and ``case`` first (numbers from 1, in the folds' order), slices also
        with ``slice`` (from 1 within the case); and the key to them: ``case``, ``patient``, ``fold``, ``case_id``,
        ``patient_key``, which stays where patients' data is.
    """
    slices, cases = (
        pd.concat([getattr(fold, level).assign(fold=i) for i, fold in enumerate(folds, start=1)], ignore_index=True)
        for level in ("slices", "cases")
    )
    # A case without a labelled slice has a row among the slices alone.
    key = pd.concat([t[["fold", "case_id", "patient_key"]] for t in (cases, slices)]).drop_duplicates("case_id")
    key = key.assign(case=range(1, len(key) + 1), patient=pd.factorize(key["patient_key"])[0] + 1)
    key = key[["case", "patient", "fold", "case_id", "patient_key"]].reset_index(drop=True)
    number = key.set_index("case_id")[["patient", "case"]]
    slices = slices.assign(slice=slices.groupby("case_id", sort=False).cumcount() + 1)
    return _without_names(slices, number), _without_names(cases, number), key


def _without_names(table: pd.DataFrame, number: pd.DataFrame) -> pd.DataFrame:
    found = number.loc[table["case_id"]].reset_index(drop=True)
    table = table.assign(patient=found["patient"], case=found["case"])
    first = [name for name in ("fold", "patient", "case", "slice") if name in table]
    return table[first + [name for name in table if name not in (*first, *NAMES)]]


def pooled_metrics(
    folds: Sequence[FoldReading],
    params: EvaluationParams,
    seed: int,
    baselines: Mapping[str, Mapping[str, Any]] | None = None,
) -> dict[str, Any]:
    """The pooled figures in the form of a test's block in metrics.json.

    Args:
        folds: every fold's reading.
        params: replicates and confidence.
        seed: of the bootstrap.
        baselines: a fold's block of them, for name, title and explanation of each; their scores are in the tables.

    Returns:
        ``{"slice"|"case": {label or "mean": {metric: {"value", "low", "high", "reason"?}}}, "baselines": …}``; intervals are by
        patient.

    Raises:
        ValueError: a patient is in two folds.
    """
    labels = folds[0].ensemble.labels
    owners = pd.concat([fold.cases[["patient_key"]].assign(fold=i) for i, fold in enumerate(folds)])
    if (owners.groupby("patient_key")["fold"].nunique() > 1).any():
        raise ValueError("a patient is held out in two folds")
    keys = np.unique(pd.concat([fold.slices["patient_key"] for fold in folds]).to_numpy())
    counts = draw_counts(len(keys), params.bootstrap, seed)
    found = {}
    for level in ("slice", "case"):
        rows = _rows(folds, level, labels)
        patients = np.searchsorted(keys, rows["patient_key"].to_numpy())
        by_label = {name: _label(rows, name, patients, counts, folds, level) for name in labels.columns}
        found[level] = {**by_label, "mean": mean_metrics([by_label[name] for name in labels.subtypes])}
    levels = {
        level: {
            label: {key: estimate.to_json(params.confidence) for key, estimate in metrics.items()}
            for label, metrics in of.items()
        }
        for level, of in found.items()
    }
    return {**levels, "baselines": _baselines(folds, baselines or {}, keys, counts, params.confidence)}


def _baselines(
    folds: Sequence[FoldReading],
    known: Mapping[str, Mapping[str, Any]],
    keys: NDArray,
    counts: Counts,
    confidence: float,
) -> dict[str, dict[str, Any]]:
    """As :func:`~ich_pipeline.evaluation.baselines.baselines_of_test`, of the pooled rows."""
    labels = folds[0].ensemble.labels
    slices, cases = (_rows(folds, level, labels) for level in ("slice", "case"))
    of_slices, of_cases = (
        Level(np.searchsorted(keys, rows["patient_key"].to_numpy()), counts) for rows in (slices, cases)
    )

    def ranked(prefix: str, level: Level) -> Ranked:
        scores = slices[[f"{SCALED}{prefix}_{name}" for name in labels.columns]].to_numpy(np.float64)
        return Ranked(scores, cases[f"{SCALED}{prefix}_{labels.any}"].to_numpy(np.float64), of_slices, level)

    system = ranked(SYSTEM, replace(of_cases, eligible=cases["let_through"].to_numpy(bool)))
    others = {name: ranked(baseline_prefix(name), of_cases) for name in known}
    truth = slices[[f"truth_{name}" for name in labels.columns]].to_numpy(np.int64)
    found = compare(system, others, truth, cases[f"truth_{labels.any}"].to_numpy(np.int64), confidence)
    return {name: {"title": of["title"], "how": of["how"], **found[name]} for name, of in known.items()}


def _rows(folds: Sequence[FoldReading], level: str, labels: Labels) -> pd.DataFrame:
    """All labelled rows of a level, with the fold of each, and every reader's scores also on one scale."""
    parts = []
    for i, fold in enumerate(folds):
        rows = fold.rows(level)
        columns = {f"{p}_{name}": scale for p, of in fold.scales.items() for name, scale in of[level].items()}
        parts.append(rows.assign(fold=i, **{f"{SCALED}{name}": scale(rows[name]) for name, scale in columns.items()}))
    rows = pd.concat(parts, ignore_index=True)
    return rows.loc[rows[f"truth_{labels.any}"].notna()].reset_index(drop=True)


def _label(
    rows: pd.DataFrame,
    name: str,
    patients: NDArray[np.integer],
    counts: Counts,
    folds: Sequence[FoldReading],
    level: str,
) -> dict[str, Estimate]:
    scores = rows[f"{SYSTEM}_{name}"].to_numpy(np.float64)
    truth = rows[f"truth_{name}"].to_numpy(np.int64)
    eligible = rows["let_through"].to_numpy(bool) if level == "case" else None
    not_probabilities = "a case score is no calibrated probability" if level == "case" else None
    of_all = Level(patients, counts, eligible, not_probabilities)
    metrics = label_metrics(scores, truth, {}, of_all)
    ranked = label_metrics(rows[f"{SCALED}{SYSTEM}_{name}"].to_numpy(np.float64), truth, {}, of_all)
    metrics |= {key: ranked[key] for key in ("auc", "ap")}
    for point in folds[0].points(level)[name]:
        decided, called = _decisions(rows, name, point, folds, level, scores)
        if not decided.any():
            reason = "no fold could choose a threshold on its validation patients"
            metrics |= {f"{key}@{point}": Estimate(None, reason=reason) for key in _KEYS}
            continue
        if eligible is not None:
            called &= eligible
        of = label_metrics(
            called[decided].astype(np.float64), truth[decided], {point: _CALLED}, Level(patients[decided], counts)
        )
        metrics |= {f"{key}@{point}": of[f"{key}@{point}"] for key in _KEYS}
    return metrics


_KEYS = ("sensitivity", "specificity", "ppv", "npv", "f1")


def _decisions(
    rows: pd.DataFrame, name: str, point: str, folds: Sequence[FoldReading], level: str, scores: NDArray[np.float64]
) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Which rows are of a fold that has this threshold, and which of all rows are called positive."""
    thresholds = [fold.points(level)[name][point].threshold for fold in folds]
    of_row = np.array([np.nan if t is None else t for t in thresholds])[rows["fold"].to_numpy()]
    return ~np.isnan(of_row), scores >= of_row


def fold_table(blocks: Sequence[dict[str, Any]], labels: Labels) -> pd.DataFrame:
    """One row a fold, level and label: positives, AUC and average precision of that fold alone, from its metrics."""
    rows = []
    for number, block in enumerate(blocks, start=1):
        for level in ("slice", "case"):
            for name in (*labels.columns, "mean"):
                found = block[level][name]
                rows.append(
                    {
                        "fold": number,
                        "level": level,
                        "label": name,
                        "n": found.get("n", {}).get("value"),
                        "positives": found.get("positives", {}).get("value"),
                        "auc": found["auc"]["value"],
                        "ap": found["ap"]["value"],
                    }
                )
    return pd.DataFrame(rows)
