"""``ich models``, ``promote``, ``rollback``, ``history``: the registered versions and who made which of them the champion."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.table import Table

from ich_pipeline.cli.shared import sentences
from ich_pipeline.core.errors import InputError

if TYPE_CHECKING:
    from ich_pipeline.registry.history import Entry, Period

Reason = Annotated[str, typer.Option("--reason", help="Why; it is kept in the log.")]
Person = Annotated[
    str,
    typer.Option("--person", envvar="ICH_PERSON", help="Who does it; without one the user of the operating system."),
]
models_app = typer.Typer(help="List the registered versions with their aliases and headline metrics; remove old ones.")


@sentences
def promote(
    version: Annotated[int | None, typer.Option("--version", help="This version instead of the challenger's.")] = None,
    override: Annotated[bool, typer.Option("--override", help="Against the gate; needs --reason.")] = False,
    reason: Reason = "",
    person: Person = "",
    check: Annotated[bool, typer.Option("--check", help="Only say what the gate says, check by check.")] = False,
) -> None:
    """Make the challenger the champion, which `ich predict` uses, if the gate lets it pass."""
    from ich_pipeline.config import load_params
    from ich_pipeline.registry import promotion

    params = load_params()
    if not check:
        typer.echo(promotion.promote(params, version, override=override, reason=reason, person=person))
        return
    found = promotion.judged(params, version)
    for one in found.checks:
        typer.echo(f"{one.name}: {one.verdict}. {one.sentence[0].upper()}{one.sentence[1:]}.")
    typer.echo(f"Verdict: {found.verdict}.")


@sentences
def rollback(reason: Reason = "", person: Person = "") -> None:
    """Make the champion before the present one the champion again."""
    from ich_pipeline.config import load_params
    from ich_pipeline.registry import promotion

    typer.echo(promotion.rollback(load_params(), reason=reason, person=person))


@sentences
def history(
    at: Annotated[
        str | None, typer.Option("--at", help="Which version answered on this day or at this time (UTC): 2026-05-03.")
    ] = None,
) -> None:
    """Show the log of promotions, checked from its first entry to its last; exit status 1 when it is not what was written."""
    from ich_pipeline.config import load_params
    from ich_pipeline.registry import history as log
    from ich_pipeline.registry import versions

    name = load_params().registry.model_name
    found = log.read()
    if at is not None:
        typer.echo(_answered(at, name, log.periods(found.entries, name)))
    else:
        for entry in found.entries:
            typer.echo(_line(entry))
        if not found.entries:
            typer.echo(f"{log.place()} has no entry yet: `ich promote` writes one.")
    champion = next((v.number for v in versions.versions(name) if versions.CHAMPION in v.aliases), None)
    known = log.periods(found.entries, name)
    if known and known[-1].version != champion:
        typer.echo(
            f"Caution: MLflow's champion is version {champion}, the log's {known[-1].version}: it was moved past `ich`.",
            err=True,
        )
    if fault := log.fault(found, name):
        typer.echo(f"ich: {fault}.", err=True)
        raise typer.Exit(1)


@models_app.callback(invoke_without_command=True)
@sentences
def models(context: typer.Context) -> None:
    """List the registered versions with their aliases and headline metrics."""
    from ich_pipeline.config import load_params
    from ich_pipeline.registry import versions

    if context.invoked_subcommand is not None:
        return
    name = load_params().registry.model_name
    found = versions.versions(name)
    if not found:
        typer.echo(f"{name} has no version yet: `make repro` registers one.")
        return
    beside = next((v for v in found if versions.CHAMPION in v.aliases), found[0])
    titles = sorted({title for version in found for title in version.metrics})
    others = False
    table = Table(title=name, title_justify="left", box=None, pad_edge=False)
    for column in ("version", "alias", "profile", "registered (UTC)", "content", *titles):
        table.add_column(column, overflow="fold")
    for version in found:
        when = datetime.fromtimestamp(version.created_ms / 1000, UTC).strftime("%Y-%m-%d %H:%M")
        figures = []
        for title in titles:
            test = title.partition(" ")[0]
            known = version.tests.get(test)
            other = (
                title in version.metrics and version is not beside and (not known or known != beside.tests.get(test))
            )
            figures.append(f"{version.metrics.get(title, '–')}{'*' if other else ''}")
            others |= other
        row = (str(version.number), ", ".join(version.aliases) or "–", version.profile, when, version.content[:12])
        table.add_row(*row, *figures)
    Console().print(table)
    if others:
        typer.echo(
            f"* Of other test cases than version {beside.number}'s, or nobody knows of which: do not compare them."
        )
    for version in found:
        if version.caution:
            typer.echo(f"Caution, version {version.number}: {version.caution}")


@models_app.command()
@sentences
def verify(
    model: Annotated[
        str | None, typer.Argument(help="NAME/ALIAS or NAME/NUMBER; without it the one that predicts.")
    ] = None,
) -> None:
    """Check a version's files against the record, and its signature where ICH_VERIFY_KEY names a public key."""
    from ich_pipeline.config import load_params
    from ich_pipeline.registry import signature, versions

    name = load_params().registry.model_name
    version = versions.resolve(model, name) if model else versions.live(name)
    versions.verified_folder(version)
    by = signature.check(version)
    said = f"signed by key {by}" if by else f"no signature was asked for ({signature.VERIFY_KEY} names no key)"
    typer.echo(f"{version.name} version {version.number}: every file is as it was registered; {said}.")


@models_app.command()
@sentences
def prune(
    days: Annotated[
        int, typer.Option("--days", min=0, max=36500, help="Keep what was champion within so many days.")
    ] = 365,
    newest: Annotated[int, typer.Option("--newest", min=1, help="Keep so many of the newest versions.")] = 5,
    yes: Annotated[bool, typer.Option("--yes", help="Remove them; without it nothing is removed.")] = False,
    person: Person = "",
) -> None:
    """Remove old versions with their files; the champion and what a rollback needs stay."""
    from ich_pipeline.config import load_params
    from ich_pipeline.registry import promotion

    name = load_params().registry.model_name
    plan = promotion.prune(name, days, newest, person) if yes else promotion.prunable(name, days, newest)
    for version, reason in plan.kept:
        typer.echo(f"version {version.number} stays: {reason}")
    for version in plan.removed:
        typer.echo(f"version {version.number} {'was removed' if yes else 'would be removed'}")
    if plan.removed and not yes:
        typer.echo("Nothing was removed: `ich models prune --yes` removes them, with their files and for good.")
    if not plan.removed:
        typer.echo("Nothing to remove.")


def _line(entry: Entry) -> str:
    """An entry of the log for people."""
    if entry.version is None:
        what = f"removed version{'s' if len(entry.removed) > 1 else ''} {', '.join(map(str, entry.removed))}"
    else:
        before = f"before version {entry.previous}" if entry.previous is not None else "before none"
        what = f"version {entry.version} ({before})"
    gate = f"  gate: {entry.gate['verdict']}" if entry.gate else ""
    reason = f"  reason: {entry.reason}" if entry.reason else ""
    return f"{entry.when}  {entry.what}  {entry.model} {what}  by {entry.person}{gate}{reason}"


def _answered(at: str, name: str, periods: Sequence[Period]) -> str:
    """Which versions were the champion on a day, or at a time, as a sentence."""
    from ich_pipeline.registry.history import moment

    try:
        begin = moment(at)
    except ValueError:
        raise InputError(f"--at {at!r} is no date: write 2026-05-03, or 2026-05-03T14:00 (UTC).") from None
    whole_day = len(at.strip()) <= len("2026-05-03")
    if begin > datetime.now(UTC):
        raise InputError(f"--at {at} is yet to come: name a day up to today.")
    end = begin + (timedelta(days=1) if whole_day else timedelta(microseconds=1))
    found = [period for period in periods if period.overlaps(begin, end)]
    if not found:
        return f"{at}: {name} had no champion that the log knows of; `ich predict` then uses the challenger."
    told = []
    for period in found:
        since = f"since {period.since:%Y-%m-%d %H:%M}" if period.since else "since before the log"
        told.append(
            f"version {period.version} ({since}{f' until {period.until:%Y-%m-%d %H:%M}' if period.until else ''})"
        )
    return f"{at} (UTC): champion of {name} was {', then '.join(told)}."
