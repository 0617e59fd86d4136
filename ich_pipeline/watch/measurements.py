"""What is compared: measurements of cases, each by itself, so that no row says what belongs to one case.

A version carries those of cases that its networks did not learn from (``reference.json`` in its bundle, :func:`of_stages`); of
served cases they come from the record (:func:`of_served`).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ich_pipeline.core.files import read_table, read_versioned
from ich_pipeline.dicom.identity import case_id
from ich_pipeline.dicom.makers import maker
from ich_pipeline.dicom.reasons import Reason, Status
from ich_pipeline.precedent.model import FILE as PRECEDENT_FILE
from ich_pipeline.precedent.model import NAMES, WORDS, Precedent
from ich_pipeline.watch.record import Served

if TYPE_CHECKING:
    from ich_pipeline.ensemble.model import Ensemble

SCHEMA = "reference/1"
AGAIN = "run `make repro`, which registers the model again"
SCORE = "score "  # before a label
DESCRIBED = dict(zip(NAMES, WORDS, strict=True))
NUMBERS = {
    **DESCRIBED,
    "set_aside": "the share of a case's files that are set aside",
    "rejected": "the share of a case's files that are rejected",
    "slices": "the number of slices",
    "thickness_mm": "the slice thickness, mm",
}
SHARES = {
    "suspected": "the share of cases with a suspected haemorrhage",
    "not_read": "the share of cases that are not read",
    "failed": "the share of studies that could not be read",
    "incomplete": "the share of cases that lack a measurement",
}
GROUPS = {"kernel": "the kernel class", "manufacturer": "the manufacturer"}


@dataclass(frozen=True)
class Measurements:
    """Of some cases.

    Attributes:
        numbers: by name, the values of the cases that have the number, sorted.
        shares: by name, how many cases, of how many.
        groups: by name, cases by group.
        reasons: by reason code, the share of cases in which files met it.
    """

    numbers: Mapping[str, NDArray[np.float64]]
    shares: Mapping[str, tuple[int, int]]
    groups: Mapping[str, Mapping[str, int]]
    reasons: Mapping[str, float]

    def to_json(self) -> dict[str, Any]:
        """``reference.json``."""
        return {
            "schema": SCHEMA,
            "numbers": {name: [float(f"{value:.6g}") for value in values] for name, values in self.numbers.items()},
            "shares": {name: list(pair) for name, pair in self.shares.items()},
            "groups": {name: dict(sorted(counts.items())) for name, counts in self.groups.items()},
            "reasons": dict(sorted(self.reasons.items())),
        }

    @classmethod
    def load(cls, path: Path) -> Measurements:
        """Inverse of :meth:`to_json`; InputError where it is missing or of another schema."""
        found = read_versioned(path, SCHEMA, AGAIN)
        return cls(
            {name: np.array(values, np.float64) for name, values in found["numbers"].items()},
            {name: (pair[0], pair[1]) for name, pair in found["shares"].items()},
            found["groups"],
            found["reasons"],
        )


def of_served(lines: Sequence[Served]) -> Measurements:
    """Of the record's lines."""
    read = [line for line in lines if line.outcome != "failed"]
    answered = [line for line in read if line.scores is not None]
    described = [line.measured for line in read if line.measured is not None]
    labels = list(answered[0].scores or ()) if answered else []
    columns: dict[str, list[float | None]] = {
        **{f"{SCORE}{name}": [(line.scores or {}).get(name) for line in answered] for name in labels},
        **{name: [one.get(name) for one in described] for name in NAMES},
        **_of_files([line.reasons or {} for line in read]),
        "slices": [line.slices for line in read],
        "thickness_mm": [line.thickness_mm for line in read],
    }
    outcomes = Counter(line.outcome for line in lines)
    return Measurements(
        {name: _sorted(values) for name, values in columns.items()},
        {
            "suspected": (outcomes["suspected"], len(answered)),
            "not_read": (outcomes["not read"], len(described)),
            "failed": (outcomes["failed"], len(lines)),
            "incomplete": (sum(None in one.values() for one in described), len(described)),
        },
        {
            "kernel": Counter(line.kernel or "" for line in read),
            "manufacturer": Counter(line.manufacturer or "" for line in read),
        },
        _shares_of([line.reasons or {} for line in read]),
    )


def of_stages(calibrate: Path, window: Path, ingest: Path, precedent: Path) -> Measurements:
    """Of the cases that a version was calibrated on, and those that its *not read* is from; of each patient the first case.

    Scores are of validation cases, which chose combiner and thresholds: cross-fitted, so that they flatter little.

    Args:
        calibrate: holds ``ensemble.json`` and ``validation.parquet``.
        window: holds the index.
        ingest: holds ``series.parquet`` and ``account.csv``.
        precedent: holds ``precedent.npz``.
    """
    import pandas as pd

    from ich_pipeline.ensemble.model import Ensemble
    from ich_pipeline.tables.schemas import SERIES_TABLE, VALIDATION_SCORES

    ensemble = Ensemble.load(calibrate / "ensemble.json")
    scores = read_table(calibrate / "validation.parquet", VALIDATION_SCORES)
    firsts = scores.drop_duplicates("patient_key")["case_id"]
    scores = scores.loc[scores["case_id"].isin(set(firsts))]
    cases, of_cases, suspected = case_scores(ensemble, scores, window)
    series = read_table(ingest / "series.parquet", SERIES_TABLE)
    series = series.loc[series["chosen"] & series["case_id"].isin(set(cases))]
    account = pd.read_csv(ingest / "account.csv", dtype=str, keep_default_na=False)
    account = account.loc[account["StudyInstanceUID"] != ""]
    names = {uid: case_id(uid) for uid in account["StudyInstanceUID"].unique()}
    met = [
        (names[str(uid)], Counter(of_study["reason"]))
        for uid, of_study in account.groupby("StudyInstanceUID", sort=True)
    ]
    reasons = [counts for name, counts in met if name in set(cases)]
    known = Precedent.load(precedent / PRECEDENT_FILE)
    held = np.empty((0, len(NAMES))) if known.held is None else known.held
    columns: dict[str, Iterable[float | None]] = {
        **{f"{SCORE}{name}": of_cases[:, k] for k, name in enumerate(ensemble.labels.columns)},
        **{name: held[:, k] for k, name in enumerate(NAMES)},
        **_of_files(reasons),
        "slices": series["slices"],
        "thickness_mm": series["SliceThickness"],
    }
    return Measurements(
        {name: _sorted(values) for name, values in columns.items()},
        {
            "suspected": (int(suspected.sum()), len(cases)),
            "not_read": (int(known.not_read(held).sum()), len(held)),
            "failed": (sum(Reason.USED not in counts for _, counts in met), len(met)),
            "incomplete": (int(np.isnan(held).any(axis=1).sum()), len(held)),
        },
        {
            "kernel": Counter(series["kernel_class"]),
            "manufacturer": Counter(series["Manufacturer"].map(maker)),
        },
        _shares_of(reasons),
    )


def case_scores(
    ensemble: Ensemble, scores: Any, window: Path
) -> tuple[list[str], NDArray[np.float64], NDArray[np.bool_]]:
    """Cases, their scores (cases, labels), and which are suspected."""
    import pandas as pd

    from ich_pipeline.tables.slice_index import neighbours_among, read_index

    index = read_index(window)
    rows = index.loc[index["SOPInstanceUID"].isin(set(scores["SOPInstanceUID"]))]
    scores = scores.set_index("SOPInstanceUID").loc[rows["SOPInstanceUID"]]
    of, cases = pd.factorize(scores["case_id"])
    labels = ensemble.labels
    final = scores[[f"final_{name}" for name in labels.columns]].to_numpy(np.float64)
    suspicious = scores[f"first_{labels.any}"].to_numpy(np.float64) >= ensemble.gate_threshold
    let_through = np.bincount(of, suspicious, len(cases)) > 0
    of_cases = ensemble.case_score(final, of, neighbours_among(rows))
    return list(cases), of_cases, ensemble.decide(of_cases, let_through)


def _sorted(values: Iterable[float | None]) -> NDArray[np.float64]:
    found = np.array([np.nan if value is None else value for value in values], np.float64)
    return np.sort(found[~np.isnan(found)])


_STATUS = {str(reason): reason.status for reason in Reason}


def _of_files(reasons: Sequence[Mapping[str, int]]) -> dict[str, list[float | None]]:
    """The shares of each case's files that are set aside and rejected."""
    found: dict[str, list[float | None]] = {"set_aside": [], "rejected": []}
    for counts in reasons:
        total = sum(counts.values())
        for name, status in (("set_aside", Status.SET_ASIDE), ("rejected", Status.REJECTED)):
            met = sum(n for reason, n in counts.items() if _STATUS.get(reason, Status.SET_ASIDE) is status)
            found[name].append(met / total if total else None)
    return found


def _shares_of(reasons: Sequence[Mapping[str, int]]) -> dict[str, float]:
    met = Counter(reason for counts in reasons for reason in counts)
    return {reason: round(count / len(reasons), 4) for reason, count in met.items()}
