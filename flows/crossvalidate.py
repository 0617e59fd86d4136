"""Cross-validation of the whole method: in each fold the stages window to evaluate run unchanged, in a folder of their own.

For cohorts too small for tests of their own (README, "Few patients"). The graph's ingest and validate are brought up to
date first. What a fold has finished is kept in ``.state/crossvalidate/<hash of code, data and params>``, so that a
stopped run goes on where it was; it is removed when the result stands in ``reports/crossvalidation``.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import yaml

from flows import layout
from flows.boundary import exit_status, stop_on_signals
from flows.dvc_command import dvc, lines
from ich_pipeline.alone import alone
from ich_pipeline.cohort_names import RETROSPECTIVE, TESTS, TRAIN, VALIDATION
from ich_pipeline.cohorts.mark import data_words
from ich_pipeline.config import Params, load_params
from ich_pipeline.files import atomic_dir, read_json, read_table, write_json, write_table, write_text
from ich_pipeline.progress import terminal

TARGET = layout.REPORTS / "crossvalidation"
CODE = ("ich_pipeline", "flows")


def crossvalidate(params: Params, folds: int) -> dict[str, Any]:
    """Run all folds and write ``reports/crossvalidation``; returns the pooled metrics.

    Raises:
        InputError: too few patients, or what a stage says about its input.
        DvcError: a stage failed.
    """
    from ich_pipeline.evaluation.crossvalidation import FoldReading, fold_table, pooled_metrics

    for line in lines(dvc("repro", "validate")):
        print(line, flush=True)
    splits = _splits(params, folds)
    state = layout.STATE / "crossvalidate" / _key(params, folds)
    steps = [(number, step) for number in range(1, folds + 1) for step in _steps(params)]
    for number, step in terminal(steps, "cross-validation", len(steps)):
        folder = state / f"fold-{number}"
        if not folder.exists():
            _lay_out(folder, params, splits[number - 1])
        _run(folder, number, step)
    readings, blocks = [], []
    for number in range(1, folds + 1):
        reading, block = _result(state / f"fold-{number}")
        readings.append(FoldReading(*reading))
        blocks.append(block)
    metrics = pooled_metrics(readings, params.evaluation, params.seed)
    with atomic_dir(TARGET) as folder:
        write_json(folder / "metrics.json", {"data": data_words(layout.DATA), "cross-validation": metrics})
        table = fold_table(blocks, params.label_set)
        write_text(folder / "folds.csv", table.to_csv(index=False, lineterminator="\n"))
        write_text(folder / "ablation.csv", _ablation(state, folds).to_csv(index=False, lineterminator="\n"))
        write_text(folder / "metrics.md", _markdown(params, metrics, table, splits))
        for level, schema in (("slices", "predictions/1"), ("cases", "case_predictions/1")):
            parts = [getattr(reading, level).assign(fold=i) for i, reading in enumerate(readings, start=1)]
            write_table(folder / f"{level}.parquet", pd.concat(parts, ignore_index=True), schema)
    _record(params, metrics)
    shutil.rmtree(state)
    return metrics


def _splits(params: Params, folds: int) -> list[Any]:
    from ich_pipeline.folds import draw_folds
    from ich_pipeline.label_tables import read_labels
    from ich_pipeline.splits import case_table

    series = read_table(layout.INGEST / "series.parquet", "series/2")
    slices = read_table(layout.INGEST / "slices.parquet", "slices/2")
    labels = params.label_set
    cases = case_table(series, slices, read_labels(layout.LABELS, labels), labels)
    return draw_folds(cases, labels, folds, params.split.validation, params.seed)


def _key(params: Params, folds: int) -> str:
    """What a fold's result is a function of: code, ingest's output, labels, parameters, number of folds."""
    digest = hashlib.sha256(f"{folds}\n{params.model_dump_json(by_alias=True)}".encode())
    digest.update(layout.LABELS.read_bytes())
    digest.update((layout.INGEST / "slices.parquet").read_bytes())
    for top in CODE:
        for path in sorted(Path(top).rglob("*.py")):
            digest.update(path.as_posix().encode() + path.read_bytes())
    return digest.hexdigest()[:16]


def _steps(params: Params) -> Iterator[tuple[str, str | None]]:
    yield "window", None
    for name in params.architectures:
        yield "train", name
    for name in params.ablation:
        yield "ablate", name
    yield "sequence", None
    yield "calibrate", None
    yield "evaluate", RETROSPECTIVE


def _lay_out(folder: Path, params: Params, split: Any) -> None:
    """A folder in which the stages run as they do at the top: parameters, links to data and ingest, cohorts of the fold."""
    from ich_pipeline.label_tables import read_labels, write_labels
    from ich_pipeline.splits import SCHEMA, label_file

    labels = params.label_set
    slices = read_table(layout.INGEST / "slices.parquet", "slices/2")
    table = read_labels(layout.LABELS, labels)
    with atomic_dir(folder) as top:
        settings: dict[str, Any] = params.model_dump(mode="json", by_alias=True)
        settings["tests"] = [RETROSPECTIVE]
        for network in settings["networks"].values():
            if network["weights"] not in ("none", "imagenet"):
                network["weights"] = str(Path(network["weights"]).absolute())
        write_text(top / "params.yaml", yaml.safe_dump(settings, sort_keys=False))
        (top / "work").mkdir()
        (top / layout.DATA).symlink_to(layout.DATA.absolute())
        (top / layout.INGEST).symlink_to(layout.INGEST.absolute())
        for cohort in (TRAIN, VALIDATION, RETROSPECTIVE):
            place = "sealed" if cohort in TESTS else "labels"
            write_labels(top / layout.SPLIT / place / f"{cohort}.csv", label_file(cohort, split, slices, table), labels)
        write_table(top / layout.SPLIT / "cohorts.parquet", split.cohorts, SCHEMA)


def _run(folder: Path, number: int, step: tuple[str, str | None]) -> None:
    """One stage in a process of its own, so that no memory and no state goes from one to the next."""
    stage, item = step
    done = folder / "done" / (f"{stage}@{item}" if item else stage)
    if done.exists():
        return
    command = [sys.executable, "-m", f"flows.{stage}", *([item] if item else [])]
    top = str(Path.cwd())
    extra = {
        "PYTHONPATH": os.pathsep.join(filter(None, (top, os.environ.get("PYTHONPATH")))),
        # A fold's runs are its own business: they go into its folder, and with it when all is done.
        **dict.fromkeys(("PREFECT_API_URL", "MLFLOW_TRACKING_URI", "MLFLOW_REGISTRY_URI", "ICH_RUN_ID"), ""),
    }
    for line in lines(command, extra, folder=folder):
        if line.startswith(f"{done.name}:"):
            print(f"fold {number}, {line}", flush=True)
    write_text(done, "")


def _result(folder: Path) -> tuple[tuple[Any, pd.DataFrame, pd.DataFrame], dict[str, Any]]:
    from ich_pipeline.ensemble.model import Ensemble
    from ich_pipeline.evaluation.tables import CASES_SCHEMA, SLICES_SCHEMA

    place = folder / layout.EVALUATE / RETROSPECTIVE
    reading = (
        Ensemble.load(folder / layout.CALIBRATE / "ensemble.json"),
        read_table(place / "slices.parquet", SLICES_SCHEMA),
        read_table(place / "cases.parquet", CASES_SCHEMA),
    )
    return reading, read_json(place / "metrics.json")


def _ablation(state: Path, folds: int) -> pd.DataFrame:
    """Mean over the folds of each step's figures, and over how many folds it is."""
    tables = [
        pd.read_csv(state / f"fold-{i}" / layout.EVALUATE / RETROSPECTIVE / "ablation.csv") for i in range(1, folds + 1)
    ]
    grouped = pd.concat(tables).groupby(["architecture", "step"], sort=False)
    return grouped.agg(
        mean_ap=("mean_ap", "mean"),
        mean_ap_folds=("mean_ap", "count"),
        auc_any=("auc_any", "mean"),
        auc_any_folds=("auc_any", "count"),
    ).reset_index()


def _markdown(params: Params, metrics: dict[str, Any], table: pd.DataFrame, splits: list[Any]) -> str:
    from ich_pipeline.quality.people import doubted_patients, person_cautions
    from ich_pipeline.quality.twins import twin_cautions
    from ich_pipeline.report.cautions import cautions
    from ich_pipeline.report.metrics import markdown

    name = "cross-validation"
    blocks = {name: metrics}
    series = read_table(layout.INGEST / "series.parquet", "series/2")
    chosen = series.loc[series["chosen"]]
    said = [
        *twin_cautions(chosen),
        *person_cautions(doubted_patients(chosen)),
        *cautions(blocks, [name], params.labels.any),
    ]
    text = markdown(
        blocks, [name], params.ensemble.decision, params.evaluation.confidence, said, data_words(layout.DATA)
    )
    of_any = table.loc[table["label"] == params.labels.any]
    lines = [
        "",
        f"## Folds ({params.labels.any})",
        "",
        "| fold | level | positives | AUC | AP |",
        "|---|---|---:|---:|---:|",
    ]
    for row in of_any.to_dict("records"):
        auc, ap = ("not estimable" if row[k] is None or row[k] != row[k] else f"{row[k]:.3f}" for k in ("auc", "ap"))
        lines.append(f"| {row['fold']} | {row['level']} | {row['positives']:.0f} of {row['n']:.0f} | {auc} | {ap} |")
    notes = [f"* fold {i}: {note}" for i, split in enumerate(splits, start=1) for note in split.notes]
    if notes:
        lines += ["", "## Notes on the draw", "", *notes]
    return text + "\n".join(lines) + "\n"


def _record(params: Params, metrics: dict[str, Any]) -> None:
    from ich_pipeline.registry.tracking import open_run

    with open_run("crossvalidate", None, params) as run:
        run.metrics(
            {
                level: {label: {k: e["value"] for k, e in m.items()} for label, m in of.items()}
                for level, of in metrics.items()
            }
        )
        run.artifact(TARGET / "metrics.md")
        run.artifact(TARGET / "folds.csv")


def main(arguments: list[str] | None = None) -> int:
    """Entry of ``python -m flows.crossvalidate``; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m flows.crossvalidate", description="Cross-validation by patient.")
    parser.add_argument("--folds", type=int, default=5, help="number of folds (default 5)")
    folds = parser.parse_args(arguments).folds
    stop_on_signals()

    def work() -> None:
        params = load_params()
        with alone():
            crossvalidate(params, folds)
        print((TARGET / "metrics.md").read_text(encoding="utf-8").rstrip())
        print(f"Tables and predictions: {TARGET.absolute()}")

    return exit_status("crossvalidate", work, stopped="run it again and finished parts are not run twice")


if __name__ == "__main__":
    sys.exit(main())
