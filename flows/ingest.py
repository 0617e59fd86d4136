"""Stage ingest: every file under data/dicom accounted for, one series a study decoded to Hounsfield units."""

from __future__ import annotations

from flows.engine import layout
from flows.engine.run import main
from flows.engine.stage import Stage, StageResult
from ich_pipeline.core.errors import InputError
from ich_pipeline.core.files import remove_folder


def body(stage: Stage) -> StageResult:
    """Read data/dicom, write work/ingest; where no series is usable, account and page are in .state/ingest instead."""
    from flows.engine.cluster import with_runner
    from ich_pipeline.ingest.ingest import ingest
    from ich_pipeline.ingest.tables import reason_counts

    if not layout.DICOM.is_dir():
        raise InputError(
            f"{layout.DICOM} is missing: `ich cohort phantom` makes it, `ich cohort folder SOURCE --labels CSV` brings yours."
        )
    params, track = stage.params.ingest, stage.track
    # DVC removes and never keeps the outs of a stage that failed.
    unusable = layout.STATE / stage.name
    report = with_runner(
        stage.title,
        lambda runner: ingest(layout.DICOM, layout.INGEST, params, track, runner=runner, account_of_nothing=unusable),
        stage.log,
    )
    remove_folder(unusable)
    return StageResult(
        summary=report.summary,
        tables={"files by reason": reason_counts(report.account)},
        links={
            "what became of the files": str(layout.INGEST / "index.html"),
            "account of every file": str(layout.INGEST / "account.csv"),
        },
    )


if __name__ == "__main__":
    main("ingest", body)
