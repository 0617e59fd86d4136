"""``ich deidentify``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from ich_pipeline.cli.shared import AcceptMissing, Cache, Endpoint, Ocr, sentences
from ich_pipeline.core.errors import InputError
from ich_pipeline.sources.remote import Remote


@sentences
def deidentify(
    source: Annotated[
        str | None, typer.Argument(help="Folder in any layout, zip or tar, DICOMDIR, or s3://bucket/prefix; only read.")
    ] = None,
    out: Annotated[
        Path | None, typer.Option("--out", help="New folder for the files, the account and the report.")
    ] = None,
    key: Annotated[Path | None, typer.Option("--key", help="Key file; the same key gives the same new names.")] = None,
    new_key: Annotated[Path | None, typer.Option("--new-key", help="Write a new random key here and stop.")] = None,
    check: Annotated[
        bool, typer.Option("--check", help="Change nothing: list what PS3.15 would still remove.")
    ] = False,
    labels: Annotated[Path | None, typer.Option("--labels", help="Label table whose UIDs are replaced too.")] = None,
    linkage: Annotated[Path | None, typer.Option("--linkage", help="Write which file became which: secret.")] = None,
    remove_dates: Annotated[
        bool, typer.Option("--remove-dates", help="Remove dates instead of shifting them.")
    ] = False,
    longest_shift: Annotated[int, typer.Option("--longest-shift", help="Dates go back 1 to this many days.")] = 3650,
    descriptors: Annotated[bool, typer.Option(help="Keep the known words of descriptions.")] = True,
    patient_characteristics: Annotated[bool, typer.Option(help="Keep age, sex, size and weight.")] = True,
    retain_device: Annotated[
        bool, typer.Option("--retain-device", help="Keep serial number and station name.")
    ] = False,
    ocr: Ocr = False,
    endpoint_url: Endpoint = None,
    cache: Cache = None,
    accept_missing: AcceptMissing = False,
) -> None:
    """Write DICOM files without what tells whose they are (PS3.15 basic profile), and account for every file."""
    from ich_pipeline.commands import deidentify as command
    from ich_pipeline.core.progress import terminal

    if new_key is not None:
        from ich_pipeline.deidentify.key import new_key as write_key

        write_key(new_key)
        typer.echo(f"{new_key} holds a new key. Keep it apart from the files; who has it can undo the replacement.")
        return
    if source is None:
        raise InputError("SOURCE is missing: name your DICOM export, or --new-key FILE.")
    remote = Remote(endpoint_url, cache, accept_missing)
    if check:
        from ich_pipeline.commands.ingest import ingest_settings

        settings, _ = ingest_settings()
        found = command.check(source, settings.archives, terminal, remote)
        for name, findings in found.items():
            typer.echo(f"{name}: {'; '.join(findings)}")
        typer.echo(f"Files with findings: {len(found):,}.")
        if found:
            raise typer.Exit(1)
        return
    if out is None or key is None:
        raise InputError("--out and --key are needed: `ich deidentify SOURCE --out DIR --key FILE`.")
    from ich_pipeline.cohorts.faults import LabelAccount
    from ich_pipeline.commands.ingest import settings as settings_here
    from ich_pipeline.deidentify.options import Options

    dates = "remove" if remove_dates else "shift"
    options = Options(dates, longest_shift, descriptors, patient_characteristics, retain_device, ocr)
    params, _ = settings_here()
    request = command.Request(source, out, key, linkage, labels, remote)
    account = LabelAccount()
    result = command.deidentify(request, options, params, terminal, account)
    table = Table(box=None, pad_edge=False)
    for column in ("files", "outcome", "meaning"):
        table.add_column(column, overflow="fold")
    for outcome, count in result.outcomes.most_common():
        table.add_row(f"{count:,}", outcome.value, outcome.explanation)
    Console().print(table)
    typer.echo(
        f"{result.summary}. Account: {out / 'account.csv'}; removed: {out / 'removed.csv'}. Files: {out / 'dicom'}."
    )
    for sentence in account.sentences():
        typer.echo(f"{labels}: {sentence}")
    typer.echo(
        "Faces can be rebuilt from head CT, and pixels are not proof-read: give the files only to whom you trust."
    )
