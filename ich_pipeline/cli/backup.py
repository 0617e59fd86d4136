"""``ich backup`` and ``ich restore``: the record of a project in one file."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ich_pipeline.cli.shared import sentences


@sentences
def backup(
    target: Annotated[Path, typer.Argument(help="A new file, for instance on another disk: record.tar")],
) -> None:
    """Write the record (runs, versions, log of promotions, watch) into one file; data and work/ go with `dvc push`."""
    from ich_pipeline.core.progress import terminal
    from ich_pipeline.registry.backup import back_up

    done = back_up(target, terminal)
    typer.echo(
        f"{target}: {done.files:,} files, {done.size / 1e6:,.1f} MB. `ich restore {target}` reads it in a fresh clone."
    )


@sentences
def restore(source: Annotated[Path, typer.Argument(help="What `ich backup` wrote.")]) -> None:
    """Put a backup's record into this project, which has none yet."""
    from ich_pipeline.core.progress import terminal
    from ich_pipeline.registry.backup import restore as put

    done = put(source, terminal)
    typer.echo(
        f"{done.files:,} files of {done.root}, backed up {done.made}. `ich models` lists the versions; `dvc pull` brings the data."
    )
