"""Judge the tables of ingest and the label table; a breach stops the pipeline with a table that says what to do."""

from __future__ import annotations

import pandas as pd

from flows.engine import layout
from flows.engine.run import main
from flows.engine.stage import Stage, StageResult
from flows.quality import judge
from ich_pipeline.core.errors import InputError
from ich_pipeline.core.files import atomic_dir, read_table
from ich_pipeline.dicom.frames import known_slices
from ich_pipeline.quality.checks import summary_table
from ich_pipeline.quality.page import write_results
from ich_pipeline.quality.suites import validate_suites
from ich_pipeline.tables.formulas import plain
from ich_pipeline.tables.label_tables import UID, check_against, read_labels
from ich_pipeline.tables.schemas import SERIES_TABLE, SLICES_TABLE


def body(stage: Stage) -> StageResult:
    """Read work/ingest and data/labels.csv; write work/validate (results.json, index.html)."""
    series = read_table(layout.INGEST / "series.parquet", SERIES_TABLE)
    slices = read_table(layout.INGEST / "slices.parquet", SLICES_TABLE)
    account = pd.read_csv(layout.INGEST / "account.csv", dtype=str, keep_default_na=False)
    table = read_labels(layout.LABELS, stage.params.label_set)
    if table.empty:
        raise InputError(
            f"{layout.LABELS} labels no slice, and training needs a label for every slice: bring a cohort with slice labels "
            "(`ich cohort --help` lists the forms)."
        )
    known = known_slices(account[UID].map(plain), account["frames"].astype(int))
    coverage = check_against(table, slices, known, layout.LABELS)
    stage.log.info(coverage.sentence)
    suites = validate_suites(series, slices, table, coverage, stage.params)
    notes = (coverage.sentence + ".",)
    results, verdict = judge(stage, "Data quality: series, slices, labels", suites, notes)
    with atomic_dir(layout.VALIDATE) as folder:
        write_results(folder, "Data quality: series, slices, labels", results, notes)
    return StageResult(
        f"{verdict}; {coverage.sentence}.",
        tables={"Data quality": summary_table(results)},
        links={"Data quality": str(layout.VALIDATE / "index.html")},
    )


if __name__ == "__main__":
    main("validate", body)
