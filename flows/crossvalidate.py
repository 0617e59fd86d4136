"""Cross-validation of the whole method: in each fold the stages train to evaluate run unchanged, in a folder of their own.

For cohorts too small for tests of their own (README, "Few patients"). What does not depend on the folds is made once, by the
graph: ingest, slices, what was learnt on synthetic heads, features. The whole is repeated over seeds, each with folds of its
own, since one run is one draw. What a fold has finished is kept in ``.state/crossvalidate/<hash of code, data and params>``,
so that a stopped run goes on where it was; it is removed when the result stands in ``reports/crossvalidation``.
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

from flows.engine import graph, layout
from flows.engine.boundary import exit_status
from flows.engine.dvc import dvc, lines
from ich_pipeline.config import Params, load_params
from ich_pipeline.core.errors import InputError
from ich_pipeline.core.files import atomic_dir, read_json, read_table, sha256_of, write_json, write_table, write_text
from ich_pipeline.core.lock import project_locked
from ich_pipeline.core.progress import terminal
from ich_pipeline.core.stopping import stop_on_signals
from ich_pipeline.core.yaml_text import yaml_text
from ich_pipeline.tables.cohort_mark import data_words
from ich_pipeline.tables.cohort_names import RETROSPECTIVE, TESTS, TRAIN, VALIDATION
from ich_pipeline.tables.schemas import SERIES_TABLE, SLICES_TABLE

TARGET = layout.REPORTS / "crossvalidation"
KEY = layout.WORK / "crossvalidation"  # which case has which number: reports/ is shown around
OWN = ("flows/crossvalidate.py", "flows/fold_stages.py")
LOOK = "cross-validation"  # in the ledger of looks
SHARED = (layout.INGEST, layout.PRETRAIN, layout.FEATURES)  # the same in every fold


def crossvalidate(params: Params, folds: int, seeds: int) -> dict[str, Any]:
    """Run all folds with every seed and write ``reports/crossvalidation``; returns the pooled metrics of the first seed.

    Raises:
        InputError: too few patients, or what a stage says about its input.
        DvcError: a stage failed.
    """
    from ich_pipeline.evaluation.crossvalidation import numbered

    for line in lines(dvc("repro", "window", "pretrain", "features")):
        print(line, flush=True)
    of_seed = [params.model_copy(update={"seed": params.seed + number}) for number in range(seeds)]
    splits = [_splits(one, folds) for one in of_seed]
    key = _key(params, folds)
    state = layout.STATE / "crossvalidate" / key
    folders = [[state / f"seed-{one.seed}" / f"fold-{k}" for k in range(1, folds + 1)] for one in of_seed]
    for one, places, drawn in zip(of_seed, folders, splits, strict=True):
        for folder, split in zip(places, drawn, strict=True):
            if not folder.exists():
                _lay_out(folder, one, split)
    steps = seeds * folds * len(steps_of(params.model_copy(update={"tests": (RETROSPECTIVE,)})))
    for line in terminal(_steps_done([f for places in folders for f in places], state), LOOK, steps):
        print(line, flush=True)
    results = [_pooled(one, places) for one, places in zip(of_seed, folders, strict=True)]
    metrics = results[0][0]
    spread = _spread([found for found, *_ in results], params)
    _, readings, table = results[0]
    slices, cases, numbers = numbered(readings)
    with atomic_dir(KEY) as folder:
        write_table(folder / "cases.parquet", numbers, "case_numbers/1")
    with atomic_dir(TARGET) as folder:
        write_json(folder / "metrics.json", {"data": data_words(layout.DATA), LOOK: metrics})
        write_text(folder / "seeds.csv", spread.to_csv(index=False, lineterminator="\n"))
        write_text(folder / "folds.csv", table.to_csv(index=False, lineterminator="\n"))
        write_text(folder / "ablation.csv", _ablation(folders[0]).to_csv(index=False, lineterminator="\n"))
        write_text(folder / "metrics.md", _markdown(params, metrics, table, splits[0], spread))
        write_table(folder / "slices.parquet", slices, "numbered_predictions/1")
        write_table(folder / "cases.parquet", cases, "numbered_case_predictions/1")
    _record(params, metrics, key)
    shutil.rmtree(state)
    return metrics


def _pooled(params: Params, folders: list[Path]) -> tuple[dict[str, Any], list[Any], pd.DataFrame]:
    """Of one seed: the pooled metrics, the readings of all folds, and the figures of each."""
    from ich_pipeline.evaluation.crossvalidation import FoldReading, fold_table, pooled_metrics

    readings, blocks = [], []
    for folder in folders:
        reading, block = _result(folder)
        readings.append(FoldReading(*reading))
        blocks.append(block)
    metrics = pooled_metrics(readings, params.evaluation, params.seed, blocks[0]["baselines"])
    return metrics, readings, fold_table(blocks, params.label_set)


def _spread(found: list[dict[str, Any]], params: Params) -> pd.DataFrame:
    """AUC and AP of every label over the seeds: each seed's, and the lowest and highest."""
    rows = []
    for level in ("slice", "case"):
        for label in (*params.label_set.columns, "mean"):
            for key in ("auc", "ap"):
                values = [one[level][label][key]["value"] for one in found]
                known = [value for value in values if value is not None]
                rows.append(
                    {
                        "level": level,
                        "label": label,
                        "metric": key,
                        **{f"seed {params.seed + i}": value for i, value in enumerate(values)},
                        "low": min(known, default=None),
                        "high": max(known, default=None),
                    }
                )
    return pd.DataFrame(rows)


def _splits(params: Params, folds: int) -> list[Any]:
    from ich_pipeline.splits.folds import draw_folds
    from ich_pipeline.splits.patient_cohorts import case_table
    from ich_pipeline.tables.label_tables import read_labels
    from ich_pipeline.tables.schemas import COHORTS_TABLE

    series = read_table(layout.INGEST / "series.parquet", SERIES_TABLE)
    slices = read_table(layout.INGEST / "slices.parquet", SLICES_TABLE)
    labels = params.label_set
    cases = case_table(series, slices, read_labels(layout.LABELS, labels), labels)
    known = read_table(layout.SPLIT / "cohorts.parquet", COHORTS_TABLE)["case_id"]  # frozen tests keep cases out of it
    return draw_folds(cases[cases["case_id"].isin(known)], labels, folds, params.split.validation, params.seed)


def _key(params: Params, folds: int) -> str:
    """What a fold's result is a function of: code, ingest's output, labels, parameters, number of folds."""
    digest = hashlib.sha256(f"{folds}\n{params.model_dump_json(by_alias=True)}".encode())
    digest.update(layout.LABELS.read_bytes())
    digest.update((layout.INGEST / "slices.parquet").read_bytes())
    every = [stage for stage, _ in graph.stages(params)]
    made = graph.code_of(every[: every.index("evaluate") + 1])  # what the folds share (slices, features) too
    for path in (*made, *(graph.TOP / name for name in OWN)):
        digest.update(path.relative_to(graph.TOP).as_posix().encode() + path.read_bytes())
    return digest.hexdigest()[:16]


def steps_of(params: Params) -> list[tuple[str, str | None]]:
    """The stages of a fold with their matrix items, in order: those from train to evaluate."""
    every = graph.stages(params)
    first = next(k for k, (stage, _) in enumerate(every) if stage == "train")
    last = next(k for k, (stage, _) in reversed(list(enumerate(every))) if stage == "evaluate")
    return every[first : last + 1]


def _lay_out(folder: Path, params: Params, split: Any) -> None:
    """A folder in which the stages run as they do at the top: parameters, cohorts of the fold, links to what all folds share."""
    from ich_pipeline.splits.folds import deal_learners
    from ich_pipeline.splits.patient_cohorts import case_table, label_file
    from ich_pipeline.tables.label_tables import read_labels, write_labels
    from ich_pipeline.tables.schemas import COHORTS_TABLE, FOLDS_TABLE

    labels = params.label_set
    series = read_table(layout.INGEST / "series.parquet", SERIES_TABLE)
    slices = read_table(layout.INGEST / "slices.parquet", SLICES_TABLE)
    table = read_labels(layout.LABELS, labels)
    learners = deal_learners(split.cohorts, case_table(series, slices, table, labels), labels, params)
    with atomic_dir(folder) as top:
        settings: dict[str, Any] = params.model_dump(mode="json", by_alias=True)
        settings["tests"] = [RETROSPECTIVE]
        for network in settings["networks"].values():
            if network["weights"] not in ("none", "imagenet", "phantom"):
                network["weights"] = str(Path(network["weights"]).absolute())
        write_text(top / "params.yaml", yaml_text(settings))
        (top / "work").mkdir()
        (top / layout.DATA).symlink_to(layout.DATA.absolute())
        for shared in SHARED:
            (top / shared).symlink_to(shared.absolute())
        for cohort in (TRAIN, VALIDATION, RETROSPECTIVE):
            place = "sealed" if cohort in TESTS else "labels"
            write_labels(top / layout.SPLIT / place / f"{cohort}.csv", label_file(cohort, split, slices, table), labels)
        write_table(top / layout.SPLIT / "cohorts.parquet", split.cohorts, COHORTS_TABLE)
        write_table(top / layout.SPLIT / "folds.parquet", learners.table, FOLDS_TABLE)
        _lay_out_window(top / layout.WINDOW, split.cohorts)


def _lay_out_window(folder: Path, cohorts: pd.DataFrame) -> None:
    """What the window stage would leave of these cohorts: its slices are the same, their cohorts are others."""
    from ich_pipeline.tables.schemas import WINDOW_INDEX
    from ich_pipeline.tables.slice_index import INDEX_FILE, read_index

    index = read_index(layout.WINDOW)
    index["cohort"] = index["case_id"].map(cohorts.set_index("case_id")["cohort"])
    if index["cohort"].isna().any():
        raise RuntimeError("a case of work/window is in no cohort of the fold")
    folder.mkdir(parents=True)
    write_table(folder / INDEX_FILE, index, WINDOW_INDEX)
    for array in layout.WINDOW.glob("hu_*.npy"):
        (folder / array.name).symlink_to(array.absolute())


def _steps_done(folders: list[Path], state: Path) -> Iterator[str]:
    """Run the stages of all folds in one process of its own, and yield a line a finished one."""
    command = [sys.executable, "-m", "flows.fold_stages", *(str(folder.absolute()) for folder in folders)]
    extra = {
        "PYTHONPATH": os.pathsep.join(filter(None, (str(Path.cwd()), os.environ.get("PYTHONPATH")))),
        # The folds' runs are their own business: they go into the state, and with it when all is done.
        "MLFLOW_TRACKING_URI": f"sqlite:///{(state / 'mlflow.db').absolute()}",
        **dict.fromkeys(("PREFECT_API_URL", "MLFLOW_REGISTRY_URI", "ICH_RUN_ID", "ICH_EVENTS"), ""),
    }
    for line in lines(command, extra):
        if line.startswith("seed-"):
            yield line


def _scales(found: dict[str, Any]) -> dict[str, Any]:
    from ich_pipeline.ensemble.one_scale import Scale

    return {
        prefix: {level: {name: Scale.from_json(one) for name, one in of.items()} for level, of in levels.items()}
        for prefix, levels in found.items()
    }


def _result(folder: Path) -> tuple[tuple[Any, pd.DataFrame, pd.DataFrame, Any], dict[str, Any]]:
    from ich_pipeline.ensemble.model import Ensemble
    from ich_pipeline.tables.schemas import CASE_PREDICTIONS_TABLE, PREDICTIONS_TABLE

    place = folder / layout.EVALUATE / RETROSPECTIVE
    reading = (
        Ensemble.load(folder / layout.CALIBRATE / "ensemble.json"),
        read_table(place / "slices.parquet", PREDICTIONS_TABLE),
        read_table(place / "cases.parquet", CASE_PREDICTIONS_TABLE),
        _scales(read_json(folder / layout.CALIBRATE / "metrics.json")["scale"]),
    )
    return reading, read_json(place / "metrics.json")


def _ablation(folders: list[Path]) -> pd.DataFrame:
    """Mean over the folds of each step's figures, and over how many folds it is."""
    tables = [pd.read_csv(folder / layout.EVALUATE / RETROSPECTIVE / "ablation.csv") for folder in folders]
    grouped = pd.concat(tables).groupby(["architecture", "step"], sort=False)
    return grouped.agg(
        mean_ap=("mean_ap", "mean"),
        mean_ap_folds=("mean_ap", "count"),
        auc_any=("auc_any", "mean"),
        auc_any_folds=("auc_any", "count"),
    ).reset_index()


def _markdown(
    params: Params, metrics: dict[str, Any], table: pd.DataFrame, splits: list[Any], spread: pd.DataFrame
) -> str:
    from ich_pipeline.quality.people import doubted_patients, person_cautions
    from ich_pipeline.quality.twins import twin_cautions
    from ich_pipeline.report.baselines import baselines_markdown
    from ich_pipeline.report.cautions import cautions
    from ich_pipeline.report.metrics import markdown

    name = LOOK
    blocks = {name: metrics}
    series = read_table(layout.INGEST / "series.parquet", SERIES_TABLE)
    chosen = series.loc[series["chosen"]]
    said = [
        *twin_cautions(chosen),
        *person_cautions(doubted_patients(chosen)),
        *cautions(blocks, [name], params.labels.any),
    ]
    text = markdown(
        blocks, [name], params.ensemble.decision, params.evaluation.confidence, said, data_words(layout.DATA)
    )
    text += baselines_markdown(blocks, [name], params.labels.any)
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
    lines += ["", f"## Over seeds ({spread.columns.str.startswith('seed').sum()} draws of folds and networks)", ""]
    lines += ["The tables above are of the first seed. One run is one draw:", "", *_spread_lines(spread)]
    notes = [f"* fold {i}: {note}" for i, split in enumerate(splits, start=1) for note in split.notes]
    if notes:
        lines += ["", "## Notes on the draw", "", *notes]
    return text + "\n".join(lines) + "\n"


def _spread_lines(spread: pd.DataFrame) -> list[str]:
    def text(value: Any) -> str:
        return "not estimable" if value is None or value != value else f"{value:.3f}"

    seeds = [column for column in spread.columns if column.startswith("seed")]
    lines = [
        f"| level | label | metric | {' | '.join(seeds)} | lowest to highest |",
        "|---|---|---|" + "---:|" * len(seeds) + "---|",
    ]
    for row in spread.to_dict("records"):
        values = " | ".join(text(row[seed]) for seed in seeds)
        lines.append(
            f"| {row['level']} | {row['label']} | {row['metric'].upper()} | {values} | {text(row['low'])} to {text(row['high'])} |"
        )
    return lines


def _record(params: Params, metrics: dict[str, Any], key: str) -> None:
    """The figures in MLflow, and one look in the ledger: who tries many settings on these patients fits them."""
    from ich_pipeline.registry.ledger import record_look
    from ich_pipeline.registry.tracking import open_run

    record_look(LOOK, test_set=sha256_of(layout.LABELS), model=key, results=sha256_of(TARGET / "metrics.json"))
    with open_run("crossvalidate", None, params) as run:
        run.metrics(
            {
                level: {label: {k: e["value"] for k, e in m.items()} for label, m in metrics[level].items()}
                for level in ("slice", "case")
            }
        )
        run.artifact(TARGET / "metrics.md")
        run.artifact(TARGET / "folds.csv")
        run.artifact(TARGET / "seeds.csv")


def main(arguments: list[str] | None = None) -> int:
    """Entry of ``python -m flows.crossvalidate``; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m flows.crossvalidate", description="Cross-validation by patient.")
    parser.add_argument("--folds", type=int, default=5, help="number of folds (default 5)")
    parser.add_argument("--seeds", type=int, default=3, help="how often all of it is repeated (default 3)")
    parsed = parser.parse_args(arguments)
    stop_on_signals()

    def work() -> None:
        params = load_params()
        with project_locked():
            if parsed.seeds < 1:
                raise InputError(f"--seeds {parsed.seeds}: give 1 or more.")
            crossvalidate(params, parsed.folds, parsed.seeds)
        print((TARGET / "metrics.md").read_text(encoding="utf-8").rstrip())
        print(f"Tables and predictions: {TARGET.absolute()} (which case has which number: {KEY}/cases.parquet)")

    return exit_status("crossvalidate", work, stopped="run it again and finished parts are not run twice")


if __name__ == "__main__":
    sys.exit(main())
