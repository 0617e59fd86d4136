"""A test cohort as the system read it, and the metrics of it."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ich_pipeline.baselines.stored import Baseline
from ich_pipeline.config import EvaluationParams
from ich_pipeline.ensemble.case_score import cases_positive
from ich_pipeline.ensemble.model import Ensemble
from ich_pipeline.ensemble.reading import Reading
from ich_pipeline.evaluation.bootstrap import Counts, draw_counts
from ich_pipeline.evaluation.metrics import Estimate, Level, label_metrics, mean_metrics, ranking_metrics
from ich_pipeline.tables.labels import Labels


@dataclass(frozen=True)
class TestCohort:
    """Truth of a test cohort beside its reading.

    Attributes:
        ensemble: what read it.
        reading: of all slices of its cases.
        labelled: slices with labels, shape (slices,); the others were read, but are in no metric.
        truth: 0 and 1, shape (labelled slices, labels).
        case_index: case of each slice, shape (slices,).
        neighbours: rows of the slices before and after, -1 at an end or a gap, shape (slices, 2).
        patients: patient of each slice, 0 to patients - 1, shape (slices,).
        params: replicates and confidence.
        seed: of the bootstrap.
        baselines: readers without a trained network, their scores of all slices, (slices, labels).
    """

    __test__ = False  # not a test class, whatever pytest makes of its name

    ensemble: Ensemble
    reading: Reading
    labelled: NDArray[np.bool_]
    truth: NDArray[np.integer]
    case_index: NDArray[np.integer]
    neighbours: NDArray[np.integer]
    patients: NDArray[np.integer]
    params: EvaluationParams
    seed: int
    baselines: tuple[Baseline, ...] = ()

    @property
    def labels(self) -> Labels:
        """Names of the label axis."""
        return self.ensemble.labels

    @cached_property
    def counts(self) -> Counts:
        """The bootstrap's draws, the same for every metric, so that differences between them are paired."""
        return draw_counts(int(self.patients.max()) + 1, self.params.bootstrap, self.seed)

    @cached_property
    def slices(self) -> Level:
        """The labelled slices."""
        return Level(self.patients[self.labelled], self.counts)

    @cached_property
    def cases(self) -> Level:
        """The cases with a labelled slice.

        One that the first reading did not let through is never called positive, so it ranks below all that it did. Case
        scores have no Brier score or calibration error: several calibrated slices make no calibrated case.
        """
        patients = np.zeros(len(self.reading.case_scores), dtype=np.intp)
        patients[self.case_index] = self.patients
        kept = self.labelled_cases
        return Level(
            patients[kept],
            self.counts,
            self.reading.let_through[kept],
            not_probabilities=f"a case score is the {self.ensemble.case_score} of slice probabilities, not a calibrated probability",
        )

    @cached_property
    def labelled_cases(self) -> NDArray[np.bool_]:
        """Cases with at least one labelled slice, shape (cases,)."""
        return cases_positive(self.labelled[:, None], self.case_index)[:, 0].astype(bool)

    @cached_property
    def case_truth(self) -> NDArray[np.int8]:
        """Shape (labelled cases, labels): 1 where a labelled slice of the case is 1."""
        truth = np.zeros((len(self.labelled), len(self.labels)), dtype=np.int8)
        truth[self.labelled] = self.truth
        return cases_positive(truth, self.case_index)[self.labelled_cases]

    @cached_property
    def baseline_cases(self) -> dict[str, NDArray[np.float64]]:
        """Each baseline's scores of all cases by the ensemble's rule, (cases, labels)."""
        rule = self.ensemble.case_score
        return {b.name: rule(b.scores, self.case_index, self.neighbours) for b in self.baselines}

    @cached_property
    def estimates(self) -> dict[str, dict[str, dict[str, Estimate]]]:
        """Level (``slice``, ``case``) to label, or ``mean`` over the subtypes, to metric to estimate."""
        ensemble, kept = self.ensemble, self.labelled_cases
        rows = {
            "slice": (self.reading.final[self.labelled], self.truth, ensemble.slice_points, self.slices),
            "case": (self.reading.case_scores[kept], self.case_truth, ensemble.case_points, self.cases),
        }
        found = {}
        for level, (scores, truth, points, of) in rows.items():
            by_label = {
                name: label_metrics(scores[:, k], truth[:, k], points[name], of)
                for k, name in enumerate(self.labels.columns)
            }
            found[level] = {**by_label, "mean": mean_metrics([by_label[s] for s in self.labels.subtypes])}
        return found

    def metrics(self) -> dict[str, Any]:
        """The test's block of metrics.json."""
        return {
            level: {
                label: {key: estimate.to_json(self.params.confidence) for key, estimate in metrics.items()}
                for label, metrics in labels.items()
            }
            for level, labels in self.estimates.items()
        }

    def reading_account(self) -> dict[str, Any]:
        """What the first threshold costs and what reading again changes.

        Counts, slice metrics of both readings, and ``gain``: the final reading's over the first's, paired by patient.
        """
        true_case = self.case_truth[:, 0] == 1
        let_through = self.cases.eligible
        assert let_through is not None
        true_slice = self.truth[:, 0] == 1
        account: dict[str, Any] = {
            "gate": self.ensemble.gate.to_json(),
            "slices": len(self.labelled),
            "slices_reread": int(self.reading.reread.sum()),
            "cases": len(true_case),
            "cases_let_through": int(let_through.sum()),
            "true_cases": int(true_case.sum()),
            "true_cases_lost": int((true_case & ~let_through).sum()),
            "true_slices": int(true_slice.sum()),
            "true_slices_not_reread": int((true_slice & ~self.reading.reread[self.labelled]).sum()),
        }
        readings = {"first": self.reading.first, "second_everywhere": self.reading.second, "final": self.reading.final}
        found = {name: ranking_summary(s[self.labelled], self.truth, self.slices) for name, s in readings.items()}
        found["gain"] = found["final"].gain_over(found["first"])
        return account | {name: summary.to_json(self.params.confidence) for name, summary in found.items()}


@dataclass(frozen=True)
class RankingSummary:
    """Mean average precision over the subtypes and AUC of "any"."""

    mean_ap: Estimate
    auc_any: Estimate

    def to_json(self, confidence: float) -> dict[str, Any]:
        """``mean_ap`` and ``auc_any``, each with value, low and high."""
        return {"mean_ap": self.mean_ap.to_json(confidence), "auc_any": self.auc_any.to_json(confidence)}

    def gain_over(self, before: RankingSummary) -> RankingSummary:
        """Both figures less those of ``before``."""
        return RankingSummary(self.mean_ap.gain_over(before.mean_ap), self.auc_any.gain_over(before.auc_any))


def ranking_summary(scores: NDArray[np.floating], truth: NDArray[np.integer], level: Level) -> RankingSummary:
    """Summarise scores of shape (rows, labels), label 0 being "any"."""
    values = np.asarray(scores, dtype=np.float64)
    subtypes = [ranking_metrics(values[:, k], truth[:, k], level, ["ap"]) for k in range(1, truth.shape[1])]
    return RankingSummary(
        mean_metrics(subtypes)["ap"], ranking_metrics(values[:, 0], truth[:, 0], level, ["auc"])["auc"]
    )
