"""Every figure of a joined table of predictions and labels: ``ich evaluate``. Nothing is fitted, no threshold is chosen."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ich_pipeline.core.progress import Track, quiet
from ich_pipeline.ensemble.operating_points import OperatingPoint
from ich_pipeline.evaluation.bootstrap import Counts, draw_counts
from ich_pipeline.evaluation.metrics import Estimate, Level, label_metrics, mean_metrics
from ich_pipeline.evaluation.readers import Decisions, compare_readers
from ich_pipeline.studies.matched import Matched
from ich_pipeline.studies.names import ANY, MEAN, SYNONYMS
from ich_pipeline.tables.reader_tables import MISSING, majority

GIVEN, DECIDED = "threshold", "decision"


@dataclass(frozen=True)
class StudyOptions:
    """What the figures are made with.

    Attributes:
        thresholds: by finding; a probability that reaches it is called positive.
        margin: of non-inferiority, a difference of sensitivity or specificity.
        confidence: of all intervals.
        bootstrap: replicates.
        seed: of the bootstrap.
    """

    thresholds: Mapping[str, float]
    margin: float
    confidence: float
    bootstrap: int
    seed: int


@dataclass(frozen=True)
class Study:
    """A joined table and what it is judged with."""

    table: Matched
    options: StudyOptions

    @cached_property
    def counts(self) -> Counts:
        """The bootstrap's draws of patients, the same for every figure."""
        return draw_counts(int(self.table.patients.max()) + 1, self.options.bootstrap, self.options.seed)

    def rows(self, label: int) -> NDArray[np.bool_]:
        """Rows with a probability and a label of one finding."""
        return ~np.isnan(self.table.scores[:, label]) & (self.table.truth[:, label] != MISSING)

    def estimates(self, label: int) -> dict[str, Estimate]:
        """All figures of one finding, at the given threshold and, for "any", at the system's own decision."""
        name, kept = self.table.labels[label], self.rows(label)
        level = Level(self.table.patients[kept], self.counts)
        scores, truth = self.table.scores[kept, label], self.table.truth[kept, label]
        found = label_metrics(scores, truth, {GIVEN: OperatingPoint(self.options.thresholds[name], None, None)}, level)
        found[f"threshold@{GIVEN}"] = replace(found[f"threshold@{GIVEN}"], reason="given, not chosen on these rows")
        decided = self._decided(label)
        if decided is not None:
            level = Level(self.table.patients[decided], self.counts)
            calls = np.asarray(self.table.decisions)[decided].astype(np.float64)
            point = {DECIDED: OperatingPoint(0.5, None, None)}
            more = label_metrics(calls, self.table.truth[decided, label], point, level)
            found |= {k: v for k, v in more.items() if k.endswith(f"@{DECIDED}") and not k.startswith("threshold")}
        return found

    def calls(self, label: int) -> dict[str, tuple[NDArray[np.bool_], NDArray[np.bool_]]]:
        """By operating point: rows that it judges, and whether each of these is called positive."""
        kept = self.rows(label)
        found = {GIVEN: (kept, self.table.scores[kept, label] >= self.options.thresholds[self.table.labels[label]])}
        decided = self._decided(label)
        if decided is not None:
            found[DECIDED] = (decided, np.asarray(self.table.decisions)[decided] == 1)
        return found

    def confusion(self, label: int) -> dict[str, dict[str, int]]:
        """Counts at every operating point."""
        found = {}
        for point, (kept, called) in self.calls(label).items():
            truth = self.table.truth[kept, label] == 1
            found[point] = {
                "true_positives": int((called & truth).sum()),
                "false_negatives": int((~called & truth).sum()),
                "false_positives": int((called & ~truth).sum()),
                "true_negatives": int((~called & ~truth).sum()),
            }
        return found

    def readers(self, label: int) -> list[dict[str, Any]]:
        """Every reader against the reference, beside the system."""
        kept = self.rows(label)
        return self._compare(
            self.table.readers, self.table.reads[kept, :, label], kept, self.table.truth[kept, label], label
        )

    def without_each_reader(self, label: int) -> list[dict[str, Any]]:
        """Every reader, and the system on the same rows, against the majority of the other readers alone.

        Rows on which the others are split are left out: their number is ``split``. Empty where the readers are not the
        reference, or are fewer than three.
        """
        table, found = self.table, []
        if not table.readers_are_reference or len(table.readers) < 3:
            return []
        for r, name in enumerate(table.readers):
            others = majority(np.delete(table.reads[:, :, label : label + 1], r, axis=1))[:, 0]
            judged = self.rows(label) & (table.reads[:, r, label] != MISSING)
            kept = judged & (others != MISSING)
            entries = self._compare((name,), table.reads[kept, r : r + 1, label], kept, others[kept], label)
            found += [{**entry, "split": int((judged & ~kept).sum())} for entry in entries]
        return found

    def failures(self) -> pd.DataFrame:
        """Wrong calls at the given thresholds, worst first: misses from the lowest score, false alarms from the highest."""
        parts = []
        for label, name in enumerate(self.table.labels):
            kept, called = self.calls(label)[GIVEN]
            truth, scores = self.table.truth[kept, label] == 1, self.table.scores[kept, label]
            for kind, wrong, order in (
                ("false negative", ~called & truth, scores),
                ("false positive", called & ~truth, -scores),
            ):
                rows = np.flatnonzero(wrong)
                rows = rows[np.argsort(order[rows], kind="stable")]
                where = np.flatnonzero(kept)[rows]
                parts.append(
                    pd.DataFrame(
                        {
                            "finding": name,
                            "kind": kind,
                            "line": self.table.lines[where],
                            "name": [self.table.names[i] for i in where],
                            "score": scores[rows],
                        }
                    )
                )
        return pd.concat(parts, ignore_index=True)

    def results(self, track: Track = quiet) -> dict[str, Any]:
        """Everything as JSON values: ``<level>`` (finding or ``mean`` to figure), ``confusion``, ``readers``, …"""
        table, confidence = self.table, self.options.confidence
        labels = range(len(table.labels))
        found = {table.labels[k]: self.estimates(k) for k in track(labels, "figures", len(labels))}
        averaged = self.averaged()
        if len(averaged) > 1:
            shared = [{k: v for k, v in found[name].items() if not k.endswith(f"@{DECIDED}")} for name in averaged]
            found[MEAN] = mean_metrics(shared)
        return {
            table.level: {
                name: {key: e.to_json(confidence) for key, e in figures.items()} for name, figures in found.items()
            },
            "labels_in_mean": averaged,
            "confusion": {table.labels[k]: self.confusion(k) for k in labels},
            "readers": {table.labels[k]: self.readers(k) for k in labels},
            "leave_one_reader_out": {table.labels[k]: self.without_each_reader(k) for k in labels},
            "rows": len(table.names),
            "groups": {
                "column": table.grouped_by,
                "count": int(table.patients.max()) + 1,
                "passed_over": list(table.passed_over),
            },
            "excluded": [{"what": e.what, "count": e.count} for e in table.excluded],
        }

    def averaged(self) -> list[str]:
        """The findings of the mean: the known subtypes of haemorrhage, or all but "any" where there are none of these."""
        known = [n for n, key in zip(self.table.labels, self.table.keys, strict=True) if key in SYNONYMS and key != ANY]
        return known or [n for n, key in zip(self.table.labels, self.table.keys, strict=True) if key != ANY]

    def _decided(self, label: int) -> NDArray[np.bool_] | None:
        """Rows with a decision of the system's own; None where the finding has none."""
        if self.table.decisions is None or self.table.keys[label] != ANY:
            return None
        return (self.table.decisions != MISSING) & (self.table.truth[:, label] != MISSING)

    def _compare(
        self,
        names: tuple[str, ...],
        reads: NDArray[np.int8],
        kept: NDArray[np.bool_],
        truth: NDArray[np.int8],
        label: int,
    ) -> list[dict[str, Any]]:
        scores = self.table.scores[kept, label]
        called = scores >= self.options.thresholds[self.table.labels[label]]
        system = Decisions(scores, called, truth, self.table.patients[kept])
        return compare_readers(names, reads, system, self.options.margin, self.options.confidence)
