"""The command line: ``ich …``. Parses, calls :mod:`ich_pipeline.commands`, prints.

Exit status 0, or 2 with one sentence on stderr for what the user can mend, or 1 with one sentence for a fault of the
program (its traceback is in ``.state/faults/ich.txt``) and for studies that could not be read beside others that were.
"""

from __future__ import annotations

import importlib.metadata
import io
import sys
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from ich_pipeline.cli.backup import backup, restore
from ich_pipeline.cli.cohort import cohort_app
from ich_pipeline.cli.deidentify import deidentify
from ich_pipeline.cli.evaluate import evaluate
from ich_pipeline.cli.models import history, models_app, promote, rollback
from ich_pipeline.cli.serve import serve
from ich_pipeline.cli.shared import AcceptMissing, Cache, Endpoint, Record, Source, sentences
from ich_pipeline.cli.tests import tests_app
from ich_pipeline.cli.watch import feedback, watch
from ich_pipeline.core.files import keep_private
from ich_pipeline.core.stopping import stop_on_signals
from ich_pipeline.sources.remote import Remote

WIDE = 120  # columns from which every score fits beside its case


app = typer.Typer(
    name="ich",
    help="Small-data head-CT haemorrhage detection. Research software, not a medical device.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
app.add_typer(cohort_app, name="cohort")
weights_app = typer.Typer(help="Pretrained weights as files, for hospitals without internet.", no_args_is_help=True)
app.add_typer(weights_app, name="weights")


def _show_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"ich {importlib.metadata.version('ich-pipeline')}")
        raise typer.Exit()


@app.callback()
def _options(
    shown: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version and stop.")
    ] = False,
) -> None:
    """Small-data head-CT haemorrhage detection. Research software, not a medical device."""


@app.command()
@sentences
def doctor() -> None:
    """Say what works here, and what to do about what does not; exit status 1 when something essential is broken."""
    from ich_pipeline.commands.doctor import broken, examine

    console = Console()
    table = Table(box=None, show_header=False, pad_edge=False)
    for _ in range(3):
        table.add_column(overflow="fold")
    checks = []
    for check in examine():
        checks.append(check)
        table.add_row(check.sign, check.name, escape(check.detail))
        if check.advice:
            table.add_row("", "", f"[italic]{escape(check.advice)}[/italic]")
    console.print(table)
    if broken(checks):
        raise typer.Exit(1)


@app.command()
@sentences
def ingest(
    source: Source,
    out: Annotated[Path, typer.Option("--out", help="Folder for the account, the tables and the volumes.")],
    force: Annotated[bool, typer.Option("--force", help="Replace the ingest that --out holds.")] = False,
    workers: Annotated[int | None, typer.Option("--workers", min=0, help="Processes; 0 is one a core.")] = None,
    dask: Annotated[
        str | None,
        typer.Option(
            "--dask", envvar="ICH_DASK", help="Scheduler of a Dask cluster that reads instead: tcp://HOST:8786."
        ),
    ] = None,
    endpoint_url: Endpoint = None,
    cache: Cache = None,
    accept_missing: AcceptMissing = False,
) -> None:
    """Account for every file of an export and write its usable series as Hounsfield volumes."""
    from ich_pipeline.commands.ingest import ingest_source
    from ich_pipeline.core.progress import terminal

    remote = Remote(endpoint_url=endpoint_url, cache=cache, accept_missing=accept_missing)
    done = ingest_source(source, out, remote, force=force, workers=workers, dask=dask, track=terminal)
    table = Table(box=None, pad_edge=False)
    for column in ("status", "reason", "files", "meaning"):
        table.add_column(column, overflow="fold", justify="right" if column == "files" else "left")
    for row in done.counts.to_dict("records"):
        table.add_row(row["status"], row["reason"], f"{row['files']:,}", escape(row["meaning"]))
    Console().print(table)
    for line in done.remarks:
        typer.echo(line)
    typer.echo(f"{done.summary}. Settings: {done.settings}.")
    for path, what in done.written.items():
        typer.echo(f"{path}: {what}")


@app.command()
@sentences
def sbom(
    out: Annotated[Path, typer.Option("--out", help="JSON file.")],
    lock: Annotated[Path, typer.Argument(help="Lock file with hashes.")] = Path("requirements.lock"),
) -> None:
    """Write the packages of the lock file, with hashes and licences, as a CycloneDX bill of materials."""
    from ich_pipeline.core.files import write_json
    from ich_pipeline.core.outputs import json_with, refuse_foreign
    from ich_pipeline.papers.sbom import sbom

    refuse_foreign(out.parent, "--out", {out.name: json_with("bomFormat", "metadata", "components")})
    found = sbom(lock)
    write_json(out, found)
    typer.echo(f"{out}: {len(found['components'])} packages of {lock}, CycloneDX {found['specVersion']}.")


@app.command()
@sentences
def profile(
    name: Annotated[str | None, typer.Argument(help="Profile to copy over params.yaml.")] = None,
    show: Annotated[str | None, typer.Option("--show", help="Print this profile instead.")] = None,
) -> None:
    """Put a packaged profile in the place of params.yaml; an edited file is kept as params.yaml.bak."""
    from ich_pipeline.config.profile import current, profile_text, profiles, switch

    if show is not None:
        typer.echo(profile_text(show), nl=False)
    elif name is not None:
        typer.echo(switch(name))
    else:
        typer.echo(f"params.yaml: {current()}. Profiles: {', '.join(profiles())}.")


@weights_app.command("fetch")
@sentences
def weights_fetch(
    architectures: Annotated[list[str] | None, typer.Argument(help="Names; without any, those of params.yaml.")] = None,
    to: Annotated[Path, typer.Option("--to", help="Folder for the files and their manifest.")] = Path("weights"),
    only_list: Annotated[bool, typer.Option("--list", help="Say addresses, download nothing.")] = False,
) -> None:
    """Download ImageNet weights without top, each checked, with a manifest of SHA-256."""
    from ich_pipeline.commands.weights import fetch, listing
    from ich_pipeline.config import load_params
    from ich_pipeline.core.progress import terminal

    names = architectures or list(load_params().architectures)
    for line in listing(names) if only_list else fetch(names, to, terminal):
        typer.echo(line)


@weights_app.command("pretrain")
@sentences
def weights_pretrain(
    names: Annotated[list[str] | None, typer.Argument(help="Networks; those of params.yaml by default.")] = None,
    to: Annotated[Path, typer.Option("--to", help="Folder; each network gets one of its own in it.")] = Path("weights"),
) -> None:
    """Let networks learn on this project's synthetic heads; no patient is read (params.yaml: pretrain)."""
    from ich_pipeline.commands.weights import pretrain
    from ich_pipeline.core.progress import terminal

    for line in pretrain(names or (), to, terminal):
        typer.echo(line)


@weights_app.command("verify")
@sentences
def weights_verify(
    path: Annotated[Path, typer.Argument(help="A weights file, or a folder that `ich weights fetch` made.")],
    architecture: Annotated[str | None, typer.Option("--architecture", help="What the file is of.")] = None,
    sha256: Annotated[str | None, typer.Option("--sha256", help="What the file must have.")] = None,
) -> None:
    """Check that files are the right ones: architecture, every layer there, SHA-256."""
    from ich_pipeline.commands.weights import verify

    for line in verify(path, architecture, sha256):
        typer.echo(line)


@app.command()
@sentences
def predict(
    source: Annotated[
        list[str],
        typer.Argument(help="DICOM files, folders, zips or tars of them, DICOMDIRs, s3://bucket/prefix; any studies."),
    ],
    out: Annotated[Path, typer.Option("--out", help="Folder for pages and tables.")],
    model: Annotated[str | None, typer.Option("--model", help="NAME/ALIAS or NAME/NUMBER of another version.")] = None,
    identifiers: Annotated[
        bool,
        typer.Option(
            "--with-identifiers",
            help="Write StudyInstanceUID and SOPInstanceUID beside case_id; pages show date, accession, description.",
        ),
    ] = False,
    demonstration: Annotated[
        bool, typer.Option("--demonstration", help="Show what a model makes of what it has no answer for.")
    ] = False,
    endpoint_url: Endpoint = None,
    cache: Cache = None,
    accept_missing: AcceptMissing = False,
    record: Record = True,
    timings: Annotated[bool, typer.Option("--timings", help="Say at the end where the time went.")] = False,
) -> None:
    """Read every study: a page each, a worklist (index.html), predictions.json and .csv. Exit status 1 when something could not be read."""
    from ich_pipeline.cli.shared import print_timings, seconds_since_start
    from ich_pipeline.core.stopwatch import part, timed

    before = seconds_since_start() if timings else 0.0
    with timed() as watch:
        with part("imports"):
            from ich_pipeline.workers.parallel import OneProcess

            process = OneProcess.importing("ich_pipeline.serving.case_process")
            from ich_pipeline.commands.predict import predict as read_studies
            from ich_pipeline.commands.predict import prediction_rows
            from ich_pipeline.config import load_params
            from ich_pipeline.core.progress import terminal

        remote = Remote(endpoint_url, cache, accept_missing)
        params = load_params()
        shown = (model, identifiers, terminal, remote, demonstration, process, record)
        outcome = read_studies(source, out, params, *shown)
    if timings:
        print_timings(watch, before, outcome.peak_mib)
    rows = prediction_rows(outcome, out)
    console = Console()
    for sentence in {one["no_answer"] for one in outcome.answers if one["no_answer"] and not one["unlike"]}:
        shown = (
            "shown for demonstration only"
            if demonstration
            else "nothing is shown; --demonstration shows it all the same"
        )
        typer.echo(f"Caution: {outcome.model}: {sentence}. Where that holds, {shown}.", err=True)
    if console.is_terminal and console.width >= WIDE:
        table = Table(box=None, pad_edge=False)
        for column in rows[0]:
            table.add_column(column, overflow="fold")
        for row in rows:
            table.add_row(*(escape(cell) for cell in row.values()))
        console.print(table)
    else:  # a line a case, never wrapped: for narrow windows, `grep` and `cut`
        for row in rows:
            typer.echo(
                "  ".join(
                    (row["case"], row["haemorrhage"], f"{outcome.labels[0]} {row[outcome.labels[0]]}", row["page"])
                )
            )
    for one in outcome.answers:
        for caution in one["scan_cautions"]:
            typer.echo(f"Caution: {one['case_id']}: {caution}.", err=True)
    if outcome.skipped:
        typer.echo(f"Left aside, no DICOM image: {outcome.skipped} of the files.")
    for one in outcome.not_read:
        what = f"{one.reason.explanation} ({one.detail})" if one.detail else one.reason.explanation
        typer.echo(f"ich: {one.name} was not read: {what}.", err=True)
    for case, reason in sorted(outcome.failures.items()):
        typer.echo(f"ich: {case} could not be read: {reason}", err=True)
    if outcome.caution:
        typer.echo(f"Caution: of {outcome.model} its tests say: {outcome.caution}", err=True)
    if outcome.code:
        typer.echo(f"Caution: {outcome.code}", err=True)
    typer.echo(f"Read by {outcome.model}. Worklist: {out / 'index.html'}; tables: {out / 'predictions.csv'} and .json.")
    if outcome.failures:
        total = len(outcome.failures) + len(outcome.answers)
        typer.echo(f"ich: {len(outcome.failures)} of {total} studies could not be read.", err=True)
    if outcome.failures or outcome.not_read:
        raise typer.Exit(1)


app.command()(deidentify)
app.command()(evaluate)
app.command()(serve)
app.command()(watch)
app.command()(feedback)


for command in (promote, rollback, history, backup, restore):
    app.command()(command)
app.add_typer(models_app, name="models")
app.add_typer(tests_app, name="tests")


def main() -> None:
    """Entry of ``ich``."""
    keep_private()
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")  # signs and names that the terminal's encoding lacks end no command
    stop_on_signals()
    app()


if __name__ == "__main__":
    main()
