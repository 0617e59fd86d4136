"""``ich tests``: cohorts that every version is judged by, and that no retraining draws anew."""

from __future__ import annotations

import typer

from ich_pipeline.cli.shared import sentences

tests_app = typer.Typer(help="Show the frozen tests and the looks at them; freeze them; open the next one.")


@tests_app.callback(invoke_without_command=True)
@sentences
def tests(context: typer.Context) -> None:
    """Show the frozen tests, the looks at them, and how full the next prospective one is."""
    from ich_pipeline.commands.frozen import show
    from ich_pipeline.config import load_params

    if context.invoked_subcommand is None:
        for sentence in show(load_params()):
            typer.echo(sentence)


@tests_app.command()
@sentences
def freeze() -> None:
    """Freeze the tests of the last split; where a frozen one lost studies or changed, make a version of what is left."""
    from ich_pipeline.commands.frozen import freeze as freeze_tests
    from ich_pipeline.config import load_params

    typer.echo(freeze_tests(load_params()))


@tests_app.command("next")
@sentences
def next_test() -> None:
    """Open the next prospective test with the new patients who wait for it, once they are enough."""
    from ich_pipeline.commands.frozen import open_next
    from ich_pipeline.config import load_params

    typer.echo(open_next(load_params()))
