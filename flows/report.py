"""Stage report: metrics, figures, case pages, atlas page, model card, the page that links them all, and the papers."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pandas as pd

from flows.engine import layout
from flows.engine.run import main
from flows.engine.stage import Stage, StageResult
from ich_pipeline.config import Params
from ich_pipeline.report.metrics import result_rows

if TYPE_CHECKING:
    from ich_pipeline.report.inputs import Inputs


def inputs_of(params: Params) -> Inputs:
    """What the stages before left."""
    from ich_pipeline.report.inputs import Folders, Inputs

    folders = Folders(
        data=layout.DATA,
        masks=layout.MASKS,
        frozen=layout.FROZEN,
        ingest=layout.INGEST,
        validate=layout.VALIDATE,
        split=layout.SPLIT,
        window=layout.WINDOW,
        train=layout.TRAIN,
        calibrate=layout.CALIBRATE,
        evaluate=layout.EVALUATE,
        atlas=layout.ATLAS,
    )
    return Inputs.load(params, folders)


def body(stage: Stage) -> StageResult:
    """Read every stage's outs, write reports/."""
    from ich_pipeline.papers.fill import write_papers
    from ich_pipeline.report.build import build_report

    inputs = inputs_of(stage.params)
    chosen = build_report(inputs, layout.REPORTS, stage.track)
    write_papers(inputs, layout.REPORTS)
    point = stage.params.ensemble.decision
    tables = {
        f"{test.name}, {level}": pd.DataFrame(result_rows(test.metrics, level, point))
        for test in inputs.tests
        for level in ("slice", "case")
    }
    pictures = {path.stem: path for path in sorted((layout.REPORTS / "figures").glob("*.svg"))}
    links = {"overview": str(layout.REPORTS / "index.html"), "atlas": str(layout.REPORTS / "atlas.html")}
    return StageResult(f"{len(chosen)} case pages; open {layout.REPORTS / 'index.html'}", tables, pictures, links)


if __name__ == "__main__":
    main("report", body)
