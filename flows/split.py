"""Draw patient-level cohorts, write a label file for each, and judge them (leakage, prevalence).

Where the patients of train and validation are few, also the folds in which they are predicted (work/split/folds.parquet).
"""

from __future__ import annotations

import pandas as pd

from flows.engine import layout
from flows.engine.run import main
from flows.engine.stage import Stage, StageResult
from flows.quality import judge
from ich_pipeline.core.files import atomic_dir, read_table, write_json, write_table, write_text
from ich_pipeline.quality.checks import summary_table as quality_table
from ich_pipeline.quality.cohort_suites import cohort_suites, folds_suite
from ich_pipeline.quality.page import write_results
from ich_pipeline.quality.people import doubted_patients, person_cautions
from ich_pipeline.quality.twins import twin_cautions
from ich_pipeline.splits.folds import deal_learners
from ich_pipeline.splits.frozen import assign, find_key, read_manifest, refuse_changed
from ich_pipeline.splits.patient_cohorts import case_table, label_file, split_cases, summary_table
from ich_pipeline.tables.cohort_names import CAUTIONS, COHORTS, TESTS
from ich_pipeline.tables.label_tables import read_labels, write_labels
from ich_pipeline.tables.schemas import COHORTS_TABLE, FOLDS_TABLE, SERIES_TABLE, SLICES_TABLE


def body(stage: Stage) -> StageResult:
    """Read work/ingest and data/labels.csv; write work/split, with ``cautions.json``: what the report must say of the cohorts.

    After this stage nothing but evaluate and report reads a test cohort's labels, and those only from
    ``work/split/sealed/<test>.csv``.
    """
    labels = stage.params.label_set
    series = read_table(layout.INGEST / "series.parquet", SERIES_TABLE)
    slices = read_table(layout.INGEST / "slices.parquet", SLICES_TABLE)
    table = read_labels(layout.LABELS, labels)
    cases = case_table(series, slices, table, labels)
    without = int(series["chosen"].sum()) - len(cases)
    manifest, frozen, said, aside = read_manifest(layout.FROZEN), None, [], []
    if manifest.tests:
        placed = assign(cases, manifest, find_key(layout.DATA, manifest))
        refuse_changed(placed, manifest, placed.digests(slices, table, labels))
        cases, frozen, said, aside = placed.cases, placed.tests, [*placed.notes], [*placed.cautions]
    split = split_cases(cases, labels, stage.params.split, stage.params.seed, frozen)
    folds = deal_learners(split.cohorts, cases, labels, stage.params)
    chosen = series.loc[series["chosen"]]
    doubts = [*twin_cautions(chosen), *person_cautions(doubted_patients(chosen))]
    notes, cautions = [*said, *split.notes, *folds.notes, *doubts], [*aside, *split.cautions, *doubts]
    if without:
        notes.append(f"{without:,} cases without any labelled slice are in no cohort.")
    for note in notes:
        stage.log.info(note)
    title = "Data quality: cohorts"
    files = {cohort: label_file(cohort, split, slices, table) for cohort in COHORTS}
    suites = cohort_suites(split.cohorts, cases, files, stage.params, frozen=frozen is not None)
    if len(folds.table):
        suites += (folds_suite(split.cohorts, folds.table),)
    results, verdict = judge(stage, title, suites, notes)
    summary = summary_table(split, slices, table, labels)
    with atomic_dir(layout.SPLIT) as folder:
        write_table(folder / "cohorts.parquet", split.cohorts, COHORTS_TABLE)
        write_table(folder / "folds.parquet", folds.table, FOLDS_TABLE)
        for cohort, file in files.items():
            place = folder / ("sealed" if cohort in TESTS else "labels") / f"{cohort}.csv"
            write_labels(place, file, labels)
        write_text(folder / "summary.csv", summary.to_csv(index=False, lineterminator="\n"))
        write_json(folder / CAUTIONS, cautions)
        (folder / "validate").mkdir()
        write_results(folder / "validate", title, results, notes)
    return StageResult(
        _sentence(summary, verdict),
        tables={"Cohorts": summary[["cohort", "patients", "cases", "slices"]], "Data quality": quality_table(results)},
        links={"Data quality of the cohorts": str(layout.SPLIT / "validate" / "index.html")},
    )


def _sentence(summary: pd.DataFrame, verdict: str) -> str:
    counts = ", ".join(f"{row.patients} {row.cohort}" for row in summary.itertuples())
    return f"{summary['patients'].sum()} patients: {counts}; {verdict}."


if __name__ == "__main__":
    main("split", body)
