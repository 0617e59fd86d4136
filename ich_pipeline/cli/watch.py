"""``ich watch`` and ``ich feedback``: what is served, against what the version knows, and radiologists' verdicts on it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ich_pipeline.cli.shared import print_rows, sentences


@sentences
def watch(
    out: Annotated[Path, typer.Option("--out", help="Folder for watch.html and watch.json.")] = Path("reports"),
) -> None:
    """Compare what was served with the reference of the live version. Exit status 1 where something moved."""
    from ich_pipeline.config import load_params
    from ich_pipeline.core.outputs import check_output, json_with, refuse_foreign
    from ich_pipeline.watch.watched import JSON, PAGE
    from ich_pipeline.watch.watched import watch as look

    check_output(out, "--out", replaced=False)
    ours = {JSON: json_with("model", "windows", "sentence"), PAGE: lambda page: b"<title>Watch</title>" in page[:2000]}
    refuse_foreign(out, "--out", ours)
    found = look(load_params())
    found.publish(out)
    typer.echo(found.sentence, err=found.alarm)
    for caution in found.cautions:
        typer.echo(f"Caution: {caution}", err=True)
    typer.echo(f"The page: {out / PAGE}")
    if found.alarm:
        raise typer.Exit(1)


@sentences
def feedback(
    table: Annotated[
        Path,
        typer.Argument(
            help="CSV: case_id, StudyInstanceUID or AccessionNumber; a 0/1 column a finding; reader; date (2026-05-03)."
        ),
    ],
    out: Annotated[Path, typer.Option("--out", help="Folder for labels.csv and predictions.csv.")] = Path("feedback"),
) -> None:
    """Match radiologists' verdicts to served cases: sensitivity and predictive values by version. Exit status 2 when rows do not count."""
    from ich_pipeline.config import load_params
    from ich_pipeline.watch.feedback import LABELS, PREDICTIONS, RATES
    from ich_pipeline.watch.feedback import feedback as match

    found = match(table, load_params().label_set, out)
    print_rows(found.rows, ("version", "finding", "patients", "positive", *RATES))
    for note in found.notes:
        typer.echo(f"Caution: {note}", err=True)
    typer.echo(
        f"Verdicts are of cases and cannot train, for networks learn from slices. They test: `ich evaluate {out / PREDICTIONS} "
        f"--labels {out / LABELS} --level case`."
    )
    for sentence in found.refused:
        typer.echo(f"ich: {sentence}", err=True)
    if found.refused:
        raise typer.Exit(2)
