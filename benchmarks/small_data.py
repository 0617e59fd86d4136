"""What each start is worth on few patients: networks, their ensembles and the baselines, in the same folds, and a learning curve.

In a project whose stages window and features ran (profile ``laptop``):

    python benchmarks/small_data.py                     # 5 folds × 3 seeds, every network of params.yaml alone and all together
    python benchmarks/small_data.py --curve 10,20,30    # the ensemble from so many training patients a fold

Held-out scores of all folds are pooled. The scores are log-odds of the mean head, or of the HU rule, in units of their spread over the learning
patients; an ensemble is their plain mean. Case: the largest slice. Thresholds: largest Youden index on out-of-fold scores of the training patients. Intervals: bootstrap by
patient, first seed; the range is over seeds. ``make crossvalidate`` measures the whole system instead, with its choices and calibration.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.special import expit

from ich_pipeline.baselines.hu_features import measure, neighbourhood
from ich_pipeline.baselines.hu_rule import Lesson, choose_slices, learn_forest
from ich_pipeline.config import Params, load_params
from ich_pipeline.core.progress import terminal
from ich_pipeline.ensemble.calibration import logit
from ich_pipeline.ensemble.folds import patient_folds
from ich_pipeline.ensemble.one_scale import Scale
from ich_pipeline.ensemble.operating_points import OperatingPoint, balanced_threshold
from ich_pipeline.evaluation.bootstrap import draw_counts
from ich_pipeline.evaluation.metrics import Level, label_metrics
from ich_pipeline.features.classifier import cross_fit
from ich_pipeline.features.store import AS_IT_IS, Features, read
from ich_pipeline.tables.label_tables import read_labels
from ich_pipeline.tables.slice_index import neighbours_among
from ich_pipeline.training.data import hu_file, open_slices
from ich_pipeline.windowing.windows import clip_range

WORK = Path("work")
RULE, RANDOM = "HU rule", "random network"


class Bench:
    """All labelled slices of the project, and how each reader scores held-out ones."""

    def __init__(self, params: Params) -> None:
        self.params = params
        labels = params.label_set
        size = max(params.windowing.sizes)
        index, _ = open_slices(WORK / "window", size)
        truth = read_labels(Path("data/labels.csv"), labels).set_index("SOPInstanceUID")
        table = index.loc[index["SOPInstanceUID"].isin(truth.index)].reset_index(drop=True)
        self.truth = truth.loc[table["SOPInstanceUID"], list(labels.columns)].to_numpy(np.int8)
        self.patients = pd.factorize(table["patient_key"], sort=True)[0]
        self.cases = pd.factorize(table["case_id"])[0]
        uids = list(table["SOPInstanceUID"])
        folders = {name: WORK / "features" / name / "windows" for name in params.architectures}
        self.features: dict[str, Features] = {n: read(f, uids) for n, f in folders.items() if f.is_dir()}
        random = WORK / "features" / str(params.baselines.random_network) / "random"
        if random.is_dir():
            self.features[RANDOM] = read(random, uids)
        rows = table["row"].to_numpy()
        highest = clip_range(params.windowing.windows)[1]
        measured = measure(WORK / "window" / hu_file(size), rows, highest, params.ingest.workers, terminal)
        self.rule = neighbourhood(measured, neighbours_among(table))

    def fold(self, rows: NDArray[np.bool_], seed: int) -> NDArray[np.intp]:
        """Five folds of these slices' patients, each finding evenly, in an order that the seed draws."""
        order = np.random.default_rng(seed).permutation(int(self.patients.max()) + 1)
        return patient_folds(order[self.patients[rows]], self.truth[rows], 5)

    def scores(self, name: str, learn: NDArray[np.bool_], seed: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Of all slices by a reader that learnt from ``learn``, and its out-of-fold scores of these; (n, labels) each."""
        inner = self.fold(learn, seed + 100)
        if name == RULE:
            return self._of_rule(learn, inner, seed)
        features, cap = self.features[name], self.params.training.class_weight_cap
        found = cross_fit(
            [v[learn] for v in features.learning()], self.truth[learn], inner, self.params.head.penalties, cap
        )
        plain = features.views[AS_IT_IS]
        every = found.mean.logits(plain)
        mean, spread = every[learn].mean(axis=0), every[learn].std(axis=0)
        spread = np.where(spread > 0, spread, 1.0)
        own = np.stack([head.logits(plain[learn]) for head in found.folds])[inner, np.arange(learn.sum())]
        return expit((every - mean) / spread), expit((own - mean) / spread)

    def _of_rule(
        self, learn: NDArray[np.bool_], inner: NDArray[np.intp], seed: int
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        rows, settings = np.flatnonzero(learn), self.params.baselines

        def forest(rows: NDArray[np.integer]) -> NDArray[np.float64]:
            chosen = choose_slices(self.truth[rows, 0], self.patients[rows], settings.maximum_slices, seed)
            of = rows[chosen]
            lesson = Lesson(of, self.truth[of], self.patients[of], self.truth[rows].mean(axis=0))
            return learn_forest(self.rule, lesson, settings.trees, seed).scores(self.rule)

        own = np.empty((len(rows), self.truth.shape[1]))
        for k in np.unique(inner):
            own[inner == k] = forest(rows[inner != k])[rows[inner == k]]
        scales = [Scale.of(column) for column in own.T]
        of_all = forest(rows)
        return tuple(np.stack([s(c) for s, c in zip(scales, of.T, strict=True)], axis=1) for of in (of_all, own))  # type: ignore[return-value]


def pooled(
    bench: Bench, names: Sequence[str], seed: int, patients: int | None = None
) -> tuple[NDArray[np.float64], ...]:
    """Held-out scores (n, labels) of all slices by the mean of these readers, and whether each is called, slice and case."""
    everyone = np.ones(len(bench.truth), bool)
    outer = bench.fold(everyone, seed)
    scores, slices, cases = np.zeros(bench.truth.shape), np.zeros(len(everyone)), np.zeros(bench.cases.max() + 1)
    for k in np.unique(outer):
        held, learn = outer == k, outer != k
        if patients is not None:
            learn = _fewer(bench, learn, patients, seed)
        found = [bench.scores(name, learn, seed) for name in names]
        of_all, own = (expit(np.mean([logit(pair[i]) for pair in found], axis=0)) for i in (0, 1))
        scores[held] = of_all[held]
        slices[held] = of_all[held, 0] >= balanced_threshold(own[:, 0], bench.truth[learn, 0])
        of_cases, truths = _by_case(bench, own[:, 0], learn), _by_case(bench, bench.truth[learn, 0], learn)
        here = np.unique(bench.cases[held])
        cases[here] = _by_case(bench, of_all[held, 0], held) >= balanced_threshold(of_cases, truths.astype(np.int8))
    return scores, slices, cases


def _by_case(bench: Bench, values: NDArray[Any], rows: NDArray[np.bool_]) -> NDArray[Any]:
    """The largest value of each case among these slices, in the order of the cases."""
    return pd.Series(values).groupby(bench.cases[rows]).max().to_numpy()


def _fewer(bench: Bench, learn: NDArray[np.bool_], count: int, seed: int) -> NDArray[np.bool_]:
    """So many of the learning patients, each finding's share kept: the first of a deal to as many folds as it takes."""
    folds = max(round(len(np.unique(bench.patients[learn])) / count), 1)
    dealt = np.random.default_rng(seed).permutation(int(bench.patients.max()) + 1)
    part = patient_folds(dealt[bench.patients[learn]], bench.truth[learn], folds)
    chosen = learn.copy()
    chosen[np.flatnonzero(learn)[part != 0]] = False
    if folds == 1:
        keep = np.unique(bench.patients[learn])[:count]
        chosen = learn & np.isin(bench.patients, keep)
    return chosen


def row(bench: Bench, name: str, runs: list[tuple[NDArray[np.float64], ...]]) -> dict[str, str]:
    """Figures of a reader: the first seed's with its interval, and the range over seeds."""
    counts = draw_counts(int(bench.patients.max()) + 1, 1000, bench.params.seed)
    of_case = np.unique(bench.cases, return_index=True)[1]
    found: dict[str, list[Any]] = {}
    for scores, slices, cases in runs:
        truth = _by_case(bench, bench.truth[:, 0], np.ones(len(bench.truth), bool))
        largest = _by_case(bench, scores[:, 0], np.ones(len(bench.truth), bool))
        for level, s, called, t, patients in (
            ("slice", scores[:, 0], slices, bench.truth[:, 0], bench.patients),
            ("case", largest, cases, truth, bench.patients[of_case]),
        ):
            at = Level(patients, counts)
            ranks = label_metrics(s, t.astype(np.int64), {}, at)
            calls = label_metrics(called, t.astype(np.int64), {"b": OperatingPoint(0.5, None, None)}, at)
            picked = {
                "AUC": ranks["auc"],
                "AP": ranks["ap"],
                "sens.": calls["sensitivity@b"],
                "spec.": calls["specificity@b"],
            }
            for key, estimate in picked.items():
                found.setdefault(f"{level} {key}", []).append(estimate.to_json(0.95))
        for k, label in enumerate(bench.params.label_set.subtypes, start=1):
            if len(np.unique(bench.patients[bench.truth[:, k] > 0])) >= 2:
                estimate = label_metrics(
                    scores[:, k], bench.truth[:, k].astype(np.int64), {}, Level(bench.patients, counts)
                )
                found.setdefault(label, []).append(estimate["auc"].to_json(0.95))
    return {"reader": name, **{key: _text(values) for key, values in found.items()}}


def _text(values: list[dict[str, Any]]) -> str:
    first, numbers = values[0], [one["value"] for one in values]
    spread = f", {min(numbers):.3f}–{max(numbers):.3f}" if len(numbers) > 1 else ""
    return f"{first['value']:.3f} ({first['low']:.3f}–{first['high']:.3f}){spread}"


def main() -> int:
    """Print a Markdown table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--curve", type=lambda text: [int(n) for n in text.split(",")], default=[])
    asked = parser.parse_args()
    bench = Bench(load_params())
    networks = [name for name in bench.features if name != RANDOM]
    readers: list[tuple[str, list[str], int | None]]
    if asked.curve:
        everyone = [*networks, RULE]
        readers = [(f"{n} patients a fold", everyone, n) for n in asked.curve] + [("all of them", everyone, None)]
    else:
        alone = [RULE, *([RANDOM] if RANDOM in bench.features else []), *networks]
        readers = [(name, [name], None) for name in alone]
        pairs = [networks[:k] for k in range(2, len(networks) + 1)]
        readers += [(" + ".join(pair), pair, None) for pair in [*pairs, [*networks, RULE]]]
    rows = []
    for name, members, count in terminal(readers, "readers", len(readers)):
        rows.append(
            row(bench, name, [pooled(bench, members, bench.params.seed + s, count) for s in range(asked.seeds)])
        )
        print(rows[-1], file=sys.stderr, flush=True)
    table = pd.DataFrame(rows)
    print("| " + " | ".join(table.columns) + " |\n|" + "---|" * len(table.columns))
    for values in table.to_numpy():
        print("| " + " | ".join(map(str, values)) + " |")
    return 0


if __name__ == "__main__":
    sys.exit(main())
