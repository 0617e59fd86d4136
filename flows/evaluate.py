"""Stage evaluate: the ensemble and the ablation on one test cohort, with intervals by patient.

The only stage, with report, that opens a test cohort's sealed labels; of one test only.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from flows.engine import layout
from flows.engine.run import main
from flows.engine.stage import Stage, StageResult
from flows.networks import MULTI, SINGLE
from ich_pipeline.baselines.hu_rule import FILE, MEMBER
from ich_pipeline.baselines.stored import read_baselines
from ich_pipeline.config import Params
from ich_pipeline.core.errors import InputError
from ich_pipeline.core.files import atomic_dir, read_table, sha256_of, write_json, write_table, write_text
from ich_pipeline.ensemble.model import Ensemble
from ich_pipeline.evaluation.ablation import ablation_rows
from ich_pipeline.evaluation.baselines import FIGURES as COMPARED
from ich_pipeline.evaluation.baselines import baselines_of_test
from ich_pipeline.evaluation.cohort import TestCohort
from ich_pipeline.evaluation.curves import curve_tables
from ich_pipeline.evaluation.readers import readers_of_test
from ich_pipeline.evaluation.subgroups import FIGURES, case_facts, subgroup_rows
from ich_pipeline.evaluation.tables import as_text, case_failures, case_table, key_figures, slice_table
from ich_pipeline.evaluation.uncertainty import headline, uncertainty_of_test
from ich_pipeline.sequence.stored import candidates, readers
from ich_pipeline.tables.cohort_mark import data_words
from ich_pipeline.tables.formulas import table_text
from ich_pipeline.tables.masks import read_masks
from ich_pipeline.tables.reader_tables import read_decisions
from ich_pipeline.tables.schemas import (
    CASE_PREDICTIONS_TABLE,
    COHORTS_TABLE,
    PREDICTIONS_TABLE,
    SERIES_TABLE,
)
from ich_pipeline.tables.slice_index import join_labels, neighbours_among, read_index

if TYPE_CHECKING:
    from ich_pipeline.training.network import Network


@dataclass(frozen=True)
class Slices:
    """All slices of the test's cases: images by size, neighbours among them, case and patient of each."""

    images: dict[int, Any]
    neighbours: NDArray[np.integer]
    case_index: NDArray[np.integer]
    patients: NDArray[np.integer]


def body(stage: Stage) -> StageResult:
    """Read, measure, write work/evaluate/<test>, record."""
    from ich_pipeline.evaluation.figures import curves_of, draw_pr, draw_roc
    from ich_pipeline.evaluation.style import marked
    from ich_pipeline.registry.ledger import digest_of_files, record_look
    from ich_pipeline.registry.tracking import open_run

    params, test = stage.params, stage.item
    if test not in params.tests:
        raise InputError(f"{test!r} is none of the tests in params.yaml ({', '.join(params.tests)}): name one of them.")
    with open_run(stage.name, test, params) as run:
        cohort, single, table = _read(stage, params, test)
        uncertainty = uncertainty_of_test(
            cohort, list(table.loc[cohort.labelled, "SOPInstanceUID"]), _labelled_cases(cohort, table)
        )
        metrics = cohort.metrics()
        for level in ("slice", "case"):
            for label in cohort.labels.columns:
                metrics[level][label] |= headline(uncertainty, level, label)
        baselines = baselines_of_test(cohort)
        ablation = ablation_rows(cohort, single, baselines)
        roc, pr = curves_of(cohort)
        readers, subgroups = _readers(cohort, table), _subgroups(cohort, table)
        cases = case_table(cohort, table)
        target = layout.EVALUATE / test
        with atomic_dir(target) as folder:
            write_table(folder / "slices.parquet", slice_table(cohort, table), PREDICTIONS_TABLE)
            write_table(folder / "cases.parquet", cases, CASE_PREDICTIONS_TABLE)
            write_json(folder / "metrics.json", {**metrics, "baselines": baselines})
            account = cohort.reading_account()
            write_json(folder / "reading.json", account)
            write_json(folder / "readers.json", readers)
            write_json(folder / "uncertainty.json", uncertainty)
            _write_csv(folder / "ablation.csv", ablation)
            _write_csv(folder / "subgroups.csv", subgroups)
            _write_csv(folder / "failures.csv", case_failures(cohort, cases))
            for name, curves in (("roc", roc), ("pr", pr)):
                points = curve_tables(curves)
                _write_csv(folder / f"{name}.csv", points)
                # DVC draws one line a file: the slice-level curve of "any".
                of_any = (points["level"] == "slice") & (points["label"] == cohort.labels.any)
                _write_csv(folder / f"{name}_any.csv", points.loc[of_any, ["x", "y"]])
            with marked(data_words(layout.DATA)):
                beside = readers["labels"].get(cohort.labels.any, ())
                draw_roc(cohort, roc, test, *_drawn(folder, "roc"), readers=beside)
                draw_pr(cohort, pr, test, *_drawn(folder, "pr"))
            # Before the results are in place: none may be read unrecorded. And into the record alone: a date or a commit in the
            # outs would make them differ from run to run.
            record_look(
                test,
                test_set=sha256_of(_sealed(test)),
                model=digest_of_files(
                    layout.TRAIN,
                    layout.CALIBRATE / "ensemble.json",
                    params.architectures,
                    [layout.SEQUENCE / name for name in cohort.ensemble.heads],
                    layout.BASELINES / MEMBER / FILE if MEMBER in cohort.ensemble.members else None,
                ),
                results=sha256_of(folder / "metrics.json"),
            )
        run.metrics({level: {label: _values(m) for label, m in of.items()} for level, of in metrics.items()})
        run.metrics({"baselines": {name: _values({k: of[k] for k in COMPARED}) for name, of in baselines.items()}})
        for name in ("roc", "pr"):
            run.figure(target / "figures" / f"{name}.png")
        for name in ("ablation", "subgroups"):
            run.artifact(target / f"{name}.csv")
    return _result(cohort, metrics, account, {"ablation": ablation, "subgroups": subgroups}, target)


def _drawn(folder: Path, name: str) -> tuple[Path, Path]:
    """A figure's files: the PNG for MLflow and Prefect, the SVG for the report."""
    return folder / "figures" / f"{name}.png", folder / "figures" / f"{name}.svg"


def _read(stage: Stage, params: Params, test: str) -> tuple[TestCohort, dict[str, NDArray[np.float32]], pd.DataFrame]:
    """The system's reading of the test, and the single-window networks' probabilities for the ablation."""
    from ich_pipeline.ensemble.reading import read
    from ich_pipeline.features.store import answers_from
    from ich_pipeline.training.network import Network

    labels = params.label_set
    ensemble = Ensemble.load(layout.CALIBRATE / "ensemble.json")
    if ensemble.labels != labels:
        raise InputError(
            "work/calibrate/ensemble.json was fitted for other labels than params.yaml names: run `dvc repro`."
        )
    table = _table(test)
    labelled, truth = _truth(test, table, params)
    networks = {name: Network.load(layout.TRAIN / name) for name in stage.track(params.architectures, "loading")}
    single = {name: Network.load(layout.ABLATE / name) for name in params.ablation}
    slices = _slices(table, [*networks.values(), *single.values()])
    stage.log.info("reading %d slices of %d cases", len(table), int(slices.case_index.max()) + 1)
    heads = readers(layout.SEQUENCE, networks, candidates(layout.SEQUENCE))
    case_index = slices.case_index
    baselines = read_baselines(layout.BASELINES, table["SOPInstanceUID"], labels)
    reading = read(
        networks,
        ensemble,
        slices.images,
        slices.neighbours,
        case_index,
        everywhere=True,
        sequences=heads,
        ablation=params.ablation,
        probabilities=answers_from(layout.FEATURES, MULTI, list(table["SOPInstanceUID"])),
        others={b.name: b.scores for b in baselines if b.name == MEMBER and params.ensemble.hu_rule},
    )
    of_single = answers_from(layout.FEATURES, SINGLE, list(table["SOPInstanceUID"]))
    single_window = {
        name: of_single(network, slices.images[network.spec.image_size], slices.neighbours, (0.0,))[0]
        for name, network in stage.track(single.items(), "single window", len(single))
    }
    cohort = TestCohort(
        ensemble=ensemble,
        reading=reading,
        labelled=labelled,
        truth=truth,
        case_index=slices.case_index,
        neighbours=slices.neighbours,
        patients=slices.patients,
        params=params.evaluation,
        seed=params.seed,
        baselines=baselines,
    )
    return cohort, single_window, table


def _table(test: str) -> pd.DataFrame:
    """The window index's rows of the test's cases."""
    cohorts = read_table(layout.SPLIT / "cohorts.parquet", COHORTS_TABLE)
    cases = cohorts.loc[cohorts["cohort"] == test, "case_id"]
    index = read_index(layout.WINDOW)
    table = index.loc[index["case_id"].isin(cases)]
    if table.empty:
        raise InputError(
            f"work/split/cohorts.parquet has no case in {test}: give this test patients in params.yaml (split)."
        )
    return table.reset_index(drop=True)


def _slices(table: pd.DataFrame, networks: list[Network]) -> Slices:
    from ich_pipeline.training.data import SliceRows, open_slices

    rows = table["row"].to_numpy()
    return Slices(
        images={n.spec.image_size: SliceRows(open_slices(layout.WINDOW, n.spec.image_size)[1], rows) for n in networks},
        neighbours=neighbours_among(table),
        case_index=pd.factorize(table["case_id"])[0],
        patients=pd.factorize(table["patient_key"], sort=True)[0],
    )


def _sealed(test: str) -> Path:
    return layout.SPLIT / "sealed" / f"{test}.csv"


def _truth(test: str, table: pd.DataFrame, params: Params) -> tuple[NDArray[np.bool_], NDArray[np.int8]]:
    """Which slices carry labels, and these."""
    path = _sealed(test)
    labelled, truth = join_labels(table, [path], params.label_set, test)
    if not labelled.any():
        raise InputError(f"{path} labels no slice: {test} cannot be evaluated without labels.")
    return labelled, truth


def _labelled_cases(cohort: TestCohort, table: pd.DataFrame) -> list[str]:
    return list(pd.factorize(table["case_id"])[1][cohort.labelled_cases])


def _subgroups(cohort: TestCohort, table: pd.DataFrame) -> pd.DataFrame:
    series = read_table(layout.INGEST / "series.parquet", SERIES_TABLE)
    facts = case_facts(_labelled_cases(cohort, table), series, table, read_masks(layout.MASKS))
    return subgroup_rows(cohort, facts, cohort.params.subgroups)


def _readers(cohort: TestCohort, table: pd.DataFrame) -> dict[str, Any]:
    reads = read_decisions(layout.READERS, cohort.labels.any)
    every = read_table(layout.SPLIT / "cohorts.parquet", COHORTS_TABLE)["case_id"]
    return readers_of_test(reads, cohort, _labelled_cases(cohort, table), frozenset(every))


def _write_csv(path: Path, table: pd.DataFrame) -> None:
    write_text(path, table_text(table))


def _values(metrics: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    return {key: entry["value"] for key, entry in metrics.items()}


def _result(
    cohort: TestCohort, metrics: dict[str, Any], account: dict[str, Any], tables: dict[str, pd.DataFrame], target: Path
) -> StageResult:
    of_slices = metrics["slice"]
    any_name = cohort.labels.any
    summary = (
        f"slice AUC {any_name} {as_text(of_slices[any_name]['auc'])}, mean average precision "
        f"{as_text(of_slices['mean']['ap'])} at prevalence {as_text(of_slices['mean']['prevalence'])}; the first "
        f"reading loses {account['true_cases_lost']} of {account['true_cases']} true cases"
    )
    return StageResult(
        summary,
        tables={
            "slices": key_figures(metrics, "slice"),
            "cases": key_figures(metrics, "case"),
            "ablation": tables["ablation"][["architecture", "step", "mean_ap", "auc_any"]].round(3),
            "subgroups": tables["subgroups"][["variable", "group", "cases", "positives", *FIGURES]].round(3),
        },
        pictures={name: target / "figures" / f"{name}.png" for name in ("roc", "pr")},
    )


if __name__ == "__main__":
    main("evaluate", body, item_name="test")
