"""``ich evaluate``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ich_pipeline.cli.shared import print_rows, sentences


@sentences
def evaluate(
    predictions: Annotated[
        Path, typer.Argument(help="Table of probabilities, ours or another system's: CSV or Parquet.")
    ],
    labels: Annotated[Path, typer.Option("--labels", help="Reference labels (0/1), or a table of several readers.")],
    readers: Annotated[Path | None, typer.Option("--readers", help="Readers to compare with.")] = None,
    against: Annotated[
        Path | None, typer.Option("--against", help="Another system's table, to be compared on the same rows.")
    ] = None,
    out: Annotated[Path, typer.Option("--out", help="Folder for page, figures and metrics.")] = Path("evaluation"),
    level: Annotated[str | None, typer.Option("--level", help="slice or case; found from the tables.")] = None,
    ids: Annotated[
        str | None, typer.Option("--id", help="Column of the rows' names: NAME, or PREDICTIONS=LABELS.")
    ] = None,
    case: Annotated[str | None, typer.Option("--case", help="Column that says whose case a slice is.")] = None,
    patient: Annotated[str | None, typer.Option("--patient", help="Column that says whose row it is.")] = None,
    pairs: Annotated[
        list[str] | None, typer.Option("--map", help="PREDICTIONS_COLUMN=LABELS_COLUMN; again for every finding.")
    ] = None,
    threshold: Annotated[
        list[str] | None, typer.Option("--threshold", help="0.5, or FINDING=0.3; may be given again.")
    ] = None,
    against_threshold: Annotated[
        list[str] | None, typer.Option("--against-threshold", help="The other system's; where unsaid, --threshold.")
    ] = None,
    margin: Annotated[float, typer.Option("--margin", help="Of non-inferiority to a reader.")] = 0.05,
    confidence: Annotated[float, typer.Option("--confidence", help="Of the intervals.")] = 0.95,
    bootstrap: Annotated[int, typer.Option("--bootstrap", help="Replicates.")] = 2000,
    seed: Annotated[int, typer.Option("--seed", help="Of the bootstrap.")] = 2019,
    allow_missing: Annotated[
        bool, typer.Option("--allow-missing", help="Leave out, and count, what one table lacks.")
    ] = False,
    identifiers: Annotated[
        bool, typer.Option("--with-identifiers", help="Name the failed rows, beside their line number.")
    ] = False,
) -> None:
    """Judge any table of predictions against labels; trains nothing, chooses no threshold."""
    from ich_pipeline.core.progress import terminal
    from ich_pipeline.studies import against_page
    from ich_pipeline.studies import evaluate as command
    from ich_pipeline.studies.matched import Choices
    from ich_pipeline.studies.study_page import notes, summary_rows

    choices = Choices(ids, case, patient, command.parse_pairs(pairs or ()), level, allow_missing)
    request = command.Request(
        predictions,
        labels,
        readers,
        out,
        choices,
        threshold or (),
        margin,
        confidence,
        bootstrap,
        seed,
        identifiers,
        against,
        against_threshold or (),
    )
    study, results = command.evaluate(request, terminal)
    print_rows(summary_rows(results, study), ("finding", "positives", "AUC (DeLong)", "AP"))
    for note in notes(results, study):
        typer.echo(note)
    if "against" in results:
        print_rows(against_page.terminal_rows(results["against"]), against_page.TERMINAL)
        for note in against_page.against_notes(results):
            typer.echo(note)
    typer.echo(f"The page: {out / 'index.html'}")
