"""Metrics of one label at one level (slices or cases), each with its bootstrap replicates.

``auc``, ``ap`` (average precision), ``prevalence``, ``brier``, ``ece``, and at each operating point ``sensitivity``,
``specificity``, ``ppv``, ``npv``, ``f1`` (keys ``sensitivity@balanced``). What may not be called positive ranks below
all else in ``auc`` and ``ap``, so that every operating point lies on the curve that they are the area of. A figure that
the data cannot give is None with a reason: what is said about a finding needs positives in two patients at least, or it
would describe a person.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ich_pipeline.ensemble.operating_points import OperatingPoint
from ich_pipeline.ensemble.ranking import Ranked
from ich_pipeline.evaluation import proportions
from ich_pipeline.evaluation.bootstrap import Counts, drawn_sums, has_width, interval
from ich_pipeline.evaluation.delong import auc_interval, delong

# Equal-width bins of the expected calibration error (Naeini et al. 2015, with observed minus predicted in each bin).
ECE_BINS = 10
_ONE_PATIENT = "{} in one patient only"
# Elements of the largest temporary (replicates × rows): 32 MB of float64.
_CHUNK = 4_000_000

Formula = Callable[[float], tuple[float, float] | None]  # confidence to an interval


@dataclass(frozen=True)
class Estimate:
    """A figure, its bootstrap replicates, or the reason why there is none.

    Attributes:
        value: None where the data cannot give it.
        replicates: shape (replicates,), NaN where undefined; None where there is no interval.
        reason: why value or interval is missing.
        labels: how many labels a mean is over; None where it is no mean.
        patients: how many patients a proportion is over; None where it is no proportion.
        formulas: by name, intervals that need no bootstrap: ``delong`` of an AUC (by patient); ``wilson`` and
            ``clopper_pearson`` of a share and ``wilson`` of F1, where no patient has two rows.
    """

    value: float | None
    replicates: NDArray[np.float64] | None = None
    reason: str | None = None
    labels: int | None = None
    patients: int | None = None
    formulas: Mapping[str, Formula] = field(default_factory=dict)

    def to_json(self, confidence: float) -> dict[str, Any]:
        """``value``, ``low``, ``high``; ``reason`` where one of them is null, ``labels`` for a mean.

        ``method`` is ``clopper-pearson`` where that interval replaces a bootstrap one without width. Each of
        ``formulas`` adds its name with ``low`` and ``high``.
        """
        found = None if self.value is None or self.replicates is None else interval(self.replicates, confidence)
        reason, method = self.reason or "undefined in more than half of the bootstrap replicates", None
        if found is not None and not has_width(found):
            if self.patients and self.value in (0.0, 1.0):
                found = proportions.clopper_pearson(int(self.value) * self.patients, self.patients, confidence)
                method = "clopper-pearson"
            else:
                found, reason = None, "equal in all bootstrap replicates, which says nothing about other patients"
        low, high = found or (None, None)
        entry: dict[str, Any] = {"value": self.value, "low": low, "high": high}
        if found is None:
            entry["reason"] = reason
        if method is not None:
            entry["method"] = method
        if self.labels is not None:
            entry["labels"] = self.labels
        for name, formula in self.formulas.items():
            bounds = formula(confidence)
            if bounds is not None:
                entry[name] = {"low": bounds[0], "high": bounds[1]}
        return entry

    def gain_over(self, before: Estimate) -> Estimate:
        """This figure less ``before``; paired, for replicates of the same draws."""
        reason = self.reason or before.reason
        if self.value is None or before.value is None:
            return Estimate(None, reason=reason)
        if self.replicates is None or before.replicates is None:
            return Estimate(self.value - before.value, reason=reason)
        return Estimate(self.value - before.value, self.replicates - before.replicates)


@dataclass(frozen=True)
class Level:
    """The rows of one level and whose they are.

    Attributes:
        patients: patient of each row, 0 to patients - 1, shape (rows,).
        counts: (replicates, patients) from :func:`~ich_pipeline.evaluation.bootstrap.draw_counts`.
        eligible: rows that may be called positive at all, shape (rows,); None means all.
        not_probabilities: why the rows' scores are no probabilities; None where they are.
    """

    patients: NDArray[np.integer]
    counts: Counts
    eligible: NDArray[np.bool_] | None = None
    not_probabilities: str | None = None

    def ranking(self, scores: NDArray[np.floating]) -> NDArray[np.float64]:
        """Scores to rank by, shape (rows, ...) as given: -inf for what may not be called, whatever the threshold."""
        values = np.asarray(scores, dtype=np.float64)
        return values if self.eligible is None else np.where(self.eligible, values.T, -np.inf).T

    def by_patient(self, values: NDArray) -> NDArray[np.float64]:
        """Sum of each patient's rows: shape (rows, ...) to (patients, ...)."""
        sums = np.zeros((self.counts.shape[1], *values.shape[1:]))
        np.add.at(sums, self.patients, values)
        return sums

    def weights(self) -> Iterator[NDArray[np.float64]]:
        """Weight of each row in each replicate, some replicates at a time: shapes (some replicates, rows)."""
        step = max(1, _CHUNK // max(1, len(self.patients)))
        for start in range(0, len(self.counts), step):
            yield self.counts[start : start + step, self.patients].astype(np.float64, copy=False)

    def drawn(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        """Sum of the drawn patients' values in each replicate: shape (patients, ...) to (replicates, ...)."""
        return drawn_sums(self.counts, values)

    @property
    def independent(self) -> bool:
        """Whether no patient has two rows."""
        return len(np.unique(self.patients)) == len(self.patients)


def label_metrics(
    scores: NDArray[np.float64], truth: NDArray[np.integer], points: Mapping[str, OperatingPoint], level: Level
) -> dict[str, Estimate]:
    """All metrics of one label.

    Args:
        scores: in 0..1, shape (rows,); probabilities, unless the level says why they are none.
        truth: 0 and 1, shape (rows,).
        points: operating points by name.
        level: whose the rows are.
    """
    truth = np.asarray(truth)
    rows = len(truth)
    ones, positive, no_positive, no_negative = _classes(truth, level)
    count_only = "a count has no interval"
    metrics = {
        "n": Estimate(float(rows), reason=count_only),
        "positives": Estimate(float(truth.sum()), reason=count_only),
        "prevalence": _ratio(positive, ones, level, "", proportion=True),
        **ranking_metrics(scores, truth, level),
        "brier": _ratio(level.by_patient((scores - truth) ** 2), ones, level, ""),
        "ece": _calibration_error(scores, truth, ones, level),
    }
    if level.not_probabilities:
        metrics |= dict.fromkeys(("brier", "ece"), Estimate(None, reason=level.not_probabilities))
    if no_positive:
        # The count is a fact; how it would vary cannot be drawn from one patient.
        metrics["prevalence"] = Estimate(metrics["prevalence"].value, reason=no_positive)
    for name, point in points.items():
        for key, estimate in _at(scores, truth, point, level, no_positive, no_negative).items():
            metrics[f"{key}@{name}"] = estimate
    return metrics


def ranking_metrics(
    scores: NDArray[np.floating], truth: NDArray[np.integer], level: Level, names: Sequence[str] = ("auc", "ap")
) -> dict[str, Estimate]:
    """``auc`` and ``ap`` of one label, or one of them; arguments as of :func:`label_metrics`."""
    truth = np.asarray(truth)
    _, _, no_positive, no_negative = _classes(truth, level)
    missing = {"auc": no_positive or no_negative, "ap": no_positive}
    found = {name: Estimate(None, reason=missing[name]) for name in names}
    known = [name for name in names if not missing[name]]
    if not known:
        return found
    ranking = level.ranking(scores)
    ranked = Ranked(ranking, truth)
    values = ranked.measures(known)
    replicates = np.concatenate([ranked.measures(known, some) for some in level.weights()])
    for k, name in enumerate(known):
        found[name] = Estimate(float(values[k]), np.ascontiguousarray(replicates[:, k]))
    if "auc" in known:
        area, variance = (
            float(values[known.index("auc")]),
            float(delong(ranking, truth, level.patients).covariance[0, 0]),
        )
        interval_of = {"delong": lambda confidence: auc_interval(area, variance, confidence)}
        found["auc"] = replace(found["auc"], formulas=interval_of)
    return found


def mean_metrics(labels: Sequence[Mapping[str, Estimate]]) -> dict[str, Estimate]:
    """Unweighted means over labels, leaving out what is None; prevalence over the labels that have an average precision.

    A replicate counts where all the labels in the mean are defined.
    """
    means = {}
    for key in labels[0]:
        if key in ("n", "positives") or key.startswith("threshold@"):
            continue
        used = [
            m[key] for m in labels if m[key].value is not None and (key != "prevalence" or m["ap"].value is not None)
        ]
        values = [e.value for e in used if e.value is not None]
        replicates = [e.replicates for e in used if e.replicates is not None]
        if not values:
            means[key] = Estimate(None, reason="no label gives it", labels=0)
        elif len(replicates) < len(values):
            means[key] = Estimate(float(np.mean(values)), reason="a label in it has no interval", labels=len(values))
        else:
            means[key] = Estimate(float(np.mean(values)), np.mean(replicates, axis=0), labels=len(values))
    return means


def _missing(by_patient: NDArray[np.float64], what: str) -> str | None:
    """Why a class cannot be judged: nobody has it, or one patient only."""
    patients = int((by_patient > 0).sum())
    return None if patients > 1 else f"no {what}" if patients == 0 else _ONE_PATIENT.format(what)


def _classes(
    truth: NDArray[np.integer], level: Level
) -> tuple[NDArray[np.float64], NDArray[np.float64], str | None, str | None]:
    """Rows and positive rows of each patient, and why positives or negatives cannot be judged."""
    ones, positive = level.by_patient(np.ones(len(truth))), level.by_patient(truth.astype(np.float64))
    return ones, positive, _missing(positive, "positives"), _missing(ones - positive, "negatives")


def _ratio(
    top: NDArray[np.float64], bottom: NDArray[np.float64], level: Level, empty: str, proportion: bool = False
) -> Estimate:
    """Sum of ``top`` over sum of ``bottom``, both (patients,); a proportion is of the patients with a ``bottom``."""
    if bottom.sum() == 0:
        return Estimate(None, reason=empty)
    with np.errstate(divide="ignore", invalid="ignore"):
        replicates = level.drawn(top) / level.drawn(bottom)
    patients = int((bottom > 0).sum()) if proportion else None
    return Estimate(float(top.sum() / bottom.sum()), replicates, patients=patients)


def calibration_gaps(scores: NDArray[np.float64], truth: NDArray[np.integer]) -> NDArray[np.float64]:
    """Score less truth of each row in its bin, 0 in the others: (rows, :data:`ECE_BINS`).

    The calibration error is the sum over the bins of the absolute sums, over the number of rows.
    """
    bins = np.minimum((scores * ECE_BINS).astype(int), ECE_BINS - 1)
    gaps = np.zeros((len(scores), ECE_BINS))
    gaps[np.arange(len(scores)), bins] = scores - truth
    return gaps


def _calibration_error(
    scores: NDArray[np.float64], truth: NDArray[np.integer], ones: NDArray[np.float64], level: Level
) -> Estimate:
    by_patient = level.by_patient(calibration_gaps(scores, truth))
    value = np.abs(by_patient.sum(axis=0)).sum() / ones.sum()
    with np.errstate(invalid="ignore"):  # a subgroup of which nobody was drawn
        replicates = np.abs(level.drawn(by_patient)).sum(axis=1) / level.drawn(ones)
    return Estimate(float(value), replicates)


def _at(
    scores: NDArray[np.float64],
    truth: NDArray[np.integer],
    point: OperatingPoint,
    level: Level,
    no_positive: str | None,
    no_negative: str | None,
) -> dict[str, Estimate]:
    keys = ("sensitivity", "specificity", "ppv", "npv", "f1")
    if point.threshold is None:
        missing = Estimate(None, reason=f"no threshold: {point.reason}")
        return {"threshold": missing, **dict.fromkeys(keys, missing)}
    called = scores >= point.threshold
    if level.eligible is not None:
        called = called & level.eligible
    tp, fp, fn, tn = level.by_patient(
        np.stack([called & (truth == 1), called & (truth == 0), ~called & (truth == 1), ~called & (truth == 0)], axis=1)
    ).T
    reasons = dict.fromkeys(keys, no_positive) | {"specificity": no_negative}
    ratios = {
        "sensitivity": (tp, tp + fn, "no positives"),
        "specificity": (tn, tn + fp, "no negatives"),
        "ppv": (tp, tp + fp, "nothing is called positive"),
        "npv": (tn, tn + fn, "nothing is called negative"),
        "f1": (2 * tp, 2 * tp + fp + fn, "no positives"),
    }
    found = {"threshold": Estimate(point.threshold, reason="chosen before the test")}
    for key, (top, bottom, empty) in ratios.items():
        reason = reasons[key]
        # F1 counts a true positive twice: no share of anything.
        found[key] = Estimate(None, reason=reason) if reason else _ratio(top, bottom, level, empty, key != "f1")
        if found[key].value is not None and level.independent:
            found[key] = replace(found[key], formulas=_formulas(key, int(top.sum()), int(bottom.sum())))
    return found


def _formulas(key: str, top: int, bottom: int) -> dict[str, Formula]:
    if key == "f1":
        true, errors = top // 2, bottom - top
        return {"wilson": lambda confidence: proportions.f1_interval(true, errors, confidence)}
    return {
        "wilson": lambda confidence: proportions.wilson(top, bottom, confidence),
        "clopper_pearson": lambda confidence: proportions.clopper_pearson(top, bottom, confidence),
    }
